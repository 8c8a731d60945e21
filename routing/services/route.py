"""From a matched study to deliveries, by the published rules."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from orchestrator.datasets import Header
from orchestrator.models import (
    Actor,
    ActorKind,
    Device,
    ExceptionCase,
    IdentityClaim,
    Instance,
    Site,
    Study,
    User,
    WorkflowEvent,
    acting,
)
from orchestrator.services.exceptions import open_case, resolve_about
from orchestrator.services.studies import lock_study
from orchestrator.services.workflow import record, ring, transition
from orchestrator.states import (
    ACQUISITIONS,
    CASE_OPEN,
    DELIVERY_FINAL,
    DELIVERY_REACHED,
    CaseStatus,
    DeliveryStatus,
    Identity,
)
from routing.datasets import ORIGINAL, rendition_of
from routing.models import DeliveredInstance, Delivery, Destination, RuleSet
from routing.rules import RuleError, evaluate
from routing.selectors import PERHAPS_THERE, other_copies
from routing.services.custody import corrections_of, refresh_custody


def facts_of(study: Study, claim: IdentityClaim) -> dict[str, Any]:
    """What rules may ask about (rules.FIELDS)."""
    series = list(study.series.all())
    order, procedure = claim.order, claim.procedure
    now = timezone.now().astimezone(ZoneInfo(study.site.time_zone))
    classes = Instance.objects.filter(claim=claim).order_by().values_list("sop_class_uid", flat=True).distinct()
    return {
        "modality": claim.modality,
        "calling_ae_title": claim.calling_ae_title,
        "site": study.site.code,
        "station_name": claim.station_name,
        "study_description": study.study_description,
        "series_description": [each.series_description for each in series if each.series_description],
        "body_part_examined": sorted({each.body_part_examined for each in series if each.body_part_examined}),
        "sop_class_uid": list(classes),
        "procedure_code": procedure.code_value if procedure else "",
        "priority": order.priority if order else "",
        "patient_class": order.visit.patient_class if order and order.visit else "",
        "number_of_instances": claim.number_of_instances,
        "time": now.time(),
        "weekday": now.isoweekday(),
    }


def facts_of_object(header: Header) -> dict[str, Any]:
    """What rules may ask about a study that has one object, which is known from its header alone."""
    now = timezone.now().astimezone(ZoneInfo(Site.objects.earliest("pk").time_zone))
    return {
        "modality": header.modality,
        "station_name": header.station_name,
        "study_description": header.study_description,
        "series_description": [header.series_description] if header.series_description else [],
        "body_part_examined": [header.body_part_examined] if header.body_part_examined else [],
        "sop_class_uid": [header.sop_class_uid],
        "number_of_instances": 1,
        "time": now.time(),
        "weekday": now.isoweekday(),
    }


@transaction.atomic
def route_study(study_id: int) -> None:
    """Make the deliveries that the published rules want. Subscriber of study.reconciled; may run twice."""
    study = lock_study(study_id)
    claims = study.claims.filter(identity=Identity.MATCHED, purpose__in=ACQUISITIONS).select_related(
        "order__visit", "procedure"
    )
    problems = [problem for claim in claims if (problem := _route_claim(study, claim))]
    for claim in claims:
        _send_instead(study, claim)
    for kind in ("no_route", "rule_error"):
        if claims and kind not in problems:
            resolve_about(kind, about=study, resolution="routed")
    # Also where nothing is to be sent: what came last may need no sending.
    refresh_custody(study.pk)


@transaction.atomic
def route_corrected(claim_id: int) -> None:
    """Other values leave now (a person's decision, a changed patient or order). Subscriber of claim.corrected; may run
    twice.
    """
    study = lock_study(IdentityClaim.objects.values_list("study", flat=True).get(pk=claim_id))
    claim = IdentityClaim.objects.get(pk=claim_id)
    # What is not matched any more is for `withdraw_claim`.
    if claim.identity == Identity.MATCHED and claim.purpose in ACQUISITIONS:
        _send_instead(study, claim)
        refresh_custody(study.pk)


def _send_instead(study: Study, claim: IdentityClaim) -> None:
    """Who has the claim's objects, or waits for them, in another rendition gets the present one.

    Also where the rules of today would not send it, and where it came from: the loop guard is for what goes round.
    """
    for old in _others(claim, rendition_of(corrections_of(claim))).select_related("destination__device").order_by("pk"):
        reached = old.instances.filter(instance__claim=claim, status__in=PERHAPS_THERE).exists()
        if reached or old.status != DeliveryStatus.CANCELED:
            deliver_to(
                study, claim, old.destination, priority=old.priority, rule=old.rule, version_id=old.version_id,
                instead=True,
            )  # fmt: skip
            _take_out(old, claim, "other values leave now")


def _others(claim: IdentityClaim, rendition: str) -> QuerySet[Delivery]:
    """The claim's deliveries in other renditions than this one."""
    mine = DeliveredInstance.objects.filter(instance__claim=claim)
    return Delivery.objects.filter(pk__in=mine.values("delivery")).exclude(rendition=rendition)


def route_waiting(rule_set_id: int) -> None:
    """New rules: ask them about the studies that the old ones left here. Subscriber of rule_set.published."""
    cases = ExceptionCase.objects.filter(kind__in=("no_route", "rule_error"), status__in=CASE_OPEN)
    for study_id in set(cases.exclude(status=CaseStatus.CLAIMED).values_list("study", flat=True)):
        route_study(study_id)


def _route_claim(study: Study, claim: IdentityClaim) -> str:
    """Deliver a claim's instances as the rules say; the kind of the case that was opened instead, if one was."""
    rule_set = RuleSet.objects.select_related("published").get(name="default")
    version = rule_set.published
    if version is None:
        return _ask(study, claim, "no_route", "NO_RULES", "No rules are published: publish rules to have it sent.")
    try:
        plan = evaluate(version.rules, facts_of(study, claim))
    except RuleError as error:
        return _ask(study, claim, "rule_error", "RULE_ERROR", f"{version}: {error}.")
    known = Destination.objects.select_related("device").in_bulk([each.destination for each in plan.sends])
    for send in plan.sends:
        if send.destination in known:
            deliver_to(
                study, claim, known[send.destination], priority=send.priority, rule=send.rule, version_id=version.pk
            )
    if len(known) < len(plan.sends):
        return _ask(study, claim, "rule_error", "NO_DESTINATION", f"{version} names a destination that is gone.")
    if not plan.sends and not plan.keep:
        summary = f"No rule of version {version.number} matches this study."
        return _ask(study, claim, "no_route", "NO_RULE_MATCHED", summary)
    return ""


def _ask(study: Study, claim: IdentityClaim, kind: str, reason_code: str, summary: str) -> str:
    open_case(
        kind, about=study, reason_code=reason_code, summary=summary, site=study.site, study=study, claim=claim,
        modality=claim.modality, source=claim.calling_ae_title,
    )  # fmt: skip
    return kind


def _came_from(claim: IdentityClaim) -> Device | None:
    return Device.objects.filter(application_entities__ae_title=claim.calling_ae_title).first()


def deliver_to(
    study: Study,
    claim: IdentityClaim,
    destination: Destination,
    *,
    priority: str,
    rule: str = "",
    version_id: int | None = None,
    instead: bool = False,
    series: Sequence[str] = (),
) -> Delivery | None:
    """The delivery of the claim's current rendition, with the instances that it lacks.

    `rule`: the name of the rule that asks for it; empty when a person does, who also revives what failed or was
    canceled. `instead`: the destination has another rendition. `series`: these alone (Series Instance UIDs), else
    all. None where a loop would begin (an uncorrected study back to the device that it came from, unless a person
    wants that) and where there is nothing to send.
    """
    rendition = rendition_of(corrections_of(claim))
    if rule and not instead and rendition == ORIGINAL and destination.device == _came_from(claim):
        _note_loop(study, destination, rule)
        return None
    instances = Instance.objects.filter(claim=claim, differs_from=None, purpose__in=ACQUISITIONS)
    if series:
        instances = instances.filter(series__series_instance_uid__in=series)
    if not instances.exists():
        return None
    # Locked, so that a worker that is just finishing it sees the new instances, or we see that it has finished.
    delivery, created = Delivery.objects.select_for_update(of=("self",), no_key=True).get_or_create(
        study=study,
        destination=destination,
        rendition=rendition,
        defaults={"priority": priority, "rule": rule, "version_id": version_id},
    )
    if created:
        record("delivery.queued", delivery, to_state=delivery.status, detail={"rule": rule})
    if _fill(delivery, claim, instances, by_person=not rule and not instead):
        if delivery.status in DELIVERY_FINAL:
            event = "delivery.extended" if delivery.status in DELIVERY_REACHED else "delivery.retrying"
            transition(
                delivery, event, attempts=0, next_attempt_at=timezone.now(), lease_until=None, finished_at=None
            )  # fmt: skip
        ring("routing.tasks.deliver")
    doubtful = delivery.instances.filter(Exists(other_copies())) | delivery.instances.exclude(instance__claim=claim)
    if not doubtful.exists():
        resolve_about("already_delivered", about=delivery, resolution="matched again")
    return delivery


def _note_loop(study: Study, destination: Destination, rule: str) -> None:
    """Said once on the study's timeline: a rule named the device that the study came from."""
    known = WorkflowEvent.objects.filter(
        subject_type="study", subject_id=study.pk, name="study.not_returned", detail__destination=destination.name
    )
    if not known.exists():
        record("study.not_returned", study, detail={"destination": destination.name, "rule": rule})


def _fill(delivery: Delivery, claim: IdentityClaim, instances: QuerySet[Instance], *, by_person: bool) -> bool:
    """Add what a delivery lacks and revive what was taken out of it; whether there is more to send now.

    What a person has canceled as a whole stays canceled until a person wants it.
    """
    if delivery.status in (DeliveryStatus.FAILED, DeliveryStatus.CANCELED) and by_person:
        again = delivery.instances.filter(instance__claim=claim).exclude(status=DeliveryStatus.SENT)
    else:
        again = delivery.instances.filter(instance__claim=claim, status=DeliveryStatus.CANCELED)
    # What left in another rendition since stands in the way of what left in this one: it goes again.
    overtaken = delivery.instances.filter(
        Exists(other_copies().filter(at__gt=OuterRef("at"))), instance__claim=claim, status__in=DELIVERY_REACHED
    )
    revived = sum(rows.update(status=DeliveryStatus.QUEUED, error="") for rows in (again, overtaken))
    missing = instances.exclude(pk__in=delivery.instances.values("instance"))
    added = DeliveredInstance.objects.bulk_create(
        [DeliveredInstance(delivery=delivery, instance=instance) for instance in missing], ignore_conflicts=True
    )
    return bool(revived) or (bool(added) and (by_person or delivery.status != DeliveryStatus.CANCELED))


@transaction.atomic
def send_study(
    *, study: Study, destinations: Sequence[Destination], user: User, reason: str, series: Sequence[str] = ()
) -> list[Delivery]:
    """A person sends a matched study, or these series of it; the loop guard does not apply to what a person wants."""
    lock_study(study.pk)
    claims = study.claims.filter(identity=Identity.MATCHED, purpose__in=ACQUISITIONS)
    with acting(Actor(ActorKind.USER, user.username, user.pk), reason):
        made = [
            deliver_to(study, claim, each, priority="urgent", series=series)
            for claim in claims
            for each in destinations
        ]
        if not series:
            resolve_about("no_route", about=study, resolution="sent by a person")
    return list({each.pk: each for each in made if each is not None}.values())


@transaction.atomic
def withdraw_claim(claim_id: int) -> None:
    """A match was taken back, by a person or because the order changed: cancel what is not sent yet, open a case for
    each destination already reached.

    Subscriber of claim.unmatched; may run twice, and after the claim was matched anew: what its present rendition
    delivers is right.
    """
    lock_study(IdentityClaim.objects.values_list("study", flat=True).get(pk=claim_id))
    claim = IdentityClaim.objects.select_related("study__site").get(pk=claim_id)
    mine = DeliveredInstance.objects.filter(instance__claim=claim)
    wrong = Delivery.objects.filter(pk__in=mine.values("delivery"))
    if claim.identity == Identity.MATCHED:
        wrong = _others(claim, rendition_of(corrections_of(claim)))
    for delivery in wrong.select_for_update(of=("self",), no_key=True).select_related("destination").order_by("pk"):
        reached = mine.filter(delivery=delivery, status__in=PERHAPS_THERE).exists()
        _take_out(delivery, claim, "the match was taken back")
        if reached:
            open_case(
                "already_delivered",
                about=delivery,
                reason_code="UNMATCHED_AFTER_DELIVERY",
                summary=f"The match was taken back after {delivery.destination.name} had got the images.",
                site=claim.study.site,
                study=claim.study,
                claim=claim,
                source=delivery.destination.name,
            )
    refresh_custody(claim.study_id)


def _take_out(delivery: Delivery, claim: IdentityClaim, reason: str) -> None:
    """Nothing more of this claim leaves by this delivery, even when a worker is at it (the fence stops that one)."""
    unsent = delivery.instances.exclude(status__in=DELIVERY_REACHED)
    unsent.filter(instance__claim=claim).update(status=DeliveryStatus.CANCELED)
    now = timezone.now()
    if delivery.status in DELIVERY_REACHED or delivery.status == DeliveryStatus.CANCELED:
        return
    if not delivery.instances.exclude(instance__claim=claim).exists():
        transition(
            delivery, "delivery.canceled", reason=reason, fence=delivery.fence + 1,
            lease_until=None, next_attempt_at=None, finished_at=now,
        )  # fmt: skip
        resolve_about("delivery_failed", about=delivery, resolution="canceled")
    elif delivery.status == DeliveryStatus.SENDING:
        # The rest of it, which other claims made, goes on with a worker that knows what to leave out.
        Delivery.objects.filter(pk=delivery.pk).update(
            fence=delivery.fence + 1, lease_until=None, next_attempt_at=now
        )  # fmt: skip
        ring("routing.tasks.deliver")
