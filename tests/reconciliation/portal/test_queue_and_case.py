"""The exceptions queue and its cases: what is shown to whom, and that each write happens once."""

import html
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from orchestrator.models import (
    ExceptionCase,
    IdentityClaim,
    Role,
    RoleAssignment,
    Site,
    Study,
    User,
    WorkflowEvent,
)
from orchestrator.services import exceptions
from orchestrator.states import CaseStatus
from orchestrator.views.events import entry

pytestmark = pytest.mark.django_db

HOSTILE = "<script>alert(1)</script>"
PART = {"HX-Request": "true", "HX-Request-Type": "partial"}
Person = Callable[..., tuple[Client, User]]


@pytest.fixture
def north() -> Site:
    return Site.objects.create(code="N", name="North")


@pytest.fixture
def south() -> Site:
    return Site.objects.create(code="S", name="South")


@pytest.fixture
def person() -> Person:
    def person_(name: str, role: Role = Role.PACS_ADMINISTRATOR, site: Site | None = None) -> tuple[Client, User]:
        user = User.objects.create_user(name)
        RoleAssignment.objects.create(user=user, role=role, site=site)
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client, user

    return person_


def held(site: Site, number: int = 1, name: str = f"{HOSTILE}^Eve") -> ExceptionCase:
    now = timezone.now()
    study = Study.objects.create(
        study_instance_uid=f"2.25.{number}", site=site, first_received_at=now, last_received_at=now
    )
    claim = IdentityClaim.objects.create(
        study=study, key="k", patient_name=name, patient_id=f"P{number}", modality="CT", calling_ae_title="CT_1"
    )
    return exceptions.open_case(
        "unmatched_study", about=claim, reason_code="NO_ORDER", summary="Accession is empty.", site=site,
        study=study, claim=claim, modality="CT", source="CT_1",
    )  # fmt: skip


def set_aside(site: Site) -> ExceptionCase:
    """A case about something else than held images: it may be dismissed."""
    study = held(site, 99).study
    assert study is not None
    return exceptions.open_case(
        "rule_error", about=study, reason_code="R", summary="A rule cannot be evaluated.", site=site
    )


def test_the_queue_works_whole_and_as_a_part_and_shows_names_as_text(person: Person, north: Site) -> None:
    held(north)
    client, _ = person("mara")
    whole, part = client.get("/exceptions/"), client.get("/exceptions/", headers=PART)
    assert "<html" in whole.text
    assert "<html" not in part.text
    for page in (whole, part):
        assert HOSTILE not in page.text.lower()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;, eve" in page.text.lower()


def test_a_poll_of_an_unchanged_queue_is_empty(person: Person, north: Site) -> None:
    held(north)
    client, _ = person("mara")

    def poll() -> int:
        first = client.get("/exceptions/", headers=PART)
        return client.get("/exceptions/", headers={**PART, "If-None-Match": first.headers["ETag"]}).status_code

    # What is due is told in minutes: where one minute ends between two polls the second brings the new words.
    assert 304 in (poll(), poll())
    shown = client.get("/exceptions/", headers=PART).headers["ETag"]
    held(north, 2)
    assert client.get("/exceptions/", headers={**PART, "If-None-Match": shown}).status_code == 200


def test_a_poll_moves_no_row_and_says_how_many_are_new(person: Person, north: Site) -> None:
    first, second = held(north, 1), held(north, 2)
    client, mara = person("mara")
    page = client.get("/exceptions/")
    early = held(north, 3)
    ExceptionCase.objects.filter(pk=early.pk).update(due_at=timezone.now() - timedelta(minutes=5))
    exceptions.snooze(first.pk, user=mara, until=timezone.now() + timedelta(hours=1), reason="x")
    polled = client.get(page.context["poll"], headers=PART)
    assert [row["case"].pk for row in polled.context["rows"]] == [first.pk, second.pk]
    assert "1 new, show" in polled.text
    assert "Snoozed" in polled.text
    assert f'name="pick" value="{first.pk}"' not in polled.text
    assert polled.context["here"] == "/exceptions/"
    drawn = client.get(polled.context["here"], headers=PART)
    assert [row["case"].pk for row in drawn.context["rows"]] == [early.pk, second.pk]
    assert "new, show" not in drawn.text


def test_a_poll_shows_no_case_that_the_viewer_may_not_see(person: Person, north: Site, south: Site) -> None:
    ours, theirs = held(north, 1), held(south, 2)
    client, _ = person("ines", site=north)
    polled = client.get(f"/exceptions/?shown={theirs.pk},{ours.pk}", headers=PART)
    assert [row["case"].pk for row in polled.context["rows"]] == [ours.pk]


