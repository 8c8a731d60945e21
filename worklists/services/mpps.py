"""Modality performed procedure steps: what a modality says it does, linked to what was scheduled (PS3.4 annex F).

All of it happens in one transaction before the answer: the standard wants the status of the whole operation.
"""

import hashlib
import json
import re
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from orchestrator.models import ScheduledProcedureStep
from orchestrator.services import studies
from orchestrator.services.orders import advance_step
from orchestrator.services.workflow import record, transition
from orchestrator.states import MACHINES, MppsStatus, StepStatus
from worklists.datasets.performed import (
    NOT_TO_BE_SET,
    REQUIRED_AT_CREATION,
    SCHEDULED_STEP_ATTRIBUTES,
    STATUS,
    STUDY_INSTANCE_UID,
    Json,
    SaidPatient,
    discontinuation_reason,
    items_of,
    performed_series,
    said_patient,
    step_references,
    text_of,
)
from worklists.models import ModalityPerformedProcedureStep
from worklists.services.linking import Doubts, is_patient_of, link, locked_steps, raise_doubts

INCORRECT_WORKLIST_ENTRY_SELECTED = "110514"  # DCM, CID 9301
_UID = re.compile(r"[0-9.]{1,64}")
_FINAL_EVENTS = {MppsStatus.COMPLETED: "mpps.completed", MppsStatus.DISCONTINUED: "mpps.discontinued"}


class Refused(Exception):
    """The operation is not done. Its sentence goes back as Error Comment: no patient data."""


class MissingAttribute(Refused):
    pass


class MissingValue(Refused):
    pass


class InvalidValue(Refused):
    pass


class DuplicateInstance(Refused):
    pass


class NoSuchInstance(Refused):
    pass


class InvalidInstance(Refused):
    pass


class NoLongerUpdatable(Refused):
    pass


class Repeated(NoLongerUpdatable):
    """The end again, as it was told before: refused as the standard wants, and nobody need look."""


@dataclass(frozen=True, slots=True)
class Sender:
    ae_title: str
    site_id: int


@transaction.atomic
def create(*, sop_instance_uid: str, performed: Json, sender: Sender) -> ModalityPerformedProcedureStep:
    """N-CREATE: keep the step, link it and start what it performs. The same message again changes nothing.

    Raises InvalidInstance, MissingAttribute, MissingValue, InvalidValue, DuplicateInstance.
    """
    if not sop_instance_uid:
        raise MissingAttribute("Affected SOP Instance UID is missing")
    if not _UID.fullmatch(sop_instance_uid):
        raise InvalidInstance("Affected SOP Instance UID is not a UID")
    _check_creation(performed)
    digest = hashlib.sha256(json.dumps(performed, sort_keys=True).encode()).hexdigest()
    references = step_references(performed)
    mpps, is_new = ModalityPerformedProcedureStep.objects.get_or_create(
        sop_instance_uid=sop_instance_uid,
        defaults={
            "site_id": sender.site_id,
            "ae_title": sender.ae_title,
            "created_digest": digest,
            "dataset": performed,
            "study_instance_uid": references[0].study_instance_uid,
            "modality": text_of(performed, REQUIRED_AT_CREATION["Modality"])[:16],
            "performed_procedure_step_id": text_of(performed, REQUIRED_AT_CREATION["PerformedProcedureStepID"])[:64],
            "performed_series": _series_rows(performed),
        },
    )
    if not is_new:
        if mpps.created_digest != digest:
            raise DuplicateInstance("The SOP Instance UID is in use")
        return mpps
    doubts = link(mpps)
    steps = locked_steps(mpps)
    if steps:
        mpps.order = steps[0].procedure.order
        mpps.patient = mpps.order.patient
        mpps.save(update_fields=["order", "patient"])
    record("mpps.created", mpps, to_state=mpps.status, detail={"steps": [step.pk for step in steps]})
    doubts |= {_advance(step, "step.started", StepStatus.STARTED): step for step in steps}
    raise_doubts(mpps, doubts, said_patient(performed))
    return mpps


@transaction.atomic
def update(*, sop_instance_uid: str, performed: Json, sender: Sender) -> ModalityPerformedProcedureStep:
    """N-SET: replace the attributes that were sent and, at the end, settle the steps.

    Raises NoSuchInstance, NoLongerUpdatable, InvalidValue.
    """
    mpps = (
        ModalityPerformedProcedureStep.objects.select_for_update(of=("self",), no_key=True)
        .filter(sop_instance_uid=sop_instance_uid, site=sender.site_id)
        .first()
    )
    if mpps is None:
        raise NoSuchInstance("No such performed procedure step")
    if mpps.status != MppsStatus.IN_PROGRESS:
        said_before = all(mpps.dataset.get(tag) == performed[tag] for tag in performed.keys() - NOT_TO_BE_SET)
        refusal = Repeated if said_before else NoLongerUpdatable
        raise refusal("Performed Procedure Step Object may no longer be updated")
    status = text_of(performed, STATUS) or mpps.status
    if status not in MppsStatus.values:
        raise InvalidValue("Performed Procedure Step Status is not a defined one")
    mpps.dataset = {**mpps.dataset, **{tag: performed[tag] for tag in performed.keys() - NOT_TO_BE_SET}}
    mpps.performed_series = _series_rows(mpps.dataset)
    if status == MppsStatus.IN_PROGRESS:
        mpps.save(update_fields=["dataset", "performed_series", "updated_at"])
        record("mpps.updated", mpps)
        return mpps
    _finish(mpps, MppsStatus(status), said_patient(performed))
    return mpps


