"""Who a message is about: never somebody else by accident (promise 7)."""

import datetime as dt

import pytest
from django.utils import timezone

from orchestrator.hl7.drain import apply_messages
from orchestrator.models import (
    ExceptionCase,
    HL7Application,
    ImagingServiceRequest,
    InboundMessage,
    Issuer,
    Patient,
    PatientIdentifier,
    Visit,
    WorkflowEvent,
)
from orchestrator.services.messages import replay
from orchestrator.states import InboundStatus
from tests.factories import make_site
from tests.orchestrator.hl7.speech import adt, last, orm, pid, take

pytestmark = pytest.mark.django_db

OTHER = pid("P2", "Roe^Max", born="19800101", sex="M")
# The number of Jane Doe, said of somebody else altogether.
REUSED = pid("P1", "Roe^Max", born="19800101", sex="M")
LATER = "20260705100000"


def tell(*messages: str) -> None:
    """Messages that are taken and applied, all of them, interface by interface."""
    take(*messages)
    for interface in HL7Application.objects.order_by("pk"):
        apply_messages(interface.pk)


def jane() -> Patient:
    return PatientIdentifier.objects.get(value="P1").patient


def person(identifiers: str, name: str = "Doe^Jane", born: str = "19700228", sex: str = "F") -> str:
    """A PID with these PID-3."""
    return f"PID|1||{identifiers}||{name}||{born}|{sex}"


def events(name: str) -> int:
    return WorkflowEvent.objects.filter(name=name).count()


def test_identifiers_of_two_patients_are_a_case_and_change_neither() -> None:
    tell(adt(), adt(control_id="2", person=OTHER))
    before = list(Patient.objects.order_by("pk").values())
    tell(adt("A08", "3", person=person("P1^^^MAIN~P2^^^MAIN~P3^^^MAIN", "New^Name")))
    assert last().error.startswith("PID-3: the identifiers belong to different patients")
    assert ExceptionCase.objects.get().message == last()
    assert list(Patient.objects.order_by("pk").values()) == before
    assert not PatientIdentifier.objects.filter(value="P3").exists()


@pytest.mark.parametrize("nobody", ['""^^^NATIONAL', " ^^^NATIONAL", "^^^NATIONAL"])
def test_an_identifier_that_is_deleted_or_empty_makes_no_two_patients_one(nobody: str) -> None:
    tell(adt(person=person(f"P1^^^MAIN~{nobody}")), adt(control_id="2", person=person(f"P2^^^MAIN~{nobody}", "Roe")))
    assert sorted(PatientIdentifier.objects.values_list("value", flat=True)) == ["P1", "P2"]
    assert Patient.objects.count() == 2


def test_another_identifier_of_a_known_patient_is_an_update_of_the_patient() -> None:
    tell(adt(), adt("A08", "2", person=person("P1^^^MAIN~X7^^^OTHER")), adt("A08", "3"))
    [event] = WorkflowEvent.objects.filter(name="patient.updated")
    assert (event.subject_id, event.detail) == (jane().pk, {"changed": ["identifiers"]})


def test_an_issuer_is_the_same_by_namespace_and_by_universal_id() -> None:
    tell(adt(person=person("P1^^^MAIN&1.2.3&ISO")))
    tell(adt(control_id="2", person=person("P1^^^MAIN")), adt(control_id="3", person=person("P1^^^&1.2.3&ISO")))
    assert (Patient.objects.count(), Issuer.objects.count()) == (1, 1)


@pytest.mark.parametrize("authority", ["MAIN&9.9.9&ISO", "MAIN&1.2.4&ISO"])
def test_an_issuer_whose_two_names_are_of_two_issuers_is_a_case(authority: str) -> None:
    tell(adt(person=person("P1^^^MAIN&1.2.3&ISO")), adt(control_id="2", person=person("P9^^^SOUTH&1.2.4&ISO", "Roe")))
    tell(adt(control_id="3", person=person(f"P1^^^{authority}", "New")))
    assert last().error.startswith("PID-3")
    assert jane().name == "Doe^Jane"


def test_an_identifier_without_issuer_is_of_its_senders_default() -> None:
    make_site(issuer="MAIN")
    take(adt(person=person("P1")))
    HL7Application.objects.update(default_issuer=Issuer.objects.create(namespace="CLINIC"))
    tell()
    assert PatientIdentifier.objects.get().issuer.namespace == "CLINIC"


def test_modalities_know_a_patient_by_the_number_of_the_default_issuer_or_by_the_medical_record_number() -> None:
    tell(adt(person=person("123-45^^^NATIONAL^SS~P1^^^MAIN^MR")))
    assert PatientIdentifier.objects.get(primary=True).value == "P1"
    assert make_site(issuer="MAIN").default_issuer == PatientIdentifier.objects.get(value="P1").issuer
    tell(adt(control_id="2", person=person("77^^^CLINIC^MR~P7^^^MAIN", "Roe")))
    assert PatientIdentifier.objects.get(patient__name="Roe", primary=True).value == "P7"


def test_a_second_site_learns_no_default_issuer_by_itself() -> None:
    first, second = make_site("MAIN", issuer=""), make_site("SOUTH", issuer="")
    tell(adt())
    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.default_issuer, second.default_issuer) == (None, None)


