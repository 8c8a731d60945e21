"""Each page works whole and as a part, for those who may see it, and shows what peers sent as text."""

import datetime as dt
from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from orchestrator import audit
from orchestrator.models import (
    AccessEvent,
    ApiToken,
    ApplicationEntity,
    ExceptionCase,
    HL7Application,
    IdentityClaim,
    ImagingServiceRequest,
    InboundMessage,
    Issuer,
    Patient,
    PatientIdentifier,
    RequestedProcedure,
    Role,
    RoleAssignment,
    ScheduledProcedureStep,
    Series,
    Site,
    Study,
    UnknownCaller,
    User,
)
from orchestrator.services.exceptions import open_case
from orchestrator.services.patients import keep_words
from orchestrator.states import CaseStatus, Identity, InboundStatus, Purpose
from tests.factories import make_ae, make_order, make_study

pytestmark = pytest.mark.django_db

SignIn = Callable[..., Client]
HOSTILE = "<script>alert(1)</script>"
PART = {"HX-Request": "true", "HX-Request-Type": "partial"}
LISTS = ["/", "/patients/", "/orders/", "/studies/", "/worklist/", "/interfaces/", "/messages/", "/users/", "/audit/"]


@pytest.fixture
def north() -> Site:
    return Site.objects.create(code="N", name="North")


@pytest.fixture
def south() -> Site:
    return Site.objects.create(code="S", name="South")


@pytest.fixture
def sign_in() -> SignIn:
    def sign_in_(role: Role, site: Site | None = None) -> Client:
        user = User.objects.create_user(f"{role}-{site}")
        RoleAssignment.objects.create(user=user, role=role, site=site)
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in_


def order_of(site: Site, number: str = "A1", name: str = f"{HOSTILE}^Eve") -> ImagingServiceRequest:
    patient = Patient.objects.create(name=name, folded_name="EVE SCRIPT", birth_date=dt.date(1968, 3, 14))
    keep_words(patient)
    patient.sites.add(site)
    issuer, _ = Issuer.objects.get_or_create(namespace="TRH")
    PatientIdentifier.objects.create(patient=patient, value=f"P{number}", issuer=issuer, primary=True)
    order = ImagingServiceRequest.objects.create(
        site=site, patient=patient, accession_number=number, placer_order_number=number, reason=HOSTILE
    )
    procedure = RequestedProcedure.objects.create(
        order=order, requested_procedure_id="1", study_instance_uid=f"2.25.{order.pk}", description=HOSTILE
    )
    ScheduledProcedureStep.objects.create(
        procedure=procedure, site=site, sps_id="1", modality="CT", station_ae_titles=["CT_1"],
        start_date=timezone.localdate(), start_time=dt.time(8, 45),
    )  # fmt: skip
    return order


def study_of(order: ImagingServiceRequest) -> Study:
    now = timezone.now()
    study = Study.objects.create(
        study_instance_uid=f"2.25.9{order.pk}", site=order.site, patient=order.patient, study_description=HOSTILE,
        modalities=["CT"], received_from="CT_1", first_received_at=now, last_received_at=now,
    )  # fmt: skip
    IdentityClaim.objects.create(
        study=study, key="k", patient_name=HOSTILE, order=order, accession_number=order.accession_number
    )
    Series.objects.create(study=study, series_instance_uid="1.2", series_description=HOSTILE)
    return study


def message_of(site: Site) -> InboundMessage:
    interface = HL7Application.objects.create(name="RIS", sending_application="RIS", site=site)
    return InboundMessage.objects.create(
        interface=interface, site=site, message_type="ORM^O01", control_id="77", digest="d", received_at=timezone.now(),
        raw=b"MSH|^~\\&|RIS|N\rPID|1||P1||\xe9<script>alert(1)</script>\r", status="QUARANTINED", error=HOSTILE,
    )  # fmt: skip


