"""From a matched study to deliveries, by the published rules."""

from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from django.db import transaction
from django.utils import timezone

from orchestrator.models import Device, Hop, IdentityClaim, Instance, Study, User
from orchestrator.services.exceptions import open_case, resolve_about
from orchestrator.services.workflow import ring, transition
from orchestrator.states import DELIVERY_FINAL, DELIVERY_REACHED, DeliveryStatus, Identity, Purpose
from routing.datasets import rendition_of
from routing.models import DeliveredInstance, Delivery, Destination, RuleSet
from routing.rules import Plan, RuleError, evaluate

_ROUTED = (Purpose.ACQUIRED, Purpose.IMPORTED)


def corrections_of(claim: IdentityClaim) -> dict[str, tuple[str, str]]:
    """A claim's corrections as {keyword: (received, current)}."""
    return {each.attribute: (each.old, each.new) for each in claim.corrections.all()}


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


@transaction.atomic
def route_study(study_id: int) -> None:
    """Make the deliveries that the published rules want. Subscriber of study.reconciled; may run twice."""
    study = Study.objects.select_for_update(of=("self",)).select_related("site").get(pk=study_id)
    claims = study.claims.filter(identity=Identity.MATCHED, purpose__in=_ROUTED).select_related(
        "order__visit", "procedure"
    )
    for claim in claims:
        _route_claim(study, claim)


def _route_claim(study: Study, claim: IdentityClaim) -> None:
    rule_set = RuleSet.objects.select_related("published").get(name="default")
    version = rule_set.published
    if version is None:
        _no_route(study, claim, "NO_RULES", "No rules are published: publish a rule set, then route this study.")
        return
    try:
        plan = evaluate(version.rules, facts_of(study, claim))
    except RuleError as error:
        open_case(
            "rule_error", about=study, reason_code="RULE_ERROR", summary=f"{version}: {error}.", site=study.site,
            study=study, claim=claim,
        )  # fmt: skip
        return
    if not plan.sends and not plan.keep:
        _no_route(study, claim, "NO_RULE_MATCHED", f"No rule of version {version.number} matches this study.")
        return
    resolve_about("no_route", about=study, resolution="routed")
    for destination, priority, rule in _targets(plan):
        deliver_to(study, claim, destination, priority=priority, rule=rule, version_id=version.pk)


def _targets(plan: Plan) -> list[tuple[Destination, str, str]]:
    known = Destination.objects.select_related("device").in_bulk([each.destination for each in plan.sends])
    return [(known[each.destination], each.priority, each.rule) for each in plan.sends if each.destination in known]


def _no_route(study: Study, claim: IdentityClaim, reason_code: str, summary: str) -> None:
    open_case(
        "no_route", about=study, reason_code=reason_code, summary=summary, site=study.site, study=study, claim=claim,
        modality=claim.modality, source=claim.calling_ae_title,
    )  # fmt: skip


def _came_from(study: Study, claim: IdentityClaim) -> Device | None:
    return Device.objects.filter(application_entities__ae_title=claim.calling_ae_title).first()


def deliver_to(
    study: Study,
    claim: IdentityClaim,
    destination: Destination,
    *,
    priority: str,
    rule: str = "",
    version_id: int | None = None,
) -> Delivery | None:
    """The delivery of the current rendition, with what it lacks; None where a loop would begin."""
    rendition = rendition_of(corrections_of(claim))
    if rule and destination.device == _came_from(study, claim):
        return None
    delivery, created = Delivery.objects.get_or_create(
        study=study,
        destination=destination,
        rendition=rendition,
        defaults={"priority": priority, "rule": rule, "version_id": version_id},
    )
    instances = Instance.objects.filter(claim=claim, differs_from=None, purpose__in=_ROUTED)
    missing = instances.exclude(pk__in=delivery.instances.values("instance"))
    added = DeliveredInstance.objects.bulk_create(
        [DeliveredInstance(delivery=delivery, instance=instance) for instance in missing], ignore_conflicts=True
    )
    if added and not created and delivery.status in DELIVERY_FINAL:
        event = "delivery.extended" if delivery.status in DELIVERY_REACHED else "delivery.retrying"
        transition(delivery, event, next_attempt_at=timezone.now(), finished_at=None)
    if added:
        ring("routing.tasks.deliver", delivery.pk)
    return delivery


@transaction.atomic
def send_study(*, study: Study, destinations: Sequence[Destination], user: User, reason: str) -> list[Delivery]:
    """A person sends a matched study; the loop guard does not apply to what a person wants."""
    claims = study.claims.filter(identity=Identity.MATCHED, purpose__in=_ROUTED)
    made = [deliver_to(study, claim, each, priority="urgent") for claim in claims for each in destinations]
    return [each for each in made if each is not None]


@transaction.atomic
def withdraw_claim(claim_id: int) -> None:
    """A decision was undone: cancel what is not sent yet, open a case for each destination already reached."""
    claim = IdentityClaim.objects.select_related("study__site").get(pk=claim_id)
    if claim.identity == Identity.MATCHED:
        return
    mine = DeliveredInstance.objects.filter(instance__claim=claim)
    for delivery in Delivery.objects.filter(pk__in=mine.values("delivery")).select_related("destination"):
        reached = mine.filter(delivery=delivery, status=DeliveryStatus.SENT).exists()
        if delivery.status not in DELIVERY_FINAL:
            transition(delivery, "delivery.canceled", next_attempt_at=None, finished_at=timezone.now())
        if reached or Hop.objects.filter(study=claim.study, device=delivery.destination.device).exists():
            open_case(
                "already_delivered",
                about=delivery,
                reason_code="UNDONE_AFTER_DELIVERY",
                summary=f"A decision was undone after {delivery.destination.name} had got the images.",
                site=claim.study.site,
                study=claim.study,
                claim=claim,
            )
