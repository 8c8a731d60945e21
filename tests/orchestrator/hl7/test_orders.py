"""Which order, procedure and step a message is about, and what becomes of them."""

import pytest

from orchestrator.hl7.drain import apply_messages
from orchestrator.models import (
    HL7Application,
    ImagingServiceRequest,
    Patient,
    RequestedProcedure,
    ScheduledProcedureStep,
)
from orchestrator.services.messages import dismiss
from orchestrator.services.orders import advance_step
from orchestrator.states import InboundStatus, OrderStatus, StepStatus
from tests.orchestrator.hl7.speech import adt, field, last, msh, orm, pid, take
from tests.worklists.ward import ask, keys
from worklists.models import WorklistEntry

pytestmark = pytest.mark.django_db

CODE = "CTHEAD^CT head^L"
CHEST = "CTCHEST^CT chest^L"


def tell(*messages: str) -> None:
    take(*messages)
    for interface in HL7Application.objects.order_by("pk"):
        apply_messages(interface.pk)


def said(*groups: str, control_id: str = "1", at: str = "20260705080000") -> str:
    """An ORM of these ORC groups."""
    return "\r".join([msh("ORM^O01", control_id, at=at), pid(), *groups, ""])


def group(control: str = "NW", *, placer: str = "PL1", filler: str = "F1", accession: str = "A1", rp: str = "RP1",
          sps: str = "S1", code: str = CODE, status: str = "") -> str:  # fmt: skip
    orc = f"ORC|{control}|{placer}|{filler}||{status}||^^^20260705103000^^R"
    return f"{orc}\rOBR|1|{placer}|{filler}|{code}^{code}||||||||||||||{accession}|{rp}|{sps}||||CT"


def steps() -> list[tuple[str, str, str]]:
    """(requested procedure id, step id, status) of all."""
    rows = ScheduledProcedureStep.objects.order_by("pk")
    return list(rows.values_list("procedure__requested_procedure_id", "sps_id", "status"))


def on_worklist() -> int:
    *pending, _ = ask(keys())
    return len(pending)


def test_two_orders_of_one_request_stay_two_though_they_share_its_placer_number() -> None:
    tell(said(group()), said(group(filler="F2", accession="A2", rp="RP2", sps="S2"), control_id="2"))
    assert sorted(ImagingServiceRequest.objects.values_list("accession_number", flat=True)) == ["A1", "A2"]
    assert on_worklist() == 2
    tell(said("ORC|CA|PL1", control_id="3"))
    assert last().error.startswith("ORC-2: several orders")
    assert on_worklist() == 2


def test_numbers_that_lead_to_two_orders_are_a_case() -> None:
    tell(orm(number="1"), orm(control_id="2", number="2"), orm("XO", "3").replace("PL1", "PL2"))
    assert last().error.startswith("ORC-2: placer and filler")
    assert set(ImagingServiceRequest.objects.values_list("placer_order_number", flat=True)) == {"PL1", "PL2"}


def test_a_placers_order_gets_its_fillers_numbers_and_no_second_step() -> None:
    """RAD-2, then RAD-4: the placer numbers the order only."""
    tell(said(group(filler="", accession="", rp="", sps="")))
    uid = RequestedProcedure.objects.get().study_instance_uid
    assert steps() == [("PL1", "PL1", StepStatus.SCHEDULED)]
    tell(said(group(), control_id="2"))
    assert steps() == [("RP1", "S1", StepStatus.SCHEDULED)]
    assert RequestedProcedure.objects.get().study_instance_uid == uid
    assert (ImagingServiceRequest.objects.get().filler_order_number, on_worklist()) == ("F1", 1)


def test_a_change_that_names_no_procedure_changes_the_only_one() -> None:
    tell(said(group()), said(group("XO", rp="", sps="", code=CHEST), control_id="2"))
    assert steps() == [("RP1", "S1", StepStatus.SCHEDULED)]
    assert RequestedProcedure.objects.get().code_value == "CTCHEST"


def test_a_second_procedure_under_another_id_is_another_one() -> None:
    tell(said(group()), said(group("XO", rp="RP2", sps="S2"), control_id="2"))
    assert [each[0] for each in steps()] == ["RP1", "RP2"]


@pytest.mark.parametrize("rp", ["", "RP"])
def test_each_obr_under_one_orc_is_a_procedure(rp: str) -> None:
    first, second = (group(code=code, rp=rp and rp + number, sps="") for code, number in ((CODE, "1"), (CHEST, "2")))
    tell(said(first, second.partition("\r")[2]))
    assert sorted(RequestedProcedure.objects.values_list("code_value", flat=True)) == ["CTCHEST", "CTHEAD"]
    assert (ImagingServiceRequest.objects.count(), on_worklist()) == (1, 2)
    tell(said(first, second.partition("\r")[2], control_id="2"))
    assert len(steps()) == 2


def test_two_accession_numbers_under_one_order_number_are_a_case_and_nothing_is_placed() -> None:
    tell(said(group(), group(accession="A2", rp="RP2", sps="S2")))
    assert last().error.startswith("OBR-18")
    assert not Patient.objects.exists()


