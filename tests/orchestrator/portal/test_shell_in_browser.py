"""The shell at work in a real browser: finding by typing, doing many at once, lists that refresh under one's hands."""

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, Route, expect

from orchestrator.models import ExceptionCase, InboundMessage, Job, Site, User
from orchestrator.permissions import Viewer
from orchestrator.services import exceptions, jobs, presence
from orchestrator.states import CaseStatus, DeliveryStatus
from orchestrator.views import search
from routing.models import Delivery, Destination, RuleSet
from routing.services import destinations
from tests.factories import make_order, make_patient, make_site, make_study, make_user

pytestmark = pytest.mark.peer("chromium")

Open = Callable[..., Page]


def failed_case() -> ExceptionCase:
    study = make_study(make_order())
    return exceptions.open_case(
        "delivery_failed", about=study, reason_code="X", summary="Refused.", site=study.site, study=study
    )


def test_what_is_typed_into_the_palette_is_found_and_opened_by_keys(open_page: Open) -> None:
    patient = make_patient("P77", name="Okonkwo^Adaeze")
    make_order(patient=patient, accession_number="A77")
    page = open_page("/")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.keyboard.press("Control+k")
    expect(page.locator("#palette [role=option]").first).to_contain_text("Control room")
    page.keyboard.type("okonkwo")
    options = page.locator("#palette [role=option]")
    expect(options.first).to_contain_text("OKONKWO, Adaeze")
    box = page.locator("#palette [role=combobox]")
    expect(box).to_have_attribute("aria-activedescendant", "palette-0")
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    expect(options.nth(1)).to_contain_text("A77")
    expect(box).to_be_focused()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/patients/{patient.uid}/")
    assert not [url for url in asked if "okonkwo" in url.lower()]
    page.keyboard.press("Control+k")
    expect(page.locator("#palette [role=group]").first).to_contain_text("Recent")


