"""Which scheduled steps a performed one performs: of the same site and the same patient, or a person decides."""

from collections.abc import Mapping
from dataclasses import asdict

from orchestrator.models import ImagingServiceRequest, PatientIdentifier, ScheduledProcedureStep
from orchestrator.services.exceptions import open_case
from orchestrator.services.patients import surviving
from worklists.datasets.entry import primary_identifier
from worklists.datasets.performed import SaidPatient, StepReference, said_patient, step_references
from worklists.matching import name_groups
from worklists.models import ModalityPerformedProcedureStep
from worklists.selectors import steps_named

# Why a step that a modality names is not moved: reason code -> what a person reads, the most serious first.
DOUBTS: Mapping[str, str] = {
    "patient_differs": "A modality examines another patient than the one whose step it names: the step was left alone.",
    "order_differs": "A modality names a step of one order and the number of another: the step was left alone.",
    "other_site": "A modality names a step of another site: the step was left alone.",
    "unknown_step": "A modality performs a scheduled step that is not known here.",
    "step_not_open": "A modality reports work on a step that is canceled or may not be performed now.",
}

# Reason code -> the step in doubt, where there is one of this site.
Doubts = dict[str, ScheduledProcedureStep | None]


def is_patient_of(step: ScheduledProcedureStep, said: SaidPatient) -> bool:
    """Whether a modality means the patient of this step: by ID and issuer, by name where it gives no ID.

    Who says nothing of the patient contradicts nothing. IDs of records that were merged into the patient's count: a
    modality may have its data from before.
    """
    patient = step.procedure.order.patient
    if said.patient_id:
        known = PatientIdentifier.objects.filter(value=said.patient_id).select_related("issuer", "patient")
        return any(
            surviving(each.patient).pk == patient.pk
            and (not said.issuer or said.issuer == (each.issuer.namespace or said.issuer))
            for each in known
        )
    said_groups = set(name_groups(said.name))
    return not said_groups or bool(said_groups & set(name_groups(patient.name)))


def _is_of_the_order(step: ScheduledProcedureStep, reference: StepReference) -> bool:
    """Whether what is named beside the step is its order, as far as both say: else that order's exam would be lost."""
    numbers = {reference.accession_number, step.procedure.order.accession_number} - {""}
    return len(numbers) <= 1


def link(mpps: ModalityPerformedProcedureStep) -> Doubts:
    """Link a performed step to the scheduled ones that it names; answers the doubts about the others."""
    said, doubts = said_patient(mpps.dataset), Doubts()
    for reference in step_references(mpps.dataset):
        named = steps_named(**asdict(reference), site_id=mpps.site_id)
        here = [step for step in named if step.site_id == mpps.site_id]
        step = next((each for each in here if _is_of_the_order(each, reference) and is_patient_of(each, said)), None)
        if step is not None:
            mpps.steps.add(step)
        elif here:
            theirs = any(is_patient_of(each, said) for each in here)
            doubts["order_differs" if theirs else "patient_differs"] = here[0]
        elif named:
            # Nothing of the other site's patient is told here.
            doubts["other_site"] = None
        elif reference.is_scheduled:
            doubts["unknown_step"] = None
    return doubts


def locked_steps(mpps: ModalityPerformedProcedureStep) -> list[ScheduledProcedureStep]:
    """The linked steps as they are now, locked (their orders first, as HL7 does): two modalities may end at once."""
    orders = mpps.steps.order_by("procedure__order").values_list("procedure__order", flat=True)
    list(ImagingServiceRequest.objects.select_for_update(no_key=True).filter(pk__in=list(orders)).order_by("pk"))
    steps = mpps.steps.select_for_update(of=("self",), no_key=True).select_related("procedure__order__patient")
    return list(steps.order_by("pk"))


def raise_doubts(mpps: ModalityPerformedProcedureStep, doubts: Doubts, said: SaidPatient) -> None:
    """A person is asked, by the most serious of the doubts; `said`: the patient of the message that raised them."""
    reasons = [reason for reason in DOUBTS if reason in doubts]
    if not reasons:
        return
    step = doubts[reasons[0]]
    order = step.procedure.order if step else mpps.order
    open_case(
        "mpps_conflict",
        about=mpps,
        reason_code=reasons[0],
        summary=DOUBTS[reasons[0]],
        site=mpps.site,
        detail={
            "patient_at_the_modality": f"{said.name} {said.patient_id}".strip(),
            "patient_of_the_step": f"{order.patient.name} {_patient_id(order)}".strip() if order else "",
            "also": reasons[1:],
            "references": [asdict(each) for each in step_references(mpps.dataset)],
        },
        patient=mpps.patient,
        order=order,
        modality=mpps.modality,
        source=mpps.ae_title,
    )


def _patient_id(order: ImagingServiceRequest) -> str:
    primary = primary_identifier(order.patient)
    return primary.value if primary else ""
