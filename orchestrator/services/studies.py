"""Studies as they are received: registering instances, closing by quiet time, identity as the worst of the claims."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from orchestrator import datasets, storage
from orchestrator.datasets import Header
from orchestrator.models import (
    Actor,
    ActorKind,
    ApplicationEntity,
    Device,
    ExpectedInstance,
    Hop,
    IdentityClaim,
    Instance,
    Series,
    Site,
    Study,
    WrongEntry,
    acting,
)
from orchestrator.services.exceptions import open_case
from orchestrator.services.workflow import record, transition
from orchestrator.states import Custody, Identity, Purpose

# After the association's end a study waits only this long for another one.
AFTER_ASSOCIATION = timedelta(seconds=3)


@dataclass(frozen=True)
class Received:
    """A durable object that has no rows yet."""

    spool_key: str
    calling_ae_title: str
    address: str | None
    received_at: datetime


@dataclass(frozen=True)
class _Object:
    """A received object with what was read of it."""

    received: Received
    header: Header
    digest: str
    size: int


def register(batch: Sequence[Received]) -> None:
    """Write the rows of a batch in one transaction, then take its files out of the inbox. May be repeated."""
    entities = {each.ae_title: each for each in ApplicationEntity.objects.select_related("device__site")}
    objects = [_read(received, entities.get(received.calling_ae_title)) for received in batch]
    dropped: list[str] = []
    with transaction.atomic():
        for each in objects:
            entity = entities.get(each.received.calling_ae_title)
            actor = Actor(ActorKind.AE, each.received.calling_ae_title)
            with acting(actor):
                if not _register_one(each, entity):
                    dropped.append(each.received.spool_key)
    for received in batch:
        if received.spool_key in dropped:
            storage.discard(received.spool_key)
        else:
            storage.settle(received.spool_key)


def _read(received: Received, entity: ApplicationEntity | None) -> _Object:
    path = storage.path_of(received.spool_key)
    charset = entity.default_character_set if entity else ""
    header = datasets.read_header(path, default_character_set=charset)
    return _Object(received, header, datasets.digest_of(path), path.stat().st_size)


def _register_one(each: _Object, entity: ApplicationEntity | None) -> bool:
    """Rows for one object; False when it is here already with the same bytes."""
    header, received = each.header, each.received
    if Instance.objects.filter(spool_key=received.spool_key).exists():
        return True
    if Instance.objects.filter(sop_instance_uid=header.sop_instance_uid, digest=each.digest).exists():
        return False
    study = _study(header, received, entity)
    series = _series(study, header)
    purpose = _purpose(study, entity)
    claim = _claim(study, header, received, purpose)
    first = Instance.objects.filter(sop_instance_uid=header.sop_instance_uid, differs_from=None).first()
    instance = Instance.objects.create(
        study=study,
        series=series,
        claim=claim,
        sop_instance_uid=header.sop_instance_uid,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        instance_number=header.instance_number[:12],
        number_of_frames=header.number_of_frames,
        spool_key=received.spool_key,
        size=each.size,
        digest=each.digest,
        purpose=purpose,
        calling_ae_title=received.calling_ae_title,
        address=received.address,
        received_at=received.received_at,
        differs_from=first,
    )
    if first is not None:
        _raise_difference(study, claim, instance)
        return True
    IdentityClaim.objects.filter(pk=claim.pk).update(number_of_instances=F("number_of_instances") + 1)
    Series.objects.filter(pk=series.pk).update(number_of_instances=F("number_of_instances") + 1)
    _grow(study, header, received)
    return True


def _study(header: Header, received: Received, entity: ApplicationEntity | None) -> Study:
    study, _ = Study.objects.get_or_create(
        study_instance_uid=header.study_instance_uid,
        defaults={
            "site": entity.device.site if entity else Site.objects.earliest("pk"),
            "study_date": header.study_date[:8],
            "study_time": header.study_time[:16],
            "study_description": header.study_description[:64],
            "received_from": received.calling_ae_title,
            "first_received_at": received.received_at,
            "last_received_at": received.received_at,
        },
    )
    return study


def _series(study: Study, header: Header) -> Series:
    series, created = Series.objects.get_or_create(
        study=study,
        series_instance_uid=header.series_instance_uid,
        defaults={
            "modality": header.modality[:16],
            "series_number": header.series_number[:12],
            "series_description": header.series_description[:64],
            "body_part_examined": header.body_part_examined[:16],
            "station_name": header.station_name[:16],
        },
    )
    if created:
        study.number_of_series += 1
        Study.objects.filter(pk=study.pk).update(number_of_series=F("number_of_series") + 1)
    return series


def _purpose(study: Study, entity: ApplicationEntity | None) -> Purpose:
    """How we came by it (promise 9): what a device sends that we gave this study to has RETURNED."""
    if entity is None:
        return Purpose.ACQUIRED
    if Hop.objects.filter(study=study, device=entity.device).exists():
        return Purpose.RETURNED
    if entity.device.kind == Device.Kind.PROCESSOR:
        return Purpose.DERIVED
    return Purpose.IMPORTED if entity.device.kind == Device.Kind.ARCHIVE else Purpose.ACQUIRED


_IDENTIFYING = ("patient_id", "issuer", "issuer_universal_id", "patient_name", "birth_date", "sex", "accession_number")


def _claim(study: Study, header: Header, received: Received, purpose: Purpose) -> IdentityClaim:
    """The claim that this object makes. Equal claims are one; other purposes claim apart."""
    parts = [getattr(header, name) for name in _IDENTIFYING]
    key = hashlib.sha256("\x1f".join([*parts, received.calling_ae_title, purpose]).encode()).hexdigest()
    fields = (
        *_IDENTIFYING, "requested_procedure_id", "sps_id", "modality", "station_name", "study_date", "study_time",
        "study_description",
    )  # fmt: skip
    limits = {field.name: field.max_length for field in IdentityClaim._meta.fields}
    claim, _ = IdentityClaim.objects.get_or_create(
        study=study,
        key=key,
        defaults={
            **{name: getattr(header, name)[: limits[name]] for name in fields},
            "calling_ae_title": received.calling_ae_title,
            "purpose": purpose,
        },
    )
    return claim


def _grow(study: Study, header: Header, received: Received) -> None:
    """Count the object, reopen the study when it was closed, and start its quiet time anew."""
    study.refresh_from_db()
    if study.custody != Custody.RECEIVING:
        transition(study, "study.receiving")
    modalities = study.modalities
    if header.modality and header.modality not in modalities:
        modalities = sorted({*modalities, header.modality[:16]})
    Study.objects.filter(pk=study.pk).update(
        number_of_instances=F("number_of_instances") + 1,
        modalities=modalities,
        last_received_at=received.received_at,
        quiet_until=timezone.now() + timedelta(seconds=settings.STUDY_QUIET_SECONDS),
    )


def _raise_difference(study: Study, claim: IdentityClaim, instance: Instance) -> None:
    open_case(
        "duplicate_instance",
        about=study,
        reason_code="OTHER_CONTENT",
        summary="An instance came again with other content; both copies are kept, only the first one is sent.",
        site=study.site,
        study=study,
        claim=claim,
        modality=claim.modality,
        source=claim.calling_ae_title,
        detail={"instance": instance.pk, "first": instance.differs_from_id},
    )


def association_ended(study_instance_uids: Iterable[str]) -> None:
    """The sender has said goodbye: the studies it sent need not wait for their whole quiet time."""
    soon = timezone.now() + AFTER_ASSOCIATION
    for uid in study_instance_uids:
        study = Study.objects.filter(study_instance_uid=uid, custody=Custody.RECEIVING).first()
        if study is not None:
            Study.objects.filter(pk=study.pk, quiet_until__gt=soon).update(quiet_until=soon)
            _close_if_complete(study)


def expect_instances(*, mpps_uid: str, items: Iterable[tuple[str, str, str, str]]) -> None:
    """What an MPPS says was made: (study, series, SOP class, SOP instance UID). Closes studies that have it all."""
    rows = list(items)
    ExpectedInstance.objects.bulk_create(
        [
            ExpectedInstance(
                study_instance_uid=study, series_instance_uid=series, sop_class_uid=sop_class,
                sop_instance_uid=instance, mpps_uid=mpps_uid,
            )
            for study, series, sop_class, instance in rows
        ],
        ignore_conflicts=True,
    )  # fmt: skip
    for uid in {row[0] for row in rows}:
        study = Study.objects.filter(study_instance_uid=uid, custody=Custody.RECEIVING).first()
        if study is not None:
            _close_if_complete(study)


def missing_instances(study: Study) -> list[str]:
    """SOP Instance UIDs that an MPPS named and that are not here."""
    expected = ExpectedInstance.objects.filter(study_instance_uid=study.study_instance_uid)
    here = Instance.objects.filter(study=study).values("sop_instance_uid")
    return list(expected.exclude(sop_instance_uid__in=here).values_list("sop_instance_uid", flat=True))


def _close_if_complete(study: Study) -> None:
    expected = ExpectedInstance.objects.filter(study_instance_uid=study.study_instance_uid).exists()
    if expected and not missing_instances(study):
        close(study.pk)


@transaction.atomic
def close(study_id: int) -> None:
    """The study counts as received, until more comes."""
    study = Study.objects.select_for_update().get(pk=study_id)
    if study.custody == Custody.RECEIVING:
        transition(study, "study.received", quiet_until=None, detail={"instances": study.number_of_instances})


def close_due() -> None:
    """Sweep: studies whose quiet time is over."""
    due = Study.objects.filter(custody=Custody.RECEIVING, quiet_until__lte=timezone.now())
    for study_id in due.values_list("pk", flat=True)[:200]:
        close(study_id)


_WORST_FIRST = (Identity.HELD, Identity.PENDING, Identity.MATCHED, Identity.REJECTED)
_EVENT = {
    Identity.HELD: "study.held",
    Identity.PENDING: "study.pending",
    Identity.MATCHED: "study.matched",
    Identity.REJECTED: "study.rejected",
}


@transaction.atomic
def refresh_identity(*, study_id: int) -> None:
    """`Study.identity` is the worst of its claims, its patient the one that all matched claims agree on.

    Claims of objects that need no order (PRIOR, DERIVED, RETURNED) do not count.
    """
    study = Study.objects.select_for_update().get(pk=study_id)
    claims = list(study.claims.filter(purpose__in=[Purpose.ACQUIRED, Purpose.IMPORTED]))
    present = {claim.identity for claim in claims}
    identity = next((each for each in _WORST_FIRST if each in present), Identity.PENDING)
    patients = {claim.matched_patient_id for claim in claims if claim.identity == Identity.MATCHED}
    patient_id = patients.pop() if len(patients) == 1 else None
    if identity != study.identity:
        transition(study, _EVENT[identity], patient_id=patient_id)
    elif study.patient_id != patient_id:
        study.patient_id = patient_id
        study.save(update_fields=["patient"])


@transaction.atomic
def disown(*, study_instance_uid: str, mpps_uid: str) -> None:
    """The modality says that this study's images were made under another patient's worklist entry."""
    WrongEntry.objects.get_or_create(mpps_uid=mpps_uid, defaults={"study_instance_uid": study_instance_uid})
    study = Study.objects.filter(study_instance_uid=study_instance_uid).first()
    if study is not None:
        record("study.disowned", study)


def record_hop(*, study: Study, device: Device, rendition: str) -> None:
    """This device holds this rendition now, because we sent it."""
    Hop.objects.get_or_create(study=study, device=device, rendition=rendition)
