"""Studies as they are received: closed by quiet time or when complete, identity as the worst of the claims."""

from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from orchestrator.models import (
    Device,
    ExpectedInstance,
    Hop,
    Instance,
    Study,
    WrongEntry,
)
from orchestrator.services.exceptions import open_case, resolve_about
from orchestrator.services.workflow import record, transition
from orchestrator.states import ACQUISITIONS, Custody, Identity

# After the association's end a study waits only this long for another one.
AFTER_ASSOCIATION = timedelta(seconds=3)


def association_ended(study_instance_uids: Iterable[str]) -> None:
    """The sender has said goodbye: the studies it sent need not wait for their whole quiet time."""
    soon = timezone.now() + AFTER_ASSOCIATION
    for uid in study_instance_uids:
        study = Study.objects.filter(study_instance_uid=uid, custody=Custody.RECEIVING).first()
        if study is not None:
            Study.objects.filter(pk=study.pk, quiet_until__gt=soon).update(quiet_until=soon)
            close_if_complete(study)


def expect_instances(*, mpps_uid: str, items: Iterable[tuple[str, str, str, str]]) -> None:
    """What an MPPS says was made: (study, series, SOP class, SOP instance UID).

    A study that has it all is closed; of one that was closed before, a person is told what is missing.
    """
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
    for study in Study.objects.filter(study_instance_uid__in={row[0] for row in rows}):
        if study.custody == Custody.RECEIVING:
            close_if_complete(study)
        else:
            _tell_what_is_missing(study)


def lock_study(study_id: int) -> Study:
    """The study first, then its case, its orders, their steps, or its deliveries: who takes several never waits in a
    circle.
    """
    # Only against writers: rows that refer to it may be made meanwhile (no_key, everywhere).
    return Study.objects.select_for_update(of=("self",), no_key=True).get(pk=study_id)


def lock(*, study_instance_uid: str) -> None:
    """Lock a study, if it is here, until the commit.

    Who works on a study and on the orders of its images locks the study first: two never wait for each other.
    """
    Study.objects.select_for_update(no_key=True).filter(study_instance_uid=study_instance_uid).first()


def missing_instances(study: Study) -> list[str]:
    """SOP Instance UIDs that an MPPS named and that are not here."""
    expected = ExpectedInstance.objects.filter(study_instance_uid=study.study_instance_uid)
    here = Instance.objects.filter(study=study).values("sop_instance_uid")
    return list(expected.exclude(sop_instance_uid__in=here).values_list("sop_instance_uid", flat=True))


def close_if_complete(study: Study) -> None:
    """A study that has all that its MPPS name need not wait; where none has said anything, quiet time tells."""
    expected = ExpectedInstance.objects.filter(study_instance_uid=study.study_instance_uid).exists()
    if expected and not missing_instances(study):
        close(study.pk)


def _tell_what_is_missing(study: Study) -> None:
    """A count that differs from the modality's is for a person, until the rest has come."""
    missing = missing_instances(study)
    if not missing:
        resolve_about("incomplete_study", about=study, resolution="complete")
        return
    number = len(missing)
    open_case(
        "incomplete_study",
        about=study,
        reason_code="INSTANCES_MISSING",
        summary=f"{number} instance{'s' * (number != 1)} that the modality says it made did not arrive: "
        "look at the modality's send queue.",
        site=study.site,
        study=study,
        modality=", ".join(study.modalities)[:16],
        source=study.received_from,
        detail={"missing": missing[:100]},
    )


@transaction.atomic
def close(study_id: int, *, only_if_quiet: bool = False) -> None:
    """The study counts as received, until more comes."""
    study = lock_study(study_id)
    if study.custody != Custody.RECEIVING:
        return
    if only_if_quiet and study.quiet_until is not None and study.quiet_until > timezone.now():
        # Something came between the look and the lock.
        return
    transition(study, "study.received", quiet_until=None, detail={"instances": study.number_of_instances})
    _tell_what_is_missing(study)


def close_due() -> None:
    """Sweep: studies whose quiet time is over."""
    due = Study.objects.filter(custody=Custody.RECEIVING, quiet_until__lte=timezone.now())
    for study_id in due.values_list("pk", flat=True)[:200]:
        close(study_id, only_if_quiet=True)


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

    Claims of objects that need no order (PRIOR, DERIVED, RETURNED) do not count, nor do those that only copies with
    other content make, which are never sent.
    """
    study = lock_study(study_id)
    claims = list(study.claims.filter(purpose__in=ACQUISITIONS, number_of_instances__gt=0))
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
