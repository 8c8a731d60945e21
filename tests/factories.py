"""Rows for tests, by small functions: each makes what it is named after, with what that needs and no more.

Everything that agrees with everything else by default: a study of `make_study(order=make_order())` matches that order
on every field, and a test changes the one thing that it is about.
"""

import datetime as dt
import hashlib
import itertools
from typing import Any

from django.utils import timezone

from orchestrator.models import (
    ApplicationEntity,
    ClaimWord,
    Device,
    IdentityClaim,
    ImagingServiceRequest,
    Instance,
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
    User,
    fold_name,
    words_to_keep,
)
from orchestrator.services.patients import keep_words
from orchestrator.states import Custody

DAY, TIME = dt.date(2026, 7, 5), dt.time(10, 30)
NAME, BORN, SEX = "Doe^Jane", dt.date(1970, 2, 28), "F"
CT_IMAGE_STORAGE, EXPLICIT_VR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"
_numbers = itertools.count(1)


def make_site(code: str = "MAIN", *, issuer: str = "MAIN") -> Site:
    """The site with that code; `issuer` (empty: none) names its default issuer."""
    site, _ = Site.objects.get_or_create(code=code, defaults={"name": code.title()})
    default = Issuer.objects.get_or_create(namespace=issuer)[0] if issuer else None
    if site.default_issuer != default:
        site.default_issuer = default
        site.save(update_fields=["default_issuer"])
    return site


def make_user(role: Role | None = Role.PACS_ADMINISTRATOR, *, site: Site | None = None, name: str = "") -> User:
    """A person with a role, at one site or (None) at all."""
    user = User.objects.create_user(name or f"user{next(_numbers)}")
    if role:
        RoleAssignment.objects.create(user=user, role=role, site=site)
    return user


def make_ae(
    title: str = "CT_NORTH", *, site: Site | None = None, kind: Device.Kind = Device.Kind.MODALITY, **columns: Any
) -> ApplicationEntity:
    """An AE on a device of its own."""
    device = Device.objects.create(name=f"device of {title}", site=site or make_site(), kind=kind)
    return ApplicationEntity.objects.create(ae_title=title, device=device, **columns)


def make_patient(value: str = "", *, issuer: str = "MAIN", site: Site | None = None, **columns: Any) -> Patient:
    """A patient with one identifier."""
    columns = {"name": NAME, "birth_date": BORN, "sex": SEX, **columns}
    patient = Patient.objects.create(**{"folded_name": fold_name(columns["name"]), **columns})
    keep_words(patient)
    patient.sites.add(site or make_site())
    PatientIdentifier.objects.create(
        patient=patient,
        value=value or f"P{next(_numbers)}",
        issuer=Issuer.objects.get_or_create(namespace=issuer)[0],
        primary=True,
    )
    return patient


def make_order(
    *, patient: Patient | None = None, site: Site | None = None, step: dict[str, Any] | None = None, **columns: Any
) -> ImagingServiceRequest:
    """An order with one requested procedure and one scheduled step (whose columns are in `step`)."""
    number = next(_numbers)
    site = site or make_site()
    order = ImagingServiceRequest.objects.create(
        site=site,
        patient=patient or make_patient(site=site),
        **{"accession_number": f"A{number}", "placer_order_number": f"PL{number}", **columns},
    )
    make_step(order, **(step or {}))
    return order


def make_step(order: ImagingServiceRequest, **columns: Any) -> ScheduledProcedureStep:
    """One more requested procedure of an order, with one step."""
    number = next(_numbers)
    procedure = RequestedProcedure.objects.create(
        order=order,
        requested_procedure_id=f"RP{number}",
        study_instance_uid=f"2.25.{1000 + number}",
        description="CT head",
    )
    defaults = {
        "sps_id": f"S{number}", "modality": "CT", "station_ae_titles": ["CT_NORTH"], "start_date": DAY,
        "start_time": TIME,
    }  # fmt: skip
    return ScheduledProcedureStep.objects.create(procedure=procedure, site=order.site, **{**defaults, **columns})


def step_of(order: ImagingServiceRequest) -> ScheduledProcedureStep:
    """The first step of an order."""
    return ScheduledProcedureStep.objects.filter(procedure__order=order).select_related("procedure").earliest("pk")


def claimed(order: ImagingServiceRequest) -> dict[str, Any]:
    """What the images of a modality say that used the worklist entry of the order's first step."""
    step = step_of(order)
    identifier = order.patient.identifiers.earliest("pk")
    born = order.patient.birth_date
    return {
        "patient_id": identifier.value,
        "issuer": "",
        "patient_name": order.patient.name,
        "birth_date": f"{born:%Y%m%d}" if born else "",
        "sex": order.patient.sex,
        "accession_number": order.accession_number,
        "requested_procedure_id": step.procedure.requested_procedure_id,
        "sps_id": step.sps_id,
        "modality": step.modality,
        "calling_ae_title": step.station_ae_titles[0] if step.station_ae_titles else "",
        "study_date": f"{DAY:%Y%m%d}",
        "study_time": f"{TIME:%H%M%S}",
        "study_description": step.procedure.description,
    }


def make_study(
    order: ImagingServiceRequest | None = None, *, uid: str = "", site: Site | None = None, instances: int = 1,
    **claim: Any,
) -> Study:  # fmt: skip
    """A received study with one claim: what the images of `order` would say, but for the columns in `claim`."""
    now = timezone.now()
    if not uid:
        uid = step_of(order).procedure.study_instance_uid if order else f"2.25.{9000 + next(_numbers)}"
    study = Study.objects.create(
        study_instance_uid=uid,
        site=site or (order.site if order else make_site()),
        custody=Custody.RECEIVED,
        first_received_at=now,
        last_received_at=now,
    )
    make_claim(study, instances=instances, **{**(claimed(order) if order else {}), **claim})
    return study


def make_claim(study: Study, *, instances: int = 1, **columns: Any) -> IdentityClaim:
    """One more claim in a study, with its instances (rows only: no files)."""
    number = next(_numbers)
    series = Series.objects.create(study=study, series_instance_uid=f"2.25.7{number}", modality="CT")
    key = hashlib.sha256(f"claim {number}".encode()).hexdigest()
    claim = IdentityClaim.objects.create(study=study, key=key, number_of_instances=instances, **columns)
    ClaimWord.objects.bulk_create(ClaimWord(claim=claim, word=word) for word in words_to_keep(claim.patient_name))
    for index in range(instances):
        uid = f"2.25.8{number}{index}"
        Instance.objects.create(
            study=study, series=series, claim=claim, sop_instance_uid=uid, sop_class_uid=CT_IMAGE_STORAGE,
            transfer_syntax_uid=EXPLICIT_VR, spool_key=f"test/{uid}", size=1000,
            digest=hashlib.sha256(uid.encode()).hexdigest(), purpose=claim.purpose,
            calling_ae_title=claim.calling_ae_title, received_at=timezone.now(),
        )  # fmt: skip
    Study.objects.filter(pk=study.pk).update(number_of_instances=study.instances.count())
    study.refresh_from_db()
    return claim
