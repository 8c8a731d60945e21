"""Which orders a claim could belong to."""

import datetime as dt
from collections.abc import Iterable

from django.db.models import Prefetch, Q, QuerySet

from orchestrator.models import (
    IdentityClaim,
    ImagingServiceRequest,
    Issuer,
    PatientIdentifier,
    ScheduledProcedureStep,
)
from orchestrator.permissions import Viewer, visible_to
from orchestrator.selectors import claimed_issuer
from orchestrator.services.patients import fold_name
from orchestrator.states import STEP_ON_WORKLIST, Identity, StepStatus
from reconciliation.matching import Candidate, Claim, Identifier, Scored, score

_MOST = 50


def issuer_key(issuer: Issuer | None) -> str:
    """One text for an issuer, by whatever name it goes."""
    return str(issuer.pk) if issuer else ""


def claim_of(claim: IdentityClaim) -> Claim:
    """The claim as `matching` takes it. An id without issuer is the sender's default issuer's, else nobody's."""
    issuer = claimed_issuer(
        namespace=claim.issuer,
        universal_id=claim.issuer_universal_id,
        calling_ae_title=claim.calling_ae_title,
        site=claim.study.site,
    )
    return Claim(
        identifier=Identifier(issuer_key(issuer), claim.patient_id),
        patient_name=claim.patient_name,
        birth_date=claim.birth_date,
        sex=claim.sex,
        accession_number=claim.accession_number,
        study_instance_uid=claim.study.study_instance_uid,
        requested_procedure_id=claim.requested_procedure_id,
        sps_id=claim.sps_id,
        modality=claim.modality,
        station=claim.calling_ae_title,
        study_date=claim.study_date,
    )


def steps_for(claim: IdentityClaim) -> QuerySet[ScheduledProcedureStep]:
    """Steps that share anything telling with the claim: study UID, accession, patient id, name with birth date, day."""
    shared = Q(procedure__study_instance_uid=claim.study.study_instance_uid)
    if claim.accession_number:
        shared |= Q(procedure__order__accession_number=claim.accession_number)
    if claim.patient_id:
        stripped = claim.patient_id.lstrip("0") or claim.patient_id
        ids = PatientIdentifier.objects.filter(Q(value=claim.patient_id) | Q(value__endswith=stripped))
        shared |= Q(procedure__order__patient__in=ids.values("patient"))
    if claim.patient_name:
        shared |= Q(procedure__order__patient__folded_name=fold_name(claim.patient_name))
    if day := day_of(claim.study_date):
        shared |= Q(start_date=day, modality=claim.modality)
    return _comparable(ScheduledProcedureStep.objects.filter(shared)).distinct().order_by("-pk")[:_MOST]


def _comparable(steps: QuerySet[ScheduledProcedureStep]) -> QuerySet[ScheduledProcedureStep]:
    """With what `candidate_of` reads."""
    return steps.select_related("procedure__order__patient", "procedure__order__visit").prefetch_related(
        "procedure__order__patient__identifiers", "claims"
    )


def best_step(claim: IdentityClaim, order: ImagingServiceRequest) -> tuple[ScheduledProcedureStep, Scored] | None:
    """The step of an order that the claim fits best, of equal ones one that still waits; None when it has no step."""
    said = claim_of(claim)
    steps = _comparable(ScheduledProcedureStep.objects.filter(procedure__order=order))
    scored = [(step, score(said, candidate_of(step, for_study=claim.study_id))) for step in steps]
    return min(
        scored,
        key=lambda each: (-each[1].score, each[0].status not in STEP_ON_WORKLIST, each[0].pk),
        default=None,
    )


def candidate_orders(viewer: Viewer, keys: Iterable[int]) -> dict[int, ImagingServiceRequest]:
    """The orders of these that the viewer may see, with what a candidate shows of them."""
    identifiers = PatientIdentifier.objects.select_related("issuer").order_by("-primary", "pk")
    return (
        visible_to(ImagingServiceRequest.objects.all(), viewer, "exceptions.view")
        .select_related("patient")
        .prefetch_related("requested_procedures__steps", Prefetch("patient__identifiers", identifiers))
        .in_bulk(list(keys))
    )


def day_of(text: str) -> dt.date | None:
    try:
        return dt.datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007  DA has no zone
    except ValueError:
        return None


def candidate_of(step: ScheduledProcedureStep, *, for_study: int) -> Candidate:
    """A step as `matching` takes it."""
    procedure, order = step.procedure, step.procedure.order
    patient = order.patient
    taken = any(each.identity == Identity.MATCHED and each.study_id != for_study for each in step.claims.all())
    return Candidate(
        key=step.pk,
        identifiers=frozenset(Identifier(str(each.issuer_id), each.value) for each in patient.identifiers.all()),
        patient_name=patient.name,
        birth_date=f"{patient.birth_date:%Y%m%d}" if patient.birth_date else "",
        sex=patient.sex,
        accession_number=order.accession_number,
        study_instance_uid=procedure.study_instance_uid,
        requested_procedure_id=procedure.requested_procedure_id,
        sps_id=step.sps_id,
        modality=step.modality,
        stations=tuple(step.station_ae_titles),
        start_date=f"{step.start_date:%Y%m%d}" if step.start_date else "",
        satisfied=taken or step.status in (StepStatus.CANCELED, StepStatus.DISCONTINUED),
    )
