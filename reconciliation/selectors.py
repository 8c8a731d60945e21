"""Which orders a claim could belong to."""

import datetime as dt
from collections.abc import Iterable

from django.db.models import Case, Prefetch, Q, QuerySet, When

from orchestrator.models import (
    IdentityClaim,
    ImagingServiceRequest,
    Issuer,
    PatientIdentifier,
    ScheduledProcedureStep,
    fold_name,
)
from orchestrator.permissions import Viewer, visible_to
from orchestrator.selectors import claimed_issuer
from orchestrator.states import ACQUISITIONS, STEP_ON_WORKLIST, Identity, Purpose, StepStatus
from reconciliation.matching import Candidate, Claim, Identifier, Scored, score

# Of each way to resemble a claim.
_MOST = 25


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
        # An archive sends what others have made: its AE title names no station.
        station=claim.calling_ae_title if claim.purpose == Purpose.ACQUIRED else "",
        study_date=claim.study_date,
    )


def steps_named(claim: IdentityClaim) -> set[int]:
    """The keys of all steps that the claim names: by study UID, by accession number, by step and patient.

    None may be cut off: of two that fit, the one would be matched without anybody having chosen.
    """
    wanted = []
    if claim.study.study_instance_uid:
        wanted.append(Q(procedure__study_instance_uid=claim.study.study_instance_uid))
    if claim.accession_number:
        wanted.append(Q(procedure__order__accession_number=claim.accession_number))
    if claim.sps_id and claim.requested_procedure_id and claim.patient_id:
        patients = PatientIdentifier.objects.filter(value=claim.patient_id).values("patient")
        named = Q(sps_id=claim.sps_id, procedure__requested_procedure_id=claim.requested_procedure_id)
        wanted.append(named & Q(procedure__order__patient__in=patients))
    # One query each: an OR over several tables would read them whole.
    return {key for each in wanted for key in ScheduledProcedureStep.objects.filter(each).values_list("pk", flat=True)}


def _steps_near(claim: IdentityClaim) -> set[int]:
    """The keys of the nearest steps that resemble the claim, for a person to choose from."""
    day, born = day_of(claim.study_date), day_of(claim.birth_date)
    steps = ScheduledProcedureStep.objects.values_list("pk", flat=True)
    # Those of the day first, then the latest.
    by_day = steps.order_by(Case(When(start_date=day, then=0), default=1), "-start_date", "-pk")
    found: list[QuerySet[ScheduledProcedureStep, int]] = []
    if claim.patient_id:
        patients = PatientIdentifier.objects.filter(value__in=_spellings(claim.patient_id)).values("patient")
        found.append(by_day.filter(procedure__order__patient__in=patients))
    if name := fold_name(claim.patient_name):
        found.append(by_day.filter(procedure__order__patient__folded_name=name))
    if day and born:
        found.append(steps.filter(start_date=day, procedure__order__patient__birth_date=born))
    if day and claim.modality:
        of_day = steps.filter(start_date=day, modality=claim.modality)
        at = _time_of(claim.study_time)
        found.append(of_day.filter(start_time__lte=at).order_by("-start_time", "-pk"))
        found.append(of_day.filter(start_time__gt=at).order_by("start_time", "pk"))
    return {key for each in found for key in each[:_MOST]}


def _spellings(patient_id: str) -> list[str]:
    """A patient id with and without leading zeros."""
    bare = patient_id.lstrip("0") or patient_id
    return [patient_id, *(bare.rjust(width, "0") for width in range(len(bare), 17))]


def steps_for(claim: IdentityClaim) -> list[ScheduledProcedureStep]:
    """The steps that a claim is compared with: all that it names, and the nearest of those that resemble it."""
    keys = steps_named(claim) | _steps_near(claim)
    return list(_comparable(ScheduledProcedureStep.objects.filter(pk__in=keys)))


def studies_waiting_for(order: ImagingServiceRequest) -> set[int]:
    """Studies with held claims that the order may settle (all), or be a candidate for (the latest)."""
    held = IdentityClaim.objects.filter(identity=Identity.HELD, purpose__in=ACQUISITIONS).order_by("-pk")
    studies = held.values_list("study_id", flat=True)
    uids = order.requested_procedures.values("study_instance_uid")
    named = [
        studies.filter(study__study_instance_uid__in=uids),
        studies.filter(patient_id__in=order.patient.identifiers.values("value")),
    ]
    if order.accession_number:
        named.append(studies.filter(accession_number=order.accession_number))
    days = ScheduledProcedureStep.objects.filter(procedure__order=order).values_list("start_date", flat=True)
    if born := order.patient.birth_date:
        near = studies.filter(birth_date=f"{born:%Y%m%d}", study_date__in=[f"{day:%Y%m%d}" for day in days if day])
        named.append(near[:_MOST])
    return {study for each in named for study in each}


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


def matched_step(claim: IdentityClaim) -> Scored | None:
    """How well a matched claim and its step agree by now."""
    step = _comparable(ScheduledProcedureStep.objects.filter(claims=claim)).first()
    return score(claim_of(claim), candidate_of(step, for_study=claim.study_id)) if step else None


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


def _time_of(text: str) -> dt.time:
    """A DICOM time (TM) to the second; noon when there is none."""
    try:
        return dt.datetime.strptime(text[:6].ljust(6, "0"), "%H%M%S").time()  # noqa: DTZ007  TM has no zone
    except ValueError:
        return dt.time(12)


def candidate_of(step: ScheduledProcedureStep, *, for_study: int) -> Candidate:
    """A step as `matching` takes it."""
    procedure, order = step.procedure, step.procedure.order
    patient = order.patient
    taken = any(each.identity == Identity.MATCHED and each.study_id != for_study for each in step.claims.all())
    return Candidate(
        key=step.pk,
        procedure=procedure.pk,
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