def test_two_steps_of_one_procedure_share_the_study_uid_that_the_message_ends_with() -> None:
    tell(said(group(), group(sps="S2"), "ZDS|1.2.3.4^^RIS^DICOM"))
    assert [each[1] for each in steps()] == ["S1", "S2"]
    assert RequestedProcedure.objects.get().study_instance_uid == "1.2.3.4"


def test_a_study_uid_that_is_none_is_a_case() -> None:
    tell(said(group(), "ZDS|see order"))
    assert last().error.startswith("ZDS-1")


def test_one_bad_group_leaves_nothing_of_its_message() -> None:
    tell(said(group(), group("CA", placer="PL9", filler="F9")))
    assert last().status == InboundStatus.QUARANTINED
    assert not ImagingServiceRequest.objects.exists()
    assert not Patient.objects.exists()


def test_a_cancellation_of_one_procedure_leaves_the_others_of_the_order() -> None:
    tell(said(group(), group(rp="RP2", sps="S2")), said(group("CA", rp="RP2", sps="S2"), control_id="2"))
    assert [each[2] for each in steps()] == [StepStatus.SCHEDULED, StepStatus.CANCELED]
    assert ImagingServiceRequest.objects.get().status == OrderStatus.SCHEDULED
    tell(said(group("CA"), control_id="3"))
    assert ImagingServiceRequest.objects.get().status == OrderStatus.CANCELED


def test_a_cancellation_of_a_procedure_that_the_order_has_not_is_a_case() -> None:
    tell(said(group(), group(rp="RP2", sps="S2")), said(group("CA", rp="RP3", sps=""), control_id="2"))
    assert last().error.startswith("OBR-19")


def test_what_is_canceled_comes_back_by_a_new_order_and_is_changed_by_nothing_else() -> None:
    tell(orm(at="20260705080000"), orm("CA", "2", at="20260705090000"), orm("XO", "3", at="20260705091000"))
    assert (last().status, on_worklist()) == (InboundStatus.QUARANTINED, 0)
    dismiss(last(), reason="told the sender")
    tell(orm("NW", "4", at="20260705083000"))
    assert on_worklist() == 0, "older than the cancellation"
    tell(orm("NW", "5", at="20260705100000"))
    assert (on_worklist(), ImagingServiceRequest.objects.get().status) == (1, OrderStatus.SCHEDULED)


def test_a_new_order_of_a_discontinued_exam_is_a_case_and_not_silence() -> None:
    tell(orm(), orm("DC", "2"), orm("NW", "3"))
    assert (last().status, last().error.split(":")[0], on_worklist()) == (InboundStatus.QUARANTINED, "ORC-1", 0)


@pytest.mark.parametrize(
    ("status", "expected"),
    [("CA", StepStatus.CANCELED), ("DC", StepStatus.DISCONTINUED), ("HD", StepStatus.ON_HOLD)],
)
def test_a_change_to_an_end_is_an_end(status: str, expected: str) -> None:
    tell(orm(), orm("XO", "2", status=status))
    assert (steps()[0][2], on_worklist()) == (expected, 0)


@pytest.mark.parametrize("status", ["CM", "CA", "DC", "A"])
def test_a_new_order_that_is_over_is_refused(status: str) -> None:
    assert field(take(orm(status=status))[0], "ERR", 2) == "ORC^1^1"


def test_a_change_after_the_start_is_kept_and_the_step_stays_started() -> None:
    tell(orm())
    uid = RequestedProcedure.objects.get().study_instance_uid
    advance_step(step=ScheduledProcedureStep.objects.get(), event="step.started")
    tell(orm("XO", "2").replace("CTHEAD", "CTNECK"))
    assert steps() == [("RP1", "S1", StepStatus.STARTED)]
    assert (RequestedProcedure.objects.get().code_value, on_worklist()) == ("CTNECK", 0)
    assert RequestedProcedure.objects.get().study_instance_uid == uid


@pytest.mark.parametrize(("number", "where"), [("PL1", "ORC-2"), ("F1", "ORC-3")])
def test_an_order_number_that_is_too_long_is_a_case_and_not_cut(number: str, where: str) -> None:
    tell(orm().replace(f"|{number}|", f"|{'9' * 65}|"))
    assert last().error.startswith(where)


def test_a_released_order_is_on_the_worklist_again() -> None:
    tell(orm(), orm("HD", "2"), orm("RL", "3"))
    assert on_worklist() == 1


def test_a_patient_who_moves_within_a_visit_is_there_in_the_next_worklist_answer() -> None:
    pv1 = "PV1|1|I|WARD^1^A||||||||||||||||VP1\r"
    tell(orm().replace("ORC|", f"{pv1}ORC|", 1), adt("A08", "2").replace("WARD^1^A", "ICU^9^B"))
    assert b"ICU 9 B" in bytes(WorklistEntry.objects.get().answer)