@pytest.mark.parametrize("url", [*LISTS, "/tokens/", "/users/add/"])
def test_a_page_works_whole_and_as_a_part(sign_in: SignIn, north: Site, url: str) -> None:
    study_of(order_of(north))
    message_of(north)
    client = sign_in(Role.ADMINISTRATOR)
    whole, part = client.get(url), client.get(url, headers=PART)
    assert (whole.status_code, part.status_code) == (200, 200)
    assert "<html" in whole.text
    assert "<html" not in part.text
    assert "alert(1)" not in whole.text.replace("&lt;script&gt;alert(1)", "")
    assert "no-store" in whole.headers["Cache-Control"]


def test_names_and_texts_of_peers_are_shown_as_text(sign_in: SignIn, north: Site) -> None:
    order = order_of(north)
    study, message = study_of(order), message_of(north)
    client = sign_in(Role.ADMINISTRATOR)
    series = study.series.get()
    for url in (
        f"/patients/{order.patient.uid}/", f"/orders/{order.pk}/", f"/studies/{study.pk}/", f"/messages/{message.pk}/",
        f"/studies/{study.study_instance_uid}/", f"/studies/{study.pk}/series/{series.pk}/",
    ):  # fmt: skip
        text = client.get(url).text
        assert HOSTILE not in text, url
        assert "&lt;script&gt;" in text.lower(), url


def test_an_order_shows_the_messages_that_made_it(sign_in: SignIn, north: Site) -> None:
    order, message = order_of(north), message_of(north)
    InboundMessage.objects.filter(pk=message.pk).update(order=order)
    page = sign_in(Role.ADMINISTRATOR).get(f"/orders/{order.pk}/")
    assert page.status_code == 200
    assert f"/messages/{message.pk}/" in page.text
    assert f"/messages/{message.pk}/" not in sign_in(Role.READER).get(f"/orders/{order.pk}/").text


def test_bytes_that_are_not_utf_8_are_shown_and_not_dropped(sign_in: SignIn, north: Site) -> None:
    assert "\\xe9" in sign_in(Role.ADMINISTRATOR).get(f"/messages/{message_of(north).pk}/").text


@pytest.mark.parametrize("url", LISTS)
def test_who_is_not_signed_in_sees_nothing(client: Client, url: str) -> None:
    response = client.get(url)
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/login/")


@pytest.mark.parametrize(
    ("role", "url"),
    [
        (Role.READER, "/messages/"), (Role.READER, "/interfaces/"), (Role.MANAGER, "/patients/"),
        (Role.AUDITOR, "/studies/"), (Role.AUDITOR, "/worklist/"), (Role.QA_TECHNOLOGIST, "/users/"),
        (Role.PACS_ADMINISTRATOR, "/audit/"), (Role.AUDITOR, "/users/add/"),
    ],
)  # fmt: skip
def test_a_role_without_the_right_is_refused(sign_in: SignIn, role: Role, url: str) -> None:
    assert sign_in(role).get(url).status_code == 403


def test_who_has_no_role_at_all_can_sign_out(client: Client) -> None:
    client.force_login(User.objects.create_user("new"), backend="django.contrib.auth.backends.ModelBackend")
    answer = client.get("/")
    assert answer.status_code == 403
    assert 'action="/logout/"' in answer.text


def test_what_belongs_to_another_site_does_not_exist(sign_in: SignIn, north: Site, south: Site) -> None:
    # With a hyphen, which no token of the page has by chance.
    order = order_of(north, "N-1001")
    study, message = study_of(order), message_of(north)
    client = sign_in(Role.PACS_ADMINISTRATOR, south)
    for url in (
        f"/patients/{order.patient.uid}/", f"/orders/{order.pk}/", f"/studies/{study.pk}/", f"/messages/{message.pk}/"
    ):  # fmt: skip
        assert client.get(url).status_code == 404, url
    for url in ("/patients/", "/orders/", "/studies/", "/worklist/", "/messages/"):
        assert "N-1001" not in client.get(url).text, url


def test_the_site_of_the_top_bar_narrows_lists_until_the_address_says_otherwise(
    sign_in: SignIn, north: Site, south: Site
) -> None:
    order_of(north, "NORTH-1")
    order_of(south, "SOUTH-1")
    client = sign_in(Role.ADMINISTRATOR)
    client.post("/shell/site/", {"site": north.pk})
    assert "SOUTH-1" not in client.get("/orders/").text
    assert "SOUTH-1" in client.get("/orders/?site=all").text