def test_those_due_first_stand_first_and_a_snoozed_one_is_out_of_sight(person: Person, north: Site) -> None:
    late, early, asleep = held(north, 1), held(north, 2), held(north, 3)
    client, mara = person("mara")
    ExceptionCase.objects.filter(pk=early.pk).update(due_at=timezone.now() - timedelta(minutes=5))
    exceptions.snooze(asleep.pk, user=mara, until=timezone.now() + timedelta(hours=1), reason="x")

    def shown(url: str) -> list[int]:
        return [row["case"].pk for row in client.get(url).context["rows"]]

    assert shown("/exceptions/") == [early.pk, late.pk]
    assert shown("/exceptions/?sort=-due") == [late.pk, early.pk]
    assert shown("/exceptions/?view=snoozed") == [asleep.pk]
    assert shown("/exceptions/?due=over") == [early.pk]
    assert shown("/exceptions/?view=mine") == []


def test_filters_count_what_they_would_leave(person: Person, north: Site, south: Site) -> None:
    held(north, 1)
    held(south, 2)
    set_aside(south)
    client, _ = person("mara")
    groups = {group["id"]: group for group in client.get(f"/exceptions/?site={south.pk}").context["groups"]}
    kinds = {choice["label"]: choice["count"] for choice in groups["kind"]["choices"]}
    sites = {choice["label"]: (choice["count"], choice["active"]) for choice in groups["site"]["choices"]}
    assert kinds == {"No order": 2, "Rule cannot be evaluated": 1}
    assert sites == {"South": (3, True), "North": (1, False)}


def test_a_rail_of_the_control_room_leads_to_its_cases_of_every_kind(person: Person, north: Site, south: Site) -> None:
    mine = held(north, 1)
    other = held(south, 2)
    ExceptionCase.objects.filter(pk=other.pk).update(kind="ambiguous_match")
    image = held(south, 3)
    ExceptionCase.objects.filter(pk=image.pk).update(kind="rule_error")
    client, _ = person("mara")
    client.post("/shell/site/", {"site": str(north.pk)})
    rails = re.findall(r'id="rail-(\w+)">(.*?)</tr>', client.get("/").text, re.DOTALL)
    links = {
        rail: html.unescape(link) for rail, row in rails for link in re.findall(r'href="(/exceptions/[^"]*)"', row)
    }
    assert links.keys() == {"identity", "images"}
    identity = client.get(links["identity"])
    assert {row["case"].pk for row in identity.context["rows"]} == {mine.pk, other.pk}, "of all sites, as counted"
    assert identity.context["total"] == 2
    kinds = next(group for group in identity.context["groups"] if group["id"] == "kind")["choices"]
    assert {choice["label"]: choice["active"] for choice in kinds} == {
        "No order": True, "Two orders fit": True, "Rule cannot be evaluated": False,
    }  # fmt: skip
    [first] = [choice for choice in kinds if choice["label"] == "No order"]
    left = client.get(first["url"]).context
    assert [row["case"].pk for row in left["rows"]] == [other.pk], "a chosen kind takes itself away"
    images = client.get(links["images"]).context["rows"]
    assert [row["case"].pk for row in images] == [image.pk]


def test_another_sites_cases_do_not_exist(person: Person, north: Site, south: Site) -> None:
    case, own = held(north), held(south, 2)
    client, mara = person("mara", Role.PACS_ADMINISTRATOR, south)
    assert [row["case"].pk for row in client.get("/exceptions/").context["rows"]] == [own.pk]
    assert client.get(f"/exceptions/{case.pk}/").status_code == 404
    assert client.post(f"/exceptions/{case.pk}/claim/").status_code == 404
    client.post("/exceptions/claim/", {"pick": [case.pk, own.pk]})
    assert [*ExceptionCase.objects.filter(owner=mara)] == [own]


def test_who_may_only_look_is_refused_every_write(person: Person, north: Site) -> None:
    case = held(north)
    client, _ = person("quinn", Role.QA_TECHNOLOGIST)
    assert client.get(f"/exceptions/{case.pk}/").status_code == 200
    for action in ("claim", "hand-back", "snooze", "escalate", "dismiss"):
        assert client.post(f"/exceptions/{case.pk}/{action}/", {"reason": "x"}).status_code == 403, action
    assert client.post("/exceptions/claim/", {"pick": [case.pk]}).status_code == 403
    assert person("rita", Role.READER)[0].get("/exceptions/").status_code == 403