def _check_creation(performed: Json) -> None:
    for keyword, tag in REQUIRED_AT_CREATION.items():
        if tag not in performed:
            raise MissingAttribute(f"{keyword} is missing")
        if not performed[tag].get("Value"):
            raise MissingValue(f"{keyword} is empty")
    for item in items_of(performed, SCHEDULED_STEP_ATTRIBUTES):
        if STUDY_INSTANCE_UID not in item:
            raise MissingAttribute("StudyInstanceUID is missing")
        if not text_of(item, STUDY_INSTANCE_UID):
            raise MissingValue("StudyInstanceUID is empty")
        if not _UID.fullmatch(text_of(item, STUDY_INSTANCE_UID)):
            raise InvalidValue("StudyInstanceUID is not a UID")
    if text_of(performed, STATUS) != MppsStatus.IN_PROGRESS:
        raise InvalidValue("PerformedProcedureStepStatus is not IN PROGRESS")


def _series_rows(performed: Json) -> list[dict[str, str | int]]:
    return [
        {
            "series_instance_uid": series.series_instance_uid,
            "protocol_name": series.protocol_name,
            "number_of_instances": len(series.instances),
        }
        for series in performed_series(performed)
    ]


def _finish(mpps: ModalityPerformedProcedureStep, status: MppsStatus, said: SaidPatient) -> None:
    studies.lock(study_instance_uid=mpps.study_instance_uid)
    reason = discontinuation_reason(mpps.dataset)
    transition(
        mpps,
        _FINAL_EVENTS[status],
        dataset=mpps.dataset,
        performed_series=mpps.performed_series,
        discontinuation_reason=reason,
        ended_at=timezone.now(),
        detail={"reason": reason} if reason else None,
    )
    series = performed_series(mpps.dataset)
    if status == MppsStatus.COMPLETED and not series:
        # Against the standard, and common: taken, and said on the timeline.
        record("mpps.without_series", mpps)
    if reason == INCORRECT_WORKLIST_ENTRY_SELECTED:
        _undo_wrong_entry(mpps)
    else:
        steps = locked_steps(mpps)
        doubts: Doubts = {_settle(step) if is_patient_of(step, said) else "patient_differs": step for step in steps}
        raise_doubts(mpps, doubts, said)
    items = [
        (mpps.study_instance_uid, each.series_instance_uid, sop_class_uid, sop_instance_uid)
        for each in series
        for sop_class_uid, sop_instance_uid in each.instances
        # What is no UID can never arrive.
        if all(map(_UID.fullmatch, (each.series_instance_uid, sop_class_uid, sop_instance_uid)))
    ]
    if items:
        studies.expect_instances(mpps_uid=mpps.sop_instance_uid, items=items)


def _settle(step: ScheduledProcedureStep) -> str:
    """One step may have several performed steps (append): it is done when none goes on and one was completed."""
    statuses = set(step.performed_steps.values_list("status", flat=True))
    if MppsStatus.IN_PROGRESS in statuses:
        return ""
    if MppsStatus.COMPLETED in statuses:
        return _advance(step, "step.completed", StepStatus.COMPLETED)
    return _advance(step, "step.discontinued", StepStatus.DISCONTINUED)


def _advance(step: ScheduledProcedureStep, event: str, target: str) -> str:
    """Move the step, unless it is there already; answers a doubt when it cannot go there (e.g. canceled)."""
    if step.status == target:
        return ""
    if (step.status, event) not in MACHINES["step"].transitions:
        return "step_not_open"
    advance_step(step=step, event=event, reason="MPPS")
    return ""


def _undo_wrong_entry(mpps: ModalityPerformedProcedureStep) -> None:
    """The technologist picked another patient's entry: its step waits again, and no machine believes the images."""
    steps = locked_steps(mpps)
    mpps.steps.clear()
    for step in steps:
        if step.performed_steps.exists():
            # Others perform it too: as they left it.
            _settle(step)
        elif (step.status, "step.returned") in MACHINES["step"].transitions:
            advance_step(step=step, event="step.returned", reason="Wrong worklist entry selected")
    record("mpps.wrong_worklist_entry", mpps, detail={"steps": [step.pk for step in steps]})
    if mpps.study_instance_uid:
        studies.disown(study_instance_uid=mpps.study_instance_uid, mpps_uid=mpps.sop_instance_uid)