@pytest.mark.parametrize("typed", ["PA1", "eve", "Script, Eve", "1968-03-14"])
def test_a_search_for_a_patient_leaves_no_trace_in_the_address(sign_in: SignIn, north: Site, typed: str) -> None:
    order = order_of(north)
    client = sign_in(Role.ADMINISTRATOR)
    response = client.post("/patients/", {"q": typed})
    assert typed not in response.headers["Location"]
    found = client.get(response.headers["Location"]).text
    assert str(order.patient.uid) in found
    assert str(order.patient.uid) not in client.get(client.post("/patients/", {"q": "nobody"}).headers["Location"]).text


@pytest.mark.parametrize("page", ["/studies/", "/orders/"])
def test_studies_and_orders_are_found_by_accession_and_patient(sign_in: SignIn, north: Site, page: str) -> None:
    study_of(order_of(north))
    client = sign_in(Role.ADMINISTRATOR)
    for typed, there in (("A1", True), ("PA1", True), ("eve", True), ("A2", False)):
        location = client.post(page, {"q": typed}).headers["Location"]
        assert bool(client.get(location).context["found"].rows) is there, typed


def test_a_search_of_another_session_is_not_there(sign_in: SignIn, north: Site) -> None:
    location = sign_in(Role.ADMINISTRATOR).post("/patients/", {"q": "eve"}).headers["Location"]
    assert sign_in(Role.PACS_ADMINISTRATOR).get(location).status_code == 404


def test_pages_follow_one_another_without_gap_or_repetition(sign_in: SignIn, north: Site) -> None:
    for number in range(120):
        order_of(north, f"N{number:03}")
    client, seen, url = sign_in(Role.ADMINISTRATOR), [], "/orders/"
    while url:
        found = client.get(url).context["found"]
        seen += [order.accession_number for order in found.rows]
        url = found.next
    assert seen == [f"N{number:03}" for number in reversed(range(120))]
    assert client.get("/orders/?after=nonsense").status_code == 400


@pytest.mark.parametrize(("url", "number"), [("/studies/", 16), ("/orders/", 16), ("/worklist/", 10), ("/", 34)])
def test_a_list_costs_the_same_few_queries_however_long_it_is(
    sign_in: SignIn, north: Site, django_assert_max_num_queries: DjangoAssertNumQueries, url: str, number: int
) -> None:
    for each in range(30):
        study_of(order_of(north, f"N{each}"))
    client = sign_in(Role.ADMINISTRATOR)
    with django_assert_max_num_queries(number):
        client.get(url)


def test_looking_at_a_patient_is_recorded_without_the_name(sign_in: SignIn, north: Site) -> None:
    order = order_of(north)
    sign_in(Role.ADMINISTRATOR).get(f"/patients/{order.patient.uid}/")
    audit.recorder.flush()
    event = AccessEvent.objects.get(action="patients.view")
    assert (event.subject_id, event.address) == (str(order.patient.uid), "127.0.0.1")


def test_the_audit_says_whether_its_chain_holds(sign_in: SignIn) -> None:
    assert "The chain holds" in sign_in(Role.AUDITOR).get("/audit/?verify=1").text


def test_a_token_is_shown_once_and_only_its_owner_can_revoke_it(sign_in: SignIn) -> None:
    client = sign_in(Role.READER)
    made = client.post("/tokens/", {"name": "script", "days": 30})
    key = made.context["key"]
    assert key
    assert key in made.text
    assert key not in client.get("/tokens/").text
    token = ApiToken.objects.get()
    assert token.scopes == ["read"]
    assert sign_in(Role.ADMINISTRATOR).post(f"/tokens/{token.pk}/revoke/").status_code == 404
    client.post(f"/tokens/{token.pk}/revoke/")
    token.refresh_from_db()
    assert token.revoked_at is not None


