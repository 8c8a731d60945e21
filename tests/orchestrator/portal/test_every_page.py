"""Every page in a real browser: no accessibility rule is broken and nothing scrolls sideways, in both themes, dense and
comfortable, on a desk and on a phone. With FIDUCIAL_PICTURES=FOLDER it leaves a picture of each.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Page

from orchestrator.models import HL7Application, InboundMessage, SavedView, Site, UnknownCaller, User
from orchestrator.services import bulk, jobs
from orchestrator.services.tokens import create_token
from orchestrator.states import Identity, InboundStatus
from reconciliation.services.reconcile import reconcile_study
from routing.models import RuleSet
from routing.services import destinations
from routing.services.route import send_study
from routing.services.rulesets import publish, save_draft
from tests.accessibility import OF_LOOK, violations, wear
from tests.factories import make_ae, make_order, make_patient, make_site, make_study, make_user
from tests.orchestrator.doors import PAGES, address_of

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.timeout(1800)]

Open = Callable[..., Page]

# WCAG 2.2, 2.5.8: what is pressed is at least 24 px high and wide; links within a sentence are excepted.
SMALL = """() => [...document.querySelectorAll("button, .btn, .opt, .tick, .nav a, .tabs a, .facet a, select, .in")]
  .filter((each) => each.checkVisibility() && !each.closest(".sr, .hl7"))
  .filter((each) => ["height", "width"].some((side) => each.getBoundingClientRect()[side] < 24))
  .map((each) => each.outerHTML.slice(0, 120))"""
NO_PAGES = frozenset({
    "healthz", "readyz", "metrics", "shell/counts/", "jobs/running/", "views/<str:page>/", "search/<str:key>/",
    "exceptions/<int:pk>/presence/", "routing/presence/", "destinations/<int:pk>/presence/",
    "kpis/csv/", "kpis/<slug:name>/csv/", "kpis/<slug:name>/<str:chart>.svg",
})  # fmt: skip
LOOKS = [(1280, False, "dense"), (1280, True, "comfortable"), (390, False, "dense"), (390, True, "dense")]
WITHOUT_ROWS = [
    "", "exceptions/", "patients/", "orders/", "studies/", "messages/", "interfaces/", "deliveries/", "destinations/",
    "routing/", "worklist/", "jobs/", "tokens/", "audit/", "nowhere/", "orders/?after=nonsense",
]  # fmt: skip


def _hospital(mara: User) -> Mapping[str, object]:
    """One of everything that a page can be about."""
    north, _ = make_site("NORTH"), make_site("SOUTH")
    long_name = "Okonkwo-Brandt-Featherstonehaugh^Adaeze Ngozi"
    order = make_order(site=north, patient=make_patient("S0771204", site=north, name=long_name))
    matched = make_study(order, site=north, identity=Identity.MATCHED, matched_by="auto", matched_patient=order.patient)
    matched.claims.update(order=order)
    today = {"start_date": timezone.localdate()}
    make_order(site=north, step=today, accession_number="S261116-0121-with-a-long-number")
    held = make_study(make_order(site=north), patient_id="typed at the console", accession_number="")
    reconcile_study(held.pk)
    interface = HL7Application.objects.create(name="RIS North", site=north, last_message_at=timezone.now())
    message = InboundMessage.objects.create(
        interface=interface, site=north, raw=b"MSH|^~\\&|RIS|N\rPID|1||P1^^^MAIN||Doe^Jane\r", digest="d", sequence=1,
        received_at=timezone.now(), status=InboundStatus.QUARANTINED, error="PID-3 names an issuer that nobody knows.",
    )  # fmt: skip
    archive = destinations.create(name="Archive", ae_title="ARCHIVE", host="127.0.0.1", port=9, site=north)
    [delivery] = send_study(study=matched, destinations=[archive], user=mara, reason="second opinion")
    rule_set = RuleSet.objects.get_or_create(name="default")[0]
    rule = {"name": "CT to the archive", "when": {"all": [{"field": "modality", "op": "eq", "value": "CT"}]},
            "then": [{"action": "send", "destination": archive.pk, "priority": "normal"}]}  # fmt: skip
    save_draft(rule_set=rule_set, rules=[rule])
    publish(rule_set_id=rule_set.pk, comment="first", user=mara)
    save_draft(rule_set=rule_set, rules=[rule, {**rule, "name": "CT again"}])
    create_token(user=mara, name="script")
    caller = UnknownCaller.objects.create(protocol="dicom", name="MR_NEW", address="10.0.0.7", refused=True)
    view = SavedView.objects.create(owner=mara, page="exceptions", name="No order", query="kind=unmatched_study")
    parameters = {"act": "retry", "reason": "Disk freed", "row_url": "delivery", "row_name": "Delivery "}
    job = bulk.start(
        "routing.services.bulk.operate", title="Try again: 1 delivery", owner=mara, rows=[(delivery.pk, "SENT")],
        parameters=parameters,
    )  # fmt: skip
    jobs.run_job(job.pk)
    other = make_user(site=north, name="ines")
    return {
        "studies/<str:key>": matched.pk, "series/<int:series>": matched.series.get().pk,
        "patients/<uuid:uid>": order.patient.uid, "orders/<int:pk>": order.pk, "match/<int:order_id>": order.pk,
        "messages/<int:pk>": message.pk, "users/roles/<int:pk>": other.role_assignments.get().pk,
        "users/<int:pk>": other.pk, "callers/<int:pk>": caller.pk, "views/<str:page>": "exceptions",
        "exceptions/<int:pk>/edit": view.pk, "exceptions/<int:pk>/delete": view.pk, "jobs/<int:pk>": job.pk,
        "exceptions/<int:pk>": held.cases.get().pk, "destinations/<int:pk>": archive.pk,
        "versions/<int:number>": 1, "rules/<int:position>": 1, "deliveries/<int:pk>": delivery.pk,
        "application-entities/<int:pk>": make_ae("CT_NORTH", site=north).pk, "kpis/<slug:name>": "mismatch_rate",
    }  # fmt: skip


def _addresses(things: Mapping[str, object]) -> Iterator[str]:
    """Every page of tests/orchestrator/doors.py, of the things that there are."""
    for route, asks in PAGES.items():
        if "GET" in asks and route not in NO_PAGES:
            yield address_of(route, things)


def _problems(page: Page, address: str, state: str = "") -> Iterator[str]:
    """What is wrong with one page in any of its looks."""
    page.goto(f"/{address}")
    yield from _looks(page, f"{state} {address or 'control-room'}")


def _opened(page: Page) -> Iterator[str]:
    """What is wrong with what opens over a page: the bulk bar, what an act on many would do, the palette, and the page
    of all that was found.
    """
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto("/exceptions/")
    page.locator("[data-pick]").first.check()
    yield from _looks(page, "bulk-bar")
    page.click("text=Snooze…")
    page.wait_for_selector("#dialog[open]")
    yield from _looks(page, "bulk-preview")
    page.goto("/")
    page.keyboard.press("Control+k")
    page.keyboard.type("doe")
    page.wait_for_selector("#palette [aria-selected=true] >> text=DOE")
    yield from _looks(page, "palette")
    page.goto("/")
    page.fill(".find [name=q]", "doe")
    page.press(".find [name=q]", "Enter")
    page.wait_for_url("**/search/*/")
    yield from _looks(page, "search")


def _looks(page: Page, name: str) -> Iterator[str]:
    for width, dark, density in LOOKS:
        page.set_viewport_size({"width": width, "height": 900})
        wear(page, dark=dark, density=density)
        look = f"{name} {width} {'dark' if dark else 'light'}"
        # The other rules are asked once for each width.
        yield from (f"{look}: {each}" for each in violations(page, *OF_LOOK if dark else ()))
        yield from (f"{look}: too small to press: {each}" for each in page.evaluate(SMALL))
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > width:
            yield f"{look}: {wide} wide"
        if folder := os.environ.get("FIDUCIAL_PICTURES"):
            file = "-".join(look.replace("?", " ").replace("/", " ").split())
            page.screenshot(path=Path(folder) / f"{file}.png", full_page=True)


def test_no_page_breaks_an_accessibility_rule_or_scrolls_sideways(open_page: Open, mara: User) -> None:
    page = open_page("/jobs/")
    problems = [problem for address in WITHOUT_ROWS for problem in _problems(page, address, "empty")]
    Site.objects.filter(code="MAIN").delete()
    things = _hospital(mara)
    problems += [problem for address in _addresses(things) for problem in _problems(page, address)]
    problems += list(_opened(page))
    page.context.clear_cookies()
    problems += list(_problems(page, "login/"))
    assert problems == []