def test_an_answer_to_what_was_typed_before_is_dropped_and_a_command_is_run(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_patient("P77", name="Okonkwo^Adaeze")
    asked, go_on, find = threading.Event(), threading.Event(), search.hits

    def slow(viewer: Viewer, text: str, most: int) -> list[Mapping[str, Any]]:
        if text == "okonkwo":
            asked.set()
            go_on.wait(30)
        return find(viewer, text, most)

    monkeypatch.setattr(search, "hits", slow)
    page = open_page("/")
    page.keyboard.press("Control+k")
    box, options = page.locator("#palette [role=combobox]"), page.locator("#palette [role=option]")
    expect(options.first).to_be_visible()
    box.fill("okonkwo")
    assert asked.wait(30)
    box.fill("dark theme")
    expect(options).to_have_text(["Dark theme"])
    go_on.set()
    box.fill("sign out")
    expect(options).to_have_text(["Sign out"])
    box.fill("dark theme")
    expect(options).to_have_text(["Dark theme"])
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    expect(page.locator("#palette")).to_be_hidden()


REFRESH = """() => new Promise((swapped) => {
  document.addEventListener("htmx:after:swap", swapped, { once: true });
  document.dispatchEvent(new CustomEvent("changed"));
}).then(() => null)"""


def test_a_page_that_refreshes_behind_the_palette_chooses_nothing(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_patient("P77", name="Okonkwo^Adaeze")
    asked, go_on, find = threading.Event(), threading.Event(), search.hits

    def slow(viewer: Viewer, text: str, most: int) -> list[Mapping[str, Any]]:
        asked.set()
        go_on.wait(30)
        return find(viewer, text, most)

    monkeypatch.setattr(search, "hits", slow)
    page = open_page("/exceptions/")
    page.keyboard.press("Control+k")
    chosen = page.locator("#palette [aria-selected=true]")
    expect(chosen).to_contain_text("Control room")
    page.keyboard.type("okonkwo")
    assert asked.wait(30)
    failed_case()
    page.evaluate(REFRESH)
    expect(chosen).to_have_count(0)
    go_on.set()
    expect(chosen).to_contain_text("OKONKWO, Adaeze")


def test_a_poll_that_is_refused_is_not_taken_for_fresh(open_page: Open) -> None:
    failed_case()
    page = open_page("/exceptions/")
    answer = {"status": 0}
    page.route(lambda url: "shown=" in url, lambda route: route.fulfill(status=answer["status"], body="Refused."))
    for status, why in ((403, "your role does not include it"), (404, "Search again"), (502, "Something failed here")):
        answer["status"] = status
        page.evaluate("document.dispatchEvent(new CustomEvent('changed'))")
        expect(page.locator("#lost")).to_contain_text(why)
        expect(page.locator("#lost")).not_to_contain_text("Connection")
    page.unroute_all()
    expect(page.locator("#list tbody tr")).to_have_count(1)
    page.evaluate("document.dispatchEvent(new CustomEvent('changed'))")
    expect(page.locator("#lost")).to_be_hidden()


def test_a_few_cases_are_assigned_and_handed_back_by_keys(open_page: Open, mara: User) -> None:
    case, other = failed_case(), failed_case()
    page = open_page("/exceptions/")
    page.keyboard.press("j")
    page.keyboard.press("?")
    page.keyboard.press("e")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("x")
    late: list[Route] = []

    def hold(route: Route) -> None:
        late.append(route)

    page.route("**/exceptions/claim/", hold)
    with page.expect_request("**/exceptions/claim/"):
        page.keyboard.press("a")
    page.keyboard.press("s")
    reason = page.locator("#dialog [name=reason]")
    reason.fill("Waits for the ward")
    # Its answer comes to somebody who types: it closes nothing, and the tick stays.
    late[0].continue_()
    expect(page.locator(".toast")).to_contain_text("1 assigned to you.")
    expect(reason).to_have_value("Waits for the ward")
    expect(page.locator("[data-pick]:checked")).to_have_count(1)
    page.keyboard.press("Escape")
    page.locator(".bulk [type=reset]").click()
    assert ExceptionCase.objects.get(owner=mara).pk in (case.pk, other.pk)
    expect(page.locator(".bulk")).to_be_hidden()
    page.keyboard.press("u")
    expect(page.locator(".toast").last).to_contain_text("1 back as before.")
    assert not ExceptionCase.objects.filter(owner=mara).exists()


def test_a_page_that_is_not_left_after_all_goes_on(open_page: Open) -> None:
    case = failed_case()
    page = open_page(f"/exceptions/{case.pk}/")
    # The page that follows is stopped, as by Escape.
    page.route(f"**/exceptions/{case.pk}/", lambda route: route.fulfill(status=204))
    with page.expect_request(f"**/exceptions/{case.pk}/"):
        page.get_by_role("button", name="Assign to me").click()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    refresh = "document.dispatchEvent(new CustomEvent('changed'))"
    page.evaluate(refresh)
    page.evaluate("fetch('/healthz')")  # a request after them, so that those of the refresh would have been seen
    assert [url for url in asked if "presence" in url] == []
    page.evaluate("{ const now = Date.now(); Date.now = () => now + 11_000; }")
    with page.expect_request("**/presence/**"):
        page.evaluate(refresh)


# The height of what does not scroll and whether something in it lies over something else or beyond its edge.
_LAID_OUT = """() => {
  const bar = document.querySelector(".bulk"), edge = bar.getBoundingClientRect();
  const parts = [...bar.children].map((each) => each.getBoundingClientRect()).filter((each) => each.width);
  const over = parts.some((one, place) => one.right > edge.right || parts.slice(place + 1).some((other) =>
    one.left < other.right - 1 && other.left < one.right - 1 && one.top < other.bottom && other.top < one.bottom));
  return [Math.round(edge.height), Math.round(innerHeight - edge.bottom), over];
}"""


@pytest.mark.parametrize("density", ["dense", "comfortable"])
def test_the_bulk_bar_is_one_line_on_a_desk_and_at_hand_at_the_foot_of_a_phone(open_page: Open, density: str) -> None:
    for _ in range(3):
        failed_case()
    # As many as a hospital has after a bad night.
    ExceptionCase.objects.bulk_create(_like(ExceptionCase.objects.latest("pk"), number) for number in range(2997))
    page = open_page("/exceptions/")
    page.evaluate("density => { document.documentElement.dataset.density = density }", density)
    for said, tick in (("1 selected", "[data-pick]"), ("3,000 selected", "[data-pick-all]")):
        page.set_viewport_size({"width": 1280, "height": 900})
        page.locator(tick).first.check()
        expect(page.locator(".bulk b")).to_have_text(said)
        height, _, over = page.evaluate(_LAID_OUT)
        assert (height <= 44, over) == (True, False)
        page.set_viewport_size({"width": 390, "height": 800})
        height, below, over = page.evaluate(_LAID_OUT)
        assert (height <= 140, below, over) == (True, 0, False)
    page.locator("[data-pick]").last.check()
    page.locator("[data-pick]").first.uncheck()
    expect(page.locator("[data-pick-all]")).not_to_be_checked()
    expect(page.locator(".bulk b")).to_have_text("1 selected")


def _like(case: ExceptionCase, number: int) -> ExceptionCase:
    return ExceptionCase(
        kind=case.kind, subject_type="study", subject_id=10**6 + number, site=case.site, due_at=case.due_at,
        reason_code="X", summary="Refused.",
    )  # fmt: skip


def test_on_paper_tables_stay_tables(open_page: Open) -> None:
    page = open_page("/users/", width=390)
    columns = "getComputedStyle(document.querySelector('.stack td')).display"
    assert page.evaluate(columns) == "block"
    page.emulate_media(media="print")
    assert page.evaluate(columns) == "table-cell"


_ONCE_MORE = """document.addEventListener("htmx:finally:request",
  () => setTimeout(() => document.querySelector("#dialog form").requestSubmit()), { once: true })"""


def test_all_that_match_are_dismissed_by_a_job_that_is_watched(open_page: Open) -> None:
    for _ in range(3):
        failed_case()
    page = open_page("/exceptions/?kind=delivery_failed&site=all")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.check("[data-pick-all]")
    page.click("text=Dismiss…")
    dialog = page.locator("#dialog")
    expect(dialog).to_contain_text("Dismiss 3 exceptions?")
    dialog.locator("[name=reason]").fill("Known outage")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    # A second click while it is on its way, and a third while the page that follows is awaited.
    page.evaluate(_ONCE_MORE)
    dialog.locator("button:has-text('Dismiss 3')").dblclick()
    page.wait_for_url(re.compile(r"/jobs/\d+/"))
    assert len(sent) == 1
    expect(page.locator("main .job")).to_contain_text("0 of 3")
    expect(page.locator("#running-jobs")).to_contain_text("0 of 3")
    jobs.run_job(Job.objects.get().pk)
    expect(page.locator("main .job")).to_contain_text("3 of 3")
    expect(page.locator("main tbody")).to_contain_text("Done")
    assert ExceptionCase.objects.filter(status=CaseStatus.DISMISSED).count() == 3


def test_a_view_is_saved_shown_as_a_tab_and_counted(open_page: Open) -> None:
    make_study(make_order())
    page = open_page("/studies/?identity=PENDING")
    page.click("text=Save this view…")
    page.fill("#dialog [name=name]", "To compare")
    page.keyboard.press("Enter")
    tab = page.locator("#views [aria-current=page]")
    expect(tab).to_contain_text("To compare")
    expect(tab).to_contain_text("1")
    page.click("text=Change this view…")
    expect(page.locator("#dialog [name=name]")).to_have_value("To compare")


def one_more(path: str) -> None:
    """One more row on the list of that path, made as another process would."""
    site = Site.objects.get(code="MAIN")
    if path == "/exceptions/":
        failed_case()
    elif path == "/orders/":
        make_order()
    elif path == "/studies/":
        make_study(make_order())
    elif path == "/messages/":
        now, number = timezone.now(), InboundMessage.objects.count()
        InboundMessage.objects.create(
            site=site, received_at=now, raw=b"MSH", digest=str(number), control_id=f"C{number}", sequence=number
        )
    else:
        known = Destination.objects.first()
        to = known or destinations.create(name="Archive", ae_title="ARCHIVE", host="127.0.0.1", port=9)
        Delivery.objects.create(
            study=make_study(make_order()), destination=to, rendition="original", status=DeliveryStatus.FAILED
        )


@pytest.mark.parametrize("path", ["/exceptions/", "/studies/", "/orders/", "/messages/", "/deliveries/"])
def test_a_list_refreshes_under_ones_hands(open_page: Open, path: str) -> None:
    make_site()
    one_more(path)
    one_more(path)
    page = open_page(path)
    rows = page.locator("#list tbody tr")
    expect(rows).to_have_count(2)
    before = rows.evaluate_all("rows => rows.map((row) => row.id)")
    page.keyboard.press("j")
    field = page.locator("#list input[type=search]")
    typed = field.count() > 0
    if typed:
        field.fill("half a na")
    focused = page.evaluate("document.activeElement.outerHTML")
    one_more(path)
    with page.expect_response(lambda answer: "shown=" in answer.url):
        page.evaluate("document.dispatchEvent(new CustomEvent('changed'))")
    expect(page.locator("#list .fresh")).to_contain_text("1 new, show")
    assert rows.evaluate_all("rows => rows.map((row) => row.id)") == before
    assert page.evaluate("document.activeElement.outerHTML") == focused
    if typed:
        expect(field).to_have_value("half a na")
    page.click("#list .fresh")
    expect(rows).to_have_count(3)


def test_who_else_edits_the_rules_is_told_without_a_reload(open_page: Open) -> None:
    make_site()
    ines, rules = make_user(name="ines"), RuleSet.objects.get_or_create(name="default")[0]
    page = open_page("/routing/")
    expect(page.locator("#presence")).to_be_attached()
    expect(page.locator("#presence")).not_to_contain_text("ines")
    presence.present(rules, user_id=ines.pk)
    page.evaluate("document.dispatchEvent(new CustomEvent('changed'))")
    expect(page.locator("#presence")).to_contain_text("ines has the rules open")
    # In a hidden tab one is still there, and says so, but not as often.
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    tick = "document.getElementById('presence').dispatchEvent(new CustomEvent('every'))"
    page.evaluate(tick)
    page.evaluate("fetch('/healthz')")  # a request after it, so that one of the poll would have been seen
    assert [url for url in asked if "presence" in url] == []
    page.evaluate("{ const now = Date.now(); Date.now = () => now + 60_000; }")
    with page.expect_response("**/routing/presence/"):
        page.evaluate(tick)


def test_paper_shows_the_list_and_not_the_shell(open_page: Open) -> None:
    failed_case()
    page = open_page("/exceptions/")
    page.emulate_media(media="print")
    for gone in (".top", ".nav", "#filters", ".tabs"):
        expect(page.locator(gone).first).to_be_hidden()
    expect(page.locator("#list tbody tr")).to_be_visible()
    expect(page.locator(".print-only")).to_contain_text("printed")
    expect(page.locator(".print-only")).to_contain_text("by Mara Lindqvist")


def test_an_address_that_only_takes_a_form_says_so(open_page: Open) -> None:
    page = open_page("/exceptions/bulk/assign/")
    expect(page.locator("h1")).to_have_text("Open this from its list")
    expect(page.locator("main")).to_contain_text("Nothing was changed.")