def test_an_administrator_adds_a_user_with_a_role_and_takes_the_role_away(sign_in: SignIn, north: Site) -> None:
    client = sign_in(Role.ADMINISTRATOR)
    weak = client.post("/users/add/", {"username": "ines", "password": "short", "role": "reader"})
    assert weak.status_code == 422
    client.post(
        "/users/add/", {"username": "ines", "password": "a long enough one", "role": "reader", "site": north.pk}
    )
    assignment = User.objects.get(username="ines").role_assignments.get()
    assert (assignment.role, assignment.site) == ("reader", north)
    client.post(f"/users/roles/{assignment.pk}/remove/")
    assert not RoleAssignment.objects.filter(pk=assignment.pk).exists()


def test_an_administrator_of_one_site_gives_and_takes_roles_only_there(
    sign_in: SignIn, north: Site, south: Site
) -> None:
    client = sign_in(Role.ADMINISTRATOR, site=north)
    elsewhere = RoleAssignment.objects.create(user=User.objects.create_user("olaf"), role=Role.READER, site=south)
    assert "olaf" not in client.get("/users/").text
    me = User.objects.exclude(username="olaf").get()
    for site in ("", south.pk):
        assert client.post(f"/users/{me.pk}/roles/add/", {"role": "administrator", "site": site}).status_code == 422
    assert (
        client.post(f"/users/{elsewhere.user_id}/roles/add/", {"role": "reader", "site": north.pk}).status_code == 404
    )
    assert client.post(f"/users/roles/{elsewhere.pk}/remove/").status_code == 404
    assert RoleAssignment.objects.count() == 2


def test_the_last_administrator_stays(sign_in: SignIn) -> None:
    client = sign_in(Role.ADMINISTRATOR)
    last = RoleAssignment.objects.get()
    client.post(f"/users/roles/{last.pk}/remove/")
    assert "is the last administrator" in client.get("/users/").text
    assert RoleAssignment.objects.filter(pk=last.pk).exists()


def test_the_search_box_finds_patients_orders_studies_and_cases(sign_in: SignIn, north: Site, south: Site) -> None:
    order = make_order(site=north, accession_number="A77")
    make_study(order, patient_id="typed")
    make_order(site=south, accession_number="A78")
    client = sign_in(Role.PACS_ADMINISTRATOR, site=north)
    page = client.post("/search/", {"q": "A77"}, follow=True).text
    assert "Orders" in page
    assert "Studies" in page
    assert page.count("DOE, Jane") >= 2
    by_name = client.post("/search/", {"q": "jane doe"}, follow=True).text
    assert "Patients" in by_name
    assert "A78" not in client.post("/search/", {"q": "jane doe"}, follow=True).text
    assert "Nothing found." in client.post("/search/", {"q": "A78"}, follow=True).text


def test_a_message_set_aside_is_applied_again_or_given_up_with_a_reason(sign_in: SignIn, north: Site) -> None:
    interface = HL7Application.objects.create(name="RIS", site=north)
    message = InboundMessage.objects.create(
        interface=interface, site=north, raw=b"MSH|^~\\&|", digest="d", received_at=timezone.now(), sequence=1,
        status=InboundStatus.QUARANTINED,
    )  # fmt: skip
    client = sign_in(Role.PACS_ADMINISTRATOR)
    page = client.get(f"/messages/{message.pk}/").text
    assert "Apply again" in page
    assert "By the standard" in page
    assert "MSH-9 (message type) is required, and empty." in page
    assert client.post(f"/messages/{message.pk}/replay/", {"reason": ""}).status_code == 422
    client.post(f"/messages/{message.pk}/replay/", {"reason": "The table is mended"})
    message.refresh_from_db()
    assert message.status == InboundStatus.RECEIVED
    assert "By the standard" not in client.get(f"/messages/{message.pk}/").text
    client.post(f"/messages/{message.pk}/dismiss/", {"reason": "Too late"})
    assert "no longer set aside" in client.get(f"/messages/{message.pk}/").text
    assert "Apply again" not in client.get(f"/messages/{message.pk}/").text