def test_a_double_click_claims_once(person: Person, north: Site) -> None:
    case = held(north)
    client, mara = person("mara")
    for _ in range(2):
        assert client.post(f"/exceptions/{case.pk}/claim/").status_code == 302
    case.refresh_from_db()
    assert (case.status, case.owner) == (CaseStatus.CLAIMED, mara)
    assert WorkflowEvent.objects.filter(name="case.claimed").count() == 1


def undo_of(page: Any, case: ExceptionCase) -> str:
    """The address of the Undo beside the word on the page."""
    [url] = re.findall(rf'action="(/exceptions/{case.pk}/(?:hand-back|undo)/\?[^"]+)"', page.text)
    return html.unescape(url)


def test_the_undo_of_a_claim_needs_no_words(person: Person, north: Site) -> None:
    case = held(north)
    client, _ = person("mara")
    page = client.post(f"/exceptions/{case.pk}/claim/", follow=True)
    client.post(undo_of(page, case))
    case.refresh_from_db()
    assert (case.status, case.owner) == (CaseStatus.OPEN, None)


SOON = timezone.now() + timedelta(hours=2)
BEFORE: dict[str, tuple[CaseStatus, str, datetime | None]] = {
    "open": (CaseStatus.OPEN, "", None),
    "mine": (CaseStatus.CLAIMED, "mara", None),
    "of-ines": (CaseStatus.CLAIMED, "ines", None),
    "escalated": (CaseStatus.ESCALATED, "ines", None),
    "asleep": (CaseStatus.SNOOZED, "ines", SOON),
}


def stand(before: str, case: ExceptionCase, mara: User, ines: User) -> None:
    """Bring the case there."""
    if before == "mine":
        exceptions.claim_case(case.pk, user=mara)
    elif before == "of-ines":
        exceptions.claim_case(case.pk, user=ines)
    elif before == "escalated":
        exceptions.escalate(case.pk, user=mara, to=ines, reason="Hard")
    elif before == "asleep":
        exceptions.snooze(case.pk, user=ines, until=SOON, reason="Later")


@pytest.mark.parametrize(
    ("before", "action"),
    [
        ("of-ines", "take-over"), ("escalated", "claim"), ("asleep", "claim"), ("mine", "snooze"),
        ("mine", "escalate"), ("open", "snooze"), ("escalated", "snooze"), ("asleep", "escalate"),
    ],
)  # fmt: skip
def test_an_undo_puts_the_case_back_as_it_was_before(person: Person, north: Site, before: str, action: str) -> None:
    (client, mara), (_, ines), case = person("mara"), person("ines"), held(north)
    stand(before, case, mara, ines)
    page = client.post(f"/exceptions/{case.pk}/{action}/", {"reason": "Mine now", "hours": "4"}, follow=True)
    client.post(undo_of(page, case))
    case.refresh_from_db()
    assert (case.status, str(case.owner or ""), case.snoozed_until) == BEFORE[before]
    client.post(undo_of(page, case))
    case.refresh_from_db()
    assert (case.status, str(case.owner or ""), case.snoozed_until) == BEFORE[before], "not twice"


def test_what_was_taken_back_is_no_new_claim_and_has_no_undo(person: Person, north: Site) -> None:
    (client, mara), case = person("mara"), held(north)
    exceptions.claim_case(case.pk, user=mara)
    page = client.post(f"/exceptions/{case.pk}/snooze/", {"reason": "Later", "hours": "4"}, follow=True)
    client.post(undo_of(page, case))
    move = WorkflowEvent.objects.latest("pk")
    assert (move.name, entry(move)["text"]) == ("case.claimed", "Taken back")
    # From another tab, where it is still asleep.
    again = client.post(f"/exceptions/{case.pk}/claim/", follow=True)
    assert f"EX-{case.pk} is yours." in again.text
    assert "?move=" not in again.text
    client.post(f"/exceptions/{case.pk}/hand-back/?move={move.pk}")
    case.refresh_from_db()
    assert (case.status, case.owner) == (CaseStatus.CLAIMED, mara)


@pytest.mark.parametrize(
    ("before", "stands"),
    [("of-ines", CaseStatus.OPEN), ("asleep", CaseStatus.OPEN), ("escalated", CaseStatus.ESCALATED)],
)
@pytest.mark.parametrize("gone", ["account", "role"])
def test_an_undo_gives_nothing_to_who_may_not_have_it_any_more(
    person: Person, north: Site, before: str, stands: CaseStatus, gone: str
) -> None:
    (client, mara), (_, ines), case = person("mara"), person("ines"), held(north)
    stand(before, case, mara, ines)
    page = client.post(f"/exceptions/{case.pk}/take-over/", {"reason": "Mine now"}, follow=True)
    if gone == "account":
        User.objects.filter(pk=ines.pk).update(is_active=False)
    else:
        ines.role_assignments.update(role=Role.READER)
    client.post(undo_of(page, case))
    case.refresh_from_db()
    assert (case.status, case.owner, case.snoozed_until) == (stands, None, None)


