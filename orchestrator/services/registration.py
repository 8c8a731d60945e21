"""Rows for received objects: a batch is one transaction, and what its objects share is read and written once."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from orchestrator import content, datasets, storage
from orchestrator.datasets import Header
from orchestrator.models import (
    Actor,
    ActorKind,
    ApplicationEntity,
    ClaimWord,
    Device,
    Hop,
    IdentityClaim,
    Instance,
    Series,
    Site,
    Study,
    WorkflowEvent,
    acting,
    words_to_keep,
)
from orchestrator.services.exceptions import open_case
from orchestrator.services.studies import close_if_complete
from orchestrator.services.workflow import record, transition
from orchestrator.states import ACQUISITIONS, Custody, Purpose


@dataclass(frozen=True)
class Received:
    """A durable object that has no rows yet."""

    spool_key: str
    calling_ae_title: str
    address: str | None
    received_at: datetime
    # As the listener has read it; None: to be read from the file.
    header: Header | None = None


@dataclass(frozen=True)
class _Object:
    """A received object with what was read of it."""

    received: Received
    header: Header
    entity: ApplicationEntity | None
    digest: str
    size: int


def register(batch: Sequence[Received]) -> None:
    """Write the rows of a batch in one transaction, then take its files out of the inbox. May be repeated."""
    titles = {received.calling_ae_title for received in batch}
    entities = {
        entity.ae_title: entity
        for entity in ApplicationEntity.objects.select_related("device__site").filter(ae_title__in=titles)
    }
    read = [_read(received, entities.get(received.calling_ae_title)) for received in batch]
    objects = [each for each in read if each is not None]
    with transaction.atomic():
        repeated = _Batch(objects).write()
    for each in objects:
        if each.received.spool_key in repeated:
            storage.discard(each.received.spool_key)
        else:
            storage.settle(each.received.spool_key)


def _read(received: Received, entity: ApplicationEntity | None) -> _Object | None:
    """None when another process has found meanwhile that the object is here already, and dropped its file."""
    try:
        path = storage.path_of(received.spool_key)
    except FileNotFoundError:
        return None
    charset = entity.default_character_set if entity else ""
    header = received.header or datasets.read_header(path, default_character_set=charset)
    return _Object(received, header, entity, datasets.digest_of(path), path.stat().st_size)


class _Batch:
    """The rows of one transaction."""

    def __init__(self, objects: Sequence[_Object]) -> None:
        self._objects = objects
        self._registered: set[str] = set()
        # What is here under these UIDs: every copy by its content, and the first one, which is the one that is sent.
        self._copies: set[tuple[str, str]] = set()
        self._firsts: dict[str, Instance] = {}
        # Where the first one stands and its transfer syntax, of this batch or from before.
        self._files: dict[str, tuple[str, str]] = {}
        # One query, one moment: were the rows that another process commits just now seen as copies and not as the
        # object's own, its only file would be discarded as a repetition of itself.
        own = Q(spool_key__in=[each.received.spool_key for each in objects])
        for instance in Instance.objects.filter(
            own | Q(sop_instance_uid__in={each.header.sop_instance_uid for each in objects})
        ):
            self._registered.add(instance.spool_key)
            self._copies.add((instance.sop_instance_uid, instance.digest))
            if instance.differs_from_id is None:
                self._firsts[instance.sop_instance_uid] = instance
                self._files[instance.sop_instance_uid] = (instance.spool_key, instance.transfer_syntax_uid)
        self._studies: dict[str, Study] = {}
        self._series: dict[tuple[int, str], Series] = {}
        self._claims: dict[tuple[int, str], IdentityClaim] = {}
        self._holds: dict[tuple[int, int], bool] = {}
        self._new: list[tuple[_Object, Instance]] = []
        self._differing: list[Instance] = []

    def write(self) -> set[str]:
        """Answers the keys of objects that are here already, with the same bytes or saying the same."""
        repeated: set[str] = set()
        fresh: list[_Object] = []
        for each in self._objects:
            copy = (each.header.sop_instance_uid, each.digest)
            if each.received.spool_key in self._registered:
                continue
            if copy in self._copies or self._says_what_is_here(each):
                repeated.add(each.received.spool_key)
                continue
            self._copies.add(copy)
            self._files.setdefault(
                each.header.sop_instance_uid, (each.received.spool_key, each.header.transfer_syntax_uid)
            )
            fresh.append(each)
        self._lock_studies(fresh)
        for each in fresh:
            with acting(Actor(ActorKind.AE, each.received.calling_ae_title)):
                self.take(each)
        Instance.objects.bulk_create([instance for _, instance in self._new])
        for instance in self._differing:
            # The first one may have got its key just now.
            instance.differs_from = self._firsts[instance.sop_instance_uid]
            instance.save()
            if instance.purpose != Purpose.RETURNED:
                with acting(Actor(ActorKind.AE, instance.calling_ae_title)):
                    _raise_difference(instance)
        self._note_what_returned()
        self._count()
        return repeated

    def _says_what_is_here(self, each: _Object) -> bool:
        """Whether it is the first one encoded otherwise (promise 6); where that cannot be told, it is another."""
        if each.header.sop_instance_uid not in self._files:
            return False
        key, syntax = self._files[each.header.sop_instance_uid]
        try:
            first, other = storage.path_of(key), storage.path_of(each.received.spool_key)
        except FileNotFoundError:
            return False
        return content.say_the_same(first, syntax, other, each.header.transfer_syntax_uid)

    def _note_what_returned(self) -> None:
        """What we gave away comes back as we corrected it, or as an archive keeps it: nobody need look."""
        returned = Counter(
            (instance.study_id, instance.calling_ae_title)
            for instance in self._differing
            if instance.purpose == Purpose.RETURNED
        )
        studies = {study.pk: study for study in self._studies.values()}
        for (study_id, title), number in sorted(returned.items()):
            with acting(Actor(ActorKind.AE, title)):
                record("study.copies_returned", studies[study_id], detail={"instances": number})

    def take(self, each: _Object) -> None:
        """One object that is not here yet."""
        header, received = each.header, each.received
        study = self._studies[header.study_instance_uid]
        series = self._series_of(study, header)
        purpose = self._purpose(study, each)
        instance = Instance(
            study=study,
            series=series,
            claim=self._claim(study, each, purpose),
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
        )
        if header.sop_instance_uid in self._firsts:
            self._differing.append(instance)
        else:
            self._firsts[header.sop_instance_uid] = instance
            self._new.append((each, instance))

    def _lock_studies(self, fresh: Sequence[_Object]) -> None:
        """Make the studies that are new, and lock all until the commit.

        Else a study that is closed at this very moment would get its late object and never be received again, and of
        two processes that count for one study one would forget what the other wrote.
        """
        firsts = {each.header.study_instance_uid: each for each in reversed(fresh)}
        # In one order everywhere: two processes never wait for each other.
        ids = [_study_of(firsts[uid]).pk for uid in sorted(firsts)]
        locked = Study.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk")
        self._studies = {study.study_instance_uid: study for study in locked}

    def _series_of(self, study: Study, header: Header) -> Series:
        key = (study.pk, header.series_instance_uid)
        if key not in self._series:
            self._series[key], created = Series.objects.get_or_create(
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
                Study.objects.filter(pk=study.pk).update(number_of_series=F("number_of_series") + 1)
        return self._series[key]

    def _purpose(self, study: Study, each: _Object) -> Purpose:
        """How we came by it (promise 9): from what kind of device, and whether we gave it to that device ourselves."""
        if each.entity is None:
            return Purpose.ACQUIRED
        device = each.entity.device
        key = (study.pk, device.pk)
        if key not in self._holds:
            self._holds[key] = Hop.objects.filter(study=study, device=device).exists()
        # What a processor or a workstation made of what it got is new; an archive makes nothing.
        is_old = device.kind == Device.Kind.ARCHIVE or each.header.sop_instance_uid in self._firsts
        if self._holds[key] and is_old:
            return Purpose.RETURNED
        return _PURPOSES.get(device.kind, Purpose.ACQUIRED)

    def _claim(self, study: Study, each: _Object, purpose: Purpose) -> IdentityClaim:
        """The claim that this object makes. Equal claims are one; other purposes claim apart."""
        header, title = each.header, each.received.calling_ae_title
        parts = [getattr(header, name) for name in _IDENTIFYING]
        digest = hashlib.sha256("\x1f".join([*parts, title, purpose]).encode()).hexdigest()
        key = (study.pk, digest)
        if key not in self._claims:
            self._claims[key], created = IdentityClaim.objects.get_or_create(
                study=study,
                key=digest,
                defaults={
                    **{name: getattr(header, name)[: _limit(name)] for name in _CLAIMED},
                    "calling_ae_title": title,
                    "purpose": purpose,
                },
            )
            if created:
                words = words_to_keep(header.patient_name)
                ClaimWord.objects.bulk_create(ClaimWord(claim=self._claims[key], word=word) for word in words)
        return self._claims[key]

    def _count(self) -> None:
        """Count the new objects, reopen studies that were closed, and start their quiet time anew."""
        for model, ids in (
            (IdentityClaim, Counter(instance.claim_id for _, instance in self._new)),
            (Series, Counter(instance.series_id for _, instance in self._new)),
        ):
            for pk, number in sorted(ids.items()):
                model._default_manager.filter(pk=pk).update(number_of_instances=F("number_of_instances") + number)
        grown: dict[int, list[tuple[_Object, Instance]]] = {}
        for each, instance in self._new:
            grown.setdefault(instance.study_id, []).append((each, instance))
        for study_id, new in sorted(grown.items()):
            with acting(Actor(ActorKind.AE, new[0][0].received.calling_ae_title)):
                _grow(study_id, new)
                close_if_complete(Study.objects.get(pk=study_id))


_PURPOSES: dict[str, Purpose] = {Device.Kind.PROCESSOR: Purpose.DERIVED, Device.Kind.ARCHIVE: Purpose.IMPORTED}
_IDENTIFYING = ("patient_id", "issuer", "issuer_universal_id", "patient_name", "birth_date", "sex", "accession_number")
_CLAIMED = (
    *_IDENTIFYING, "requested_procedure_id", "sps_id", "modality", "station_name", "study_date", "study_time",
    "study_description",
)  # fmt: skip


def _study_of(each: _Object) -> Study:
    header, received = each.header, each.received
    with acting(Actor(ActorKind.AE, received.calling_ae_title)):
        study, _ = Study.objects.get_or_create(
            study_instance_uid=header.study_instance_uid,
            defaults={
                "site": each.entity.device.site if each.entity else Site.objects.earliest("pk"),
                "study_date": header.study_date[:8],
                "study_time": header.study_time[:16],
                "study_description": header.study_description[:64],
                "received_from": received.calling_ae_title,
                "first_received_at": received.received_at,
                "last_received_at": received.received_at,
            },
        )
    return study


def _limit(name: str) -> int | None:
    limit: int | None = IdentityClaim._meta.get_field(name).max_length  # type: ignore[union-attr]  # a CharField
    return limit


def _grow(study_id: int, new: Sequence[tuple[_Object, Instance]]) -> None:
    study = Study.objects.get(pk=study_id)
    _give_to_who_acquired(study, new)
    if study.custody != Custody.RECEIVING:
        transition(study, "study.receiving")
    modalities = {each.header.modality[:16] for each, _ in new if each.header.modality}
    Study.objects.filter(pk=study_id).update(
        number_of_instances=F("number_of_instances") + len(new),
        modalities=sorted({*study.modalities, *modalities}),
        last_received_at=max(each.received.received_at for each, _ in new),
        quiet_until=timezone.now() + timedelta(seconds=settings.STUDY_QUIET_SECONDS),
    )


def _give_to_who_acquired(study: Study, new: Sequence[tuple[_Object, Instance]]) -> None:
    """A study belongs to the site where it was acquired, also where what a processor made of it was here first.

    Only its first acquisition moves it, and only while nobody was asked about it and nothing of it is on its way: cases
    and deliveries stay at the site that they are of.
    """
    by = next((each.entity for each, instance in new if each.entity and instance.purpose == Purpose.ACQUIRED), None)
    if by is None or by.device.site_id == study.site_id:
        return
    acquired = Instance.objects.filter(study=study, purpose__in=ACQUISITIONS)
    sent = WorkflowEvent.objects.filter(study_id=study.pk, name__startswith="delivery.")
    if acquired.exclude(pk__in=[instance.pk for _, instance in new]).exists() or study.cases.exists() or sent.exists():
        return
    detail = {"from": study.site.code, "to": by.device.site.code}
    study.site, study.received_from = by.device.site, by.ae_title
    study.save(update_fields=["site", "received_from"])
    record("study.site_changed", study, detail=detail)


def _raise_difference(instance: Instance) -> None:
    study, claim = instance.study, instance.claim
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