@pytest.mark.parametrize(("protocol", "name"), [("dicom", "MR_NEW"), ("hl7", "RIS|WEST")])
def test_an_unknown_caller_is_let_in_with_one_form(sign_in: SignIn, north: Site, protocol: str, name: str) -> None:
    caller = UnknownCaller.objects.create(protocol=protocol, name=name, address="10.0.0.7", refused=True)
    open_case("unknown_sender", about=caller, reason_code="UNKNOWN", summary="Who is it?", site=north)
    asked = {"site": north.pk, "reason": "The new scanner; called the ward"}
    assert (
        sign_in(Role.PACS_ADMINISTRATOR, site=north)
        .post(f"/interfaces/callers/{caller.pk}/introduce/", asked)
        .status_code
        == 403
    )
    client = sign_in(Role.PACS_ADMINISTRATOR)
    assert "Let in…" in client.get("/interfaces/").text
    client.post(f"/interfaces/callers/{caller.pk}/introduce/", asked)
    client.post(f"/interfaces/callers/{caller.pk}/introduce/", asked)
    page = client.get("/interfaces/").text
    assert "somebody let it in meanwhile" in page
    if protocol == "dicom":
        entity = ApplicationEntity.objects.get(ae_title=name)
        assert (entity.host, entity.device.site) == ("10.0.0.7", north)
    else:
        assert HL7Application.objects.get(sending_application="RIS", sending_facility="WEST").site == north
    assert ExceptionCase.objects.get().status == CaseStatus.RESOLVED


def test_times_are_told_as_the_clock_of_the_site_shows_them(sign_in: SignIn, north: Site, south: Site) -> None:
    Site.objects.update(time_zone="Asia/Tokyo")
    Site.objects.filter(pk=south.pk).update(time_zone="America/New_York")
    here, there = (timezone.now().astimezone(ZoneInfo(zone)) for zone in ("Asia/Tokyo", "America/New_York"))

    def shown(client: Client) -> str:
        return str(client.get("/").context["subtitle"])

    assert f"{here:%d %B, %H:}" in shown(sign_in(Role.MANAGER, north)), "the only site of the person"
    assert f"{there:%d %B, %H:}" in shown(sign_in(Role.MANAGER, south))
    everywhere = sign_in(Role.ADMINISTRATOR)
    assert f"{here:%d %B, %H:}" in shown(everywhere), "the first one"
    everywhere.post("/shell/site/", {"site": str(south.pk)})
    assert f"{there:%d %B, %H:}" in shown(everywhere), "the one of the top bar"
    AccessEvent.objects.create(at=timezone.now(), action="studies.view", subject_type="study")
    [event] = everywhere.get("/api/v1/audit/").json()["results"]
    assert event["at"].endswith("Z"), "programs get UTC"


def test_nothing_is_shown_that_nothing_can_change(sign_in: SignIn, north: Site) -> None:
    study = study_of(order_of(north))
    make_ae("CT_NORTH", site=north)
    client = sign_in(Role.ADMINISTRATOR)
    dims = [each["label"] for each in client.get(f"/studies/{study.pk}/").context["dims"]]
    assert dims == ["Identity", "Custody"], "nobody derives its context or its quality"
    custody = next(group for group in client.get("/studies/").context["groups"] if group["id"] == "custody")
    assert "Incomplete" not in [choice["label"] for choice in custody["choices"]]
    assert 'data-l="Modality"' not in client.get("/interfaces/").text
    [entity] = client.get("/api/v1/application-entities/").json()["results"]
    assert "modality" not in entity


def test_the_rail_of_images_counts_the_studies_of_which_something_is_missing(sign_in: SignIn, north: Site) -> None:
    study = study_of(order_of(north))
    client = sign_in(Role.READER)

    def incomplete() -> int:
        return int(next(rail for rail in client.get("/").context["rails"] if rail["name"] == "Images")["errors"])

    assert incomplete() == 0
    open_case("incomplete_study", about=study, reason_code="INSTANCES_MISSING", summary="1 is missing", site=north)
    assert incomplete() == 1, "also for who does not see the case itself"


def test_the_rail_of_identity_counts_what_is_compared_and_not_what_was_derived(sign_in: SignIn, north: Site) -> None:
    study_of(order_of(north)).claims.update(identity=Identity.PENDING)
    client = sign_in(Role.READER)

    def to_compare() -> int:
        return int(next(rail for rail in client.get("/").context["rails"] if rail["name"] == "Identity")["queue"])

    assert to_compare() == 1
    IdentityClaim.objects.update(purpose=Purpose.DERIVED)
    assert to_compare() == 0