def test_an_undo_leaves_what_came_after_what_it_takes_back(person: Person, north: Site) -> None:
    (client, mara), (ines, _), case = person("mara"), person("ines"), held(north)
    undo = undo_of(client.post(f"/exceptions/{case.pk}/claim/", follow=True), case)
    client.post(f"/exceptions/{case.pk}/snooze/", {"reason": "Later", "hours": "4"})
    assert f"EX-{case.pk} changed since: it is snoozed, with mara." in client.post(undo, follow=True).text
    assert f"EX-{case.pk} changed since" in ines.post(undo, follow=True).text, "nor is it another's to take back"
    case.refresh_from_db()
    assert (case.status, case.owner) == (CaseStatus.SNOOZED, mara)


def test_a_case_that_somebody_took_meanwhile_says_so_and_stays_theirs(person: Person, north: Site) -> None:
    case = held(north)
    client, _ = person("mara")
    _, ines = person("ines")
    exceptions.claim_case(case.pk, user=ines)
    for action, data in (("claim", {}), ("snooze", {"reason": "x", "hours": "4"}), ("escalate", {"reason": "x"})):
        page = client.post(f"/exceptions/{case.pk}/{action}/", data, follow=True)
        assert f"Nothing was changed: EX-{case.pk} is with ines." in page.text, action
    case.refresh_from_db()
    assert (case.status, case.owner) == (CaseStatus.CLAIMED, ines)


def test_a_case_that_was_settled_meanwhile_says_so(person: Person, north: Site) -> None:
    case = set_aside(north)
    client, _ = person("mara")
    for number in range(2):
        page = client.post(f"/exceptions/{case.pk}/dismiss/", {"reason": "known"}, follow=True)
        assert ("was dismissed meanwhile" in page.text) is bool(number)
    assert WorkflowEvent.objects.filter(name="case.dismissed").count() == 1


def test_held_images_are_never_dismissed(person: Person, north: Site) -> None:
    case = held(north)
    client, _ = person("mara")
    page = client.post(f"/exceptions/{case.pk}/dismiss/", {"reason": "away with it"}, follow=True)
    assert "matched or rejected, not dismissed" in page.text
    case.refresh_from_db()
    assert case.status == CaseStatus.OPEN


@pytest.mark.parametrize("action", ["hand-back", "snooze", "escalate"])
def test_a_write_asks_for_a_reason_in_a_dialog_or_on_a_page(person: Person, north: Site, action: str) -> None:
    case = held(north)
    client, _ = person("mara")
    url = f"/exceptions/{case.pk}/{action}/"
    assert "<html" in client.get(url).text
    assert "<html" not in client.get(url, headers=PART).text
    assert client.post(url, {"reason": "", "hours": "4"}).status_code == 422
    case.refresh_from_db()
    assert case.status == CaseStatus.OPEN


def test_many_are_assigned_at_once_and_those_of_others_are_named(person: Person, north: Site) -> None:
    cases = [held(north, number) for number in range(1, 4)]
    client, mara = person("mara")
    _, ines = person("ines")
    exceptions.claim_case(cases[0].pk, user=ines)
    page = client.post("/exceptions/claim/", {"pick": [case.pk for case in cases]}, follow=True)
    assert f"2 assigned to you. EX-{cases[0].pk} is with ines." in page.text
    assert ExceptionCase.objects.filter(owner=mara).count() == 2


def test_those_who_look_at_a_case_see_each_other(person: Person, north: Site) -> None:
    case = held(north)
    mara, _ = person("mara")
    ines, _ = person("ines")
    assert "is reading" not in mara.get(f"/exceptions/{case.pk}/presence/").text
    assert "mara is reading this case" in ines.get(f"/exceptions/{case.pk}/presence/").text


def test_a_long_queue_costs_as_few_queries_as_a_short_one(
    person: Person, north: Site, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(1, 60):
        held(north, number)
    client, _ = person("mara")
    with django_assert_max_num_queries(13):
        assert len(client.get("/exceptions/").context["rows"]) == 50


def test_what_the_case_is_about_reads_as_words(person: Person, north: Site) -> None:
    case = set_aside(north)
    case.detail = {"references": [{"accession_number": "A1", "sps_id": ""}, {"accession_number": "A2"}]}
    case.save()
    assert "accession number A1; accession number A2" in person("mara")[0].get(f"/exceptions/{case.pk}/").text
