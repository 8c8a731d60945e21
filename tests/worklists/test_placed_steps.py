"""The entries of new orders are made of what is in memory: the same as of what was written."""

import datetime as dt

import pytest
from django.db.models import prefetch_related_objects
from pytest_django import DjangoAssertNumQueries

from orchestrator.hl7.drain import apply_messages
from orchestrator.models import HL7Application, ScheduledProcedureStep, Site
from orchestrator.services.orders import OrderData, ProcedureData, StepData, place
from orchestrator.services.patients import IdentifierData, PatientData, upsert_patient
from orchestrator.services.visits import VisitData, upsert_visit
from tests.orchestrator.hl7.speech import orm, pid, take
from tests.worklists.ward import kept
from worklists.models import WorklistEntry
from worklists.services.steps import project

pytestmark = pytest.mark.django_db

MOST_STATEMENTS = 42

STEP = StepData(
    "S1", "CT", ["CT_NORTH", "CT_SOUTH"], "North", "Floor 1", dt.date(2026, 7, 5), dt.time(10, 30, 5, 250),
    "HOUSE^GREGORY", "CT head", [["P1", "99LAB", "Head"]],
)  # fmt: skip
ORDERS = {
    "of a filler": [ProcedureData("R1", "1.2.3", "CTHEAD", "99LAB", "CT head", "CT of the head", [STEP])],
    "of a placer, without ids and times": [ProcedureData(code_value="CTHEAD", steps=[StepData(modality="CT")])],
    "with values that are too long": [
        ProcedureData("R" * 80, description="x" * 80, steps=[StepData("S" * 80, location="Ü" * 200)])
    ],
    "of two procedures": [
        ProcedureData("R1", steps=[StepData("S1"), StepData("S2", station_ae_titles=["MR"])]),
        ProcedureData("R2", steps=[StepData("S3", "MR")]),
    ],
    "that says a step twice": [
        ProcedureData("R1", steps=[StepData("S1", "CT", location="first")]),
        ProcedureData("R1", steps=[StepData("S1", description="then"), StepData("S2")]),
    ],
    "without steps": [ProcedureData("R1")],
}


@pytest.mark.parametrize("known", [False, True], ids=["a new patient", "a known patient with a visit"])
@pytest.mark.parametrize("said", ORDERS)
def test_a_new_order_is_on_the_worklist_as_it_was_written(said: str, known: bool) -> None:
    site = Site.objects.get(code="MAIN")
    both = [IdentifierData("00123", "MAIN", type_code="MR"), IdentifierData("X9", "CITY", "1.2.3", "ISO")]
    data = PatientData(both, name="Müller^Jürgen=山田^太郎", birth_date=dt.date(1970, 2, 28), sex="M")
    patient, visit = upsert_patient(data=data, site=site), None
    if known:
        patient = upsert_patient(data=data, site=site)
        visit_data = VisitData("V1", location="4 West", referring_physician="WILSON^J", ambulatory_status="B6")
        visit = upsert_visit(data=visit_data, patient=patient, site=site, active=True)
    order = OrderData(
        "PL1", "RIS", accession_number="A" * 20, priority="STAT", requesting_physician="ROE^R" * 80,
        danger_code="MRSA", at=dt.datetime(2026, 7, 4, 12, tzinfo=dt.UTC), procedures=ORDERS[said],
    )  # fmt: skip
    place(order=None, data=order, patient=patient, visit=visit, interface=None, site=site, anew=True)
    as_placed = kept()
    steps = list(ScheduledProcedureStep.objects.values_list("pk", flat=True))
    assert [row[0] for row in as_placed[0]] == steps
    project(steps)
    assert kept() == as_placed


def test_what_was_read_of_a_patient_before_and_after_an_order_is_not_taken_for_what_is() -> None:
    site = Site.objects.get(code="MAIN")
    first, second, third = (IdentifierData(f"ID{number}", f"HOSPITAL{number}") for number in range(3))
    patient = upsert_patient(data=PatientData([first], name="Doe^Jane"), site=site)
    prefetch_related_objects([patient], "identifiers")
    upsert_patient(data=PatientData([first, second]), site=site)
    order = OrderData("PL1", "RIS", procedures=[ProcedureData("R1", steps=[STEP])])
    place(order=None, data=order, patient=patient, visit=None, interface=None, site=site, anew=True)
    assert b"ID1" in bytes(WorklistEntry.objects.get().answer)
    upsert_patient(data=PatientData([first, third]), site=site)
    assert {each.value for each in patient.identifiers.all()} == {"ID0", "ID1", "ID2"}


def test_an_order_of_a_new_patient_costs_no_more_statements_than_it_did(
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    """Each costs about a millisecond of the time until the order is on the worklist (docs/developer.md)."""
    take(orm())
    interface = HL7Application.objects.get()
    apply_messages(interface.pk)
    take(orm(control_id="2", number="2", person=pid("P2", "Roe^Jim^^^^^L")))
    with django_assert_max_num_queries(MOST_STATEMENTS):
        assert apply_messages(interface.pk) == 1
    assert WorklistEntry.objects.count() == 2