@pytest.mark.parametrize("message", [adt("A04", "2", person=REUSED), orm(control_id="2", person=REUSED)])
def test_a_known_number_with_another_name_and_birth_date_is_a_case_until_a_person_says_it_is_the_same(
    message: str,
) -> None:
    tell(adt())
    tell(message)
    assert (last().status, jane().name) == (InboundStatus.QUARANTINED, "Doe^Jane")
    assert not ImagingServiceRequest.objects.exists()
    assert "apply the message again" in ExceptionCase.objects.get().summary
    replay(last(), reason="asked the ward: a correction")
    tell()
    assert (last().status, jane().name) == (InboundStatus.APPLIED, "Roe^Max")


@pytest.mark.parametrize("known", ["19700228", ""], ids=["known born", "known without a birth date"])
@pytest.mark.parametrize("born", ["", '""', "1980"])
@pytest.mark.parametrize("event", [True, False], ids=["A04", "ORM"])
def test_another_name_without_the_same_birth_date_renames_nobody(known: str, born: str, event: bool) -> None:
    tell(orm(person=pid(born=known)))
    stranger = pid("P1", "Roe^Max", born=born, sex="")
    tell(adt("A04", "2", person=stranger) if event else orm(control_id="2", number="2", person=stranger))
    assert (last().status, jane().name) == (InboundStatus.QUARANTINED, "Doe^Jane")
    assert ImagingServiceRequest.objects.count() == 1


def test_another_name_with_the_same_birth_date_is_the_same_patient() -> None:
    tell(adt(), adt("A04", "2", person=pid(name="Ng^Bao"), at=LATER))
    assert jane().name == "Ng^Bao"


def test_somebody_unknown_becomes_known_by_an_update_without_anybody_being_asked() -> None:
    tell(adt(person=pid(name="Unknown^Trauma", born="19000101", sex="M")))
    tell(adt("A08", "2", person=REUSED, at=LATER))
    assert jane().name == "Roe^Max"


def test_an_update_that_changes_name_birth_date_and_sex_is_a_case() -> None:
    tell(adt(), adt("A08", "2", person=REUSED, at=LATER))
    assert (last().status, jane().name) == (InboundStatus.QUARANTINED, "Doe^Jane")


def test_an_order_changes_nothing_that_a_patient_event_said_but_fills_what_is_missing() -> None:
    tell(adt(person=pid(born="", sex="")))
    tell(orm(control_id="2", person=pid(name="Dough^Jane"), at=LATER))
    assert (jane().name, jane().birth_date, jane().sex) == ("Doe^Jane", dt.date(1970, 2, 28), "F")
    assert events("patient.order_differs") == 1
    assert ImagingServiceRequest.objects.get().patient == jane()


def test_where_there_are_orders_only_they_keep_the_demographics_up_to_date_until_an_event_comes() -> None:
    tell(orm(at=LATER), orm("XO", "2", person=pid(name="Dough^Jane"), at="20260705110000"))
    assert jane().name == "Dough^Jane"
    tell(adt("A08", "3", person=pid(name="Doe^Jane^Ann"), at="20260705090000"))
    assert jane().name == "Doe^Jane^Ann"


def test_what_is_said_under_a_number_that_was_merged_away_does_not_change_who_survives() -> None:
    tell(adt(), adt(control_id="2", person=OTHER))
    subsumed = Patient.objects.get(name="Roe^Max")
    subsumed.merged_into = jane()
    subsumed.save()
    tell(adt("A08", "3", person=OTHER.replace("19800101", "19700228"), at=LATER))
    assert last().status == InboundStatus.APPLIED
    assert (jane().name, events("patient.late_update_ignored")) == ("Doe^Jane", 1)


def test_a_sender_whose_clock_is_ahead_does_not_make_all_later_messages_late() -> None:
    tell(adt(at="20990101000000"))
    soon = timezone.now() + dt.timedelta(minutes=1)
    tell(adt("A08", "2", person=pid(name="Doe^Jane^Ann"), at=f"{soon:%Y%m%d%H%M%S}+0000"))
    assert jane().name == "Doe^Jane^Ann"


def test_sex_unknown_takes_nothing_away() -> None:
    tell(adt(), adt("A08", "2", person=pid(sex="U"), at=LATER))
    assert jane().sex == "F"


def test_a_visit_number_of_another_patient_is_a_case() -> None:
    tell(adt(), adt(control_id="2", person=OTHER).replace("|VP2", "|VP1"))
    assert last().error.startswith("PV1-19")
    assert Visit.objects.get().patient == jane()
    assert not Patient.objects.filter(name="Roe^Max").exists()


def test_times_without_a_zone_are_of_the_site() -> None:
    """The HIS says 10:00 and means 08:00 UTC; the RIS says the zone, and is newer."""
    site = make_site()
    site.time_zone = "Europe/Berlin"
    site.save()
    tell(adt(at="20260705100000"))
    tell(adt("A08", "2", person=pid(name="Doe^Jane^Ann"), at="20260705103000+0200", application="RIS2"))
    assert jane().name == "Doe^Jane^Ann"
    assert InboundMessage.objects.earliest("pk").sent_at == dt.datetime(2026, 7, 5, 8, tzinfo=dt.UTC)


def test_in_the_hour_that_the_end_of_summer_time_repeats_messages_count_as_they_come() -> None:
    """At 02:50 and then, twenty minutes later, at 02:10."""
    site = make_site()
    site.time_zone = "Europe/Berlin"
    site.save()
    tell(adt(at="20261024120000"))
    tell(adt("A08", "2", person=pid(name="First^Jane"), at="20261025025000"))
    tell(adt("A08", "3", person=pid(name="Second^Jane"), at="20261025021000"))
    assert jane().name == "Second^Jane"


def test_a_name_is_the_first_that_is_there() -> None:
    tell(adt(person=pid(name='""^""~Doe^Jane')))
    assert jane().name == "Doe^Jane"
