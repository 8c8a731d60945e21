"""What the simulated hospital's judge reads of Fiducial's own REST API is what it needs."""

import datetime as dt
from dataclasses import replace

import pytest

from orchestrator.models import ExceptionCase, InboundMessage
from orchestrator.services.exceptions import open_case
from orchestrator.simulator.faults import FAULTS
from orchestrator.simulator.judge import judge
from orchestrator.simulator.mllp_out import Answer
from orchestrator.simulator.planner import Planner
from orchestrator.simulator.reading import Reading
from orchestrator.simulator.truth import Merge, Sent, Verdict, number_of
from reconciliation.services.reconcile import reconcile_study
from tests.factories import make_order, make_site, make_study
from tests.orchestrator.simulator.test_introduction import Direct

pytestmark = pytest.mark.django_db


@pytest.fixture
def sent() -> Sent:
    """A study whose patient id lost its zeros, of an order that is here."""
    make_site()
    plain = Planner(seed=1, stamp="T").plain(1, dt.datetime.now().astimezone())
    exam = replace(plain, fault=FAULTS["lost_zeros"])
    filler, accession = number_of(exam.order)
    order = make_order(filler_order_number=filler, accession_number=accession)
    study = make_study(order, patient_id="typed")
    reconcile_study(study.pk)
    return Sent(exam, study.study_instance_uid, steps=[exam.order], own={"1.1"})


def test_a_held_study_is_read_with_its_claim_its_case_and_what_that_offers(sent: Sent) -> None:
    found = Reading(Direct(), None).look(sent)
    [claim], [case] = found.claims, found.cases
    assert (claim["identity"], case["claim"], case["reason_code"]) == ("HELD", claim["id"], "PATIENT_ID_CONFLICT")
    assert number_of(sent.exam.order) in found.offered[case["id"]]
    order = found.orders[number_of(sent.exam.order)]
    assert order["patient"]["name"]
    assert order["requested_procedures"][0]["steps"][0]["status"] == "SCHEDULED"
    assert judge(sent, found).verdict is Verdict.HELD


def test_a_case_about_a_performed_step_of_the_study_is_read_too(sent: Sent) -> None:
    site, references = make_site(), [{"study_instance_uid": sent.study_instance_uid}]
    open_case(
        "mpps_conflict", about=site, reason_code="unknown_step", summary="", site=site,
        detail={"references": references},
    )  # fmt: skip
    found = Reading(Direct(), None).look(sent)
    assert {each["kind"] for each in found.cases} == set(ExceptionCase.objects.values_list("kind", flat=True))
    assert judge(sent, found).reason.endswith("nothing explains it: mpps_conflict unknown_step")


def test_a_case_about_a_message_of_the_exam_is_read_too(sent: Sent) -> None:
    site, now = make_site(), dt.datetime.now(tz=dt.UTC)
    for control_id in ("RN1", "RN2"):
        message = InboundMessage.objects.create(
            site=site, raw=b"MSH|", digest=control_id, received_at=now, control_id=control_id, message_type="ORM^O01",
            status="QUARANTINED",
        )  # fmt: skip
        open_case("hl7_quarantine", about=message, reason_code="PID", summary="", site=site, message=message)
    told = replace(sent, messages={("RN1", "ORM^O01"), ("RN2", "ADT^A04")})
    [_, case] = Reading(Direct(), None).look(told).cases
    assert (case["kind"], case["message"]) == ("hl7_quarantine", InboundMessage.objects.get(control_id="RN1").pk)
    assert [each["kind"] for each in Reading(Direct(), None).look(sent).cases] == ["patient_conflict"]


@pytest.mark.parametrize(("minutes", "is_premature"), [(1, True), (-1, False)])
def test_that_a_study_was_matched_before_its_records_were_merged_is_read(*, minutes: int, is_premature: bool) -> None:
    site = make_site()
    plain = Planner(seed=1, stamp="T").plain(1, dt.datetime.now().astimezone())
    exam = replace(plain, fault=FAULTS["duplicate_registration"], subsumed=plain.person)
    study = make_study(make_order())
    reconcile_study(study.pk)
    applied = dt.datetime.now(tz=dt.UTC) + dt.timedelta(minutes=minutes)
    InboundMessage.objects.create(
        site=site, raw=b"MSH|", digest="d", received_at=applied, applied_at=applied, control_id="HN1",
        message_type="ADT^A40", status="APPLIED",
    )  # fmt: skip
    merge = Merge(plain.person, Answer("AA", "", "HN1"))
    found = Reading(Direct(), None).look(Sent(exam, study.study_instance_uid, merge=merge))
    assert found.claims[0]["identity"] == "MATCHED"
    assert found.is_premature is is_premature


def test_a_study_that_never_came_is_told_as_unknown(sent: Sent) -> None:
    assert Reading(Direct(), None).look(replace(sent, study_instance_uid="1.2.3")).study is None
