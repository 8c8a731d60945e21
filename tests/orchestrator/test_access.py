"""Who sees what where, and that looking is recorded and sealed."""

import itertools
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from orchestrator import audit
from orchestrator.models import AccessEvent, InboundMessage, Patient, Role, RoleAssignment, Site, User, Visit
from orchestrator.permissions import ACTIONS, Viewer, can, require, visible_to
from orchestrator.services import access_log, tokens
from orchestrator.services.exceptions import open_case
from orchestrator.states import DeliveryStatus
from routing.models import Delivery
from routing.services import destinations
from tests.factories import DAY, make_order, make_study, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def north() -> Site:
    return Site.objects.create(code="N", name="North")


@pytest.fixture
def south() -> Site:
    return Site.objects.create(code="S", name="South")


def viewer(role: Role | None, site: Site | None) -> Viewer:
    user = User.objects.create_user("someone")
    if role:
        RoleAssignment.objects.create(user=user, role=role, site=site)
    return Viewer.of(user)


@pytest.mark.parametrize(("role", "action"), list(itertools.product(Role, ACTIONS)))
def test_a_role_at_one_site_allows_its_actions_there_and_nothing_elsewhere(
    role: Role, action: str, north: Site, south: Site
) -> None:
    someone = viewer(role, north)
    assert can(someone, action, north.pk) == (role in ACTIONS[action])
    assert not can(someone, action, south.pk)


def test_without_a_role_nothing_is_allowed(north: Site) -> None:
    nobody = viewer(None, None)
    assert not any(can(nobody, action) for action in ACTIONS)
    with pytest.raises(PermissionDenied):
        require(nobody, "sites.view")


def test_an_inactive_user_is_nobody() -> None:
    user = User.objects.create_user("gone", is_active=False)
    RoleAssignment.objects.create(user=user, role=Role.ADMINISTRATOR)
    assert not can(Viewer.of(user), "sites.view")


def test_a_read_only_token_looks_but_does_not_touch() -> None:
    user = User.objects.create_user("script")
    RoleAssignment.objects.create(user=user, role=Role.ADMINISTRATOR)
    reading = Viewer.of(user, may_write=False)
    assert can(reading, "exceptions.view")
    assert not can(reading, "exceptions.resolve")


def test_rows_of_other_sites_are_not_there(north: Site, south: Site) -> None:
    patient = Patient.objects.create()
    patient.sites.add(north, south)
    here = Visit.objects.create(patient=patient, site=north, visit_number="1")
    Visit.objects.create(patient=patient, site=south, visit_number="2")
    someone = viewer(Role.READER, north)
    assert list(visible_to(Visit.objects.all(), someone, "patients.view")) == [here]


def test_a_patient_known_at_two_of_my_sites_is_listed_once(north: Site, south: Site) -> None:
    patient = Patient.objects.create()
    patient.sites.add(north, south)
    user = User.objects.create_user("both")
    for site in (north, south):
        RoleAssignment.objects.create(user=user, role=Role.READER, site=site)
    assert list(visible_to(Patient.objects.all(), Viewer.of(user), "patients.view")) == [patient]


@pytest.fixture
def two_of_each() -> None:
    """Two rows on each list that refreshes itself."""
    archive = destinations.create(name="Archive", ae_title="ARCHIVE", host="127.0.0.1", port=9)
    now = timezone.now()
    for number in range(2):
        study = make_study(make_order())
        open_case("no_route", about=study, reason_code="X", summary="X", site=study.site, study=study)
        Delivery.objects.create(study=study, destination=archive, rendition="original", status=DeliveryStatus.FAILED)
        InboundMessage.objects.create(
            site=study.site, received_at=now, raw=b"MSH", digest=str(number), control_id=f"C{number}", sequence=number
        )


@pytest.mark.usefixtures("two_of_each")
@pytest.mark.parametrize(
    ("path", "action"),
    [
        ("/exceptions/", "exceptions.view"), ("/studies/", "studies.view"), ("/orders/", "orders.view"),
        ("/messages/", "messages.view"), ("/deliveries/", "deliveries.view"),
        (f"/worklist/?day={DAY}", "worklist.view"),
    ],
)  # fmt: skip
def test_a_look_is_recorded_when_something_is_shown_and_as_much_as_is_shown(
    client: Client, path: str, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not each time that an open page asks whether something changed, nor when only the minutes that it tells did."""
    now = timezone.now().replace(second=0, microsecond=0)
    monkeypatch.setattr("orchestrator.views.lists.minute", lambda: now)
    client.force_login(make_user(Role.ADMINISTRATOR, name="mara"))
    page = client.get(path)
    first = page.context["rows"][0] if "rows" in page.context else None
    # A poll of the first row alone.
    key = first["case"].pk if isinstance(first, dict) else first and first.pk
    poll = f"{path}?shown={key}" if first else path
    shown = page.headers["ETag"]

    def ask() -> int:
        nonlocal shown
        asked = {"HX-Request": "true", "HX-Request-Type": "partial", "If-None-Match": shown}
        answer = client.get(poll, headers=asked)
        shown = answer.headers["ETag"]
        return answer.status_code

    polled = 200 if first else 304
    assert (ask(), ask()) == (polled, 304)
    now += timedelta(minutes=1)
    assert (ask(), ask()) == (polled, 304)
    # In another tab of this browser somebody else has signed in.
    client.force_login(make_user(Role.ADMINISTRATOR, name="ines"))
    assert (ask(), ask()) == (200, 304)
    audit.recorder.flush()
    seen = AccessEvent.objects.filter(action=action).order_by("pk").values_list("user_name", "number_of_records")
    assert list(seen) == ([("mara", 2), ("mara", 1), ("ines", 1)] if first else [("mara", 2), ("ines", 2)])


def look(times: int) -> None:
    watcher = Viewer(0, "ines", {})
    for n in range(times):
        audit.record_access(watcher, "patients.view", "patient", subject_id=str(n))
    audit.recorder.flush()


def test_looks_are_written_in_one_batch() -> None:
    with CaptureQueriesContext(connection) as queries:
        look(5)
    assert AccessEvent.objects.count() == 5
    assert len([q for q in queries if q["sql"].startswith("INSERT")]) == 1


def test_the_chain_holds_and_a_changed_or_missing_row_breaks_it() -> None:
    look(3)
    assert access_log.seal() == 3
    look(2)
    assert access_log.seal() == 2
    assert access_log.first_break() is None
    AccessEvent.objects.filter(seal=4).update(user_name="mara")
    assert access_log.first_break() == 4
    AccessEvent.objects.filter(seal=2).delete()
    assert access_log.first_break() == 2


def test_rows_cut_off_the_end_put_behind_it_or_moved_break_the_chain() -> None:
    look(4)
    access_log.seal()
    end = AccessEvent.objects.get(seal=4)
    end.delete()
    assert access_log.first_break() == 4, "cut off"
    AccessEvent.objects.filter(seal=3).update(seal=4)
    assert access_log.first_break() == 3, "moved"
    AccessEvent.objects.filter(seal=4).update(seal=3)
    end.save()
    assert access_log.first_break() is None
    AccessEvent.objects.create(at=end.at, action="x", subject_type="y", seal=5, digest=end.digest)
    assert access_log.first_break() == 5, "put behind"


def test_a_clean_end_writes_all_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "BATCH_ROWS", 2)
    watcher = Viewer(0, "ines", {})
    for n in range(5):
        audit.record_access(watcher, "patients.view", "patient", subject_id=str(n))
    audit.recorder.finish()
    assert AccessEvent.objects.count() == 5


def test_looks_that_the_database_refuses_now_are_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise InterfaceError("connection already closed")

    audit.record_access(Viewer(0, "ines", {}), "patients.view", "patient")
    with monkeypatch.context() as patched:
        patched.setattr(AccessEvent.objects, "bulk_create", away)
        audit.recorder.finish()
    audit.recorder.finish()
    assert AccessEvent.objects.count() == 1


def test_a_token_is_found_by_its_key_only_until_it_is_revoked_or_expired() -> None:
    user = User.objects.create_user("script")
    key = tokens.create_token(user=user, name="ci")
    token = tokens.find_token(key)
    assert token is not None
    assert key not in (token.digest, token.prefix)
    assert tokens.find_token(key + "x") is None
    tokens.revoke_token(token)
    assert tokens.find_token(key) is None
    assert tokens.find_token(tokens.create_token(user=user, name="old", days=-1)) is None
