"""From a matched study to deliveries by the published rules, and back when a decision is undone."""

from typing import Any

import pytest

from orchestrator.models import (
    ExceptionCase,
    IdentityClaim,
    Instance,
    Study,
    Subscription,
    WorkflowEvent,
)
from orchestrator.services.subscriptions import run_subscription
from orchestrator.states import CaseStatus, DeliveryStatus, Identity, Purpose
from reconciliation.services.reconcile import reconcile_study, rematch_for_order
from routing.datasets import ORIGINAL
from routing.models import DeliveredInstance, Delivery, Destination, RuleSet, RuleSetVersion
from routing.services.deliver import cancel
from routing.services.route import route_study, route_waiting, send_study, withdraw_claim
from tests.factories import make_ae, make_claim, make_order, make_study, make_user
from tests.routing.ward import destination, hold, image, match, publish, receive, send_rule

pytestmark = pytest.mark.django_db
CT = {"all": [{"field": "modality", "op": "eq", "value": "CT"}]}
MR = {"all": [{"field": "modality", "op": "eq", "value": "MR"}]}


def study_of(instances: int = 1, **claim: Any) -> Study:
    """A matched study that needs no corrections, rows only."""
    order = make_order()
    study = make_study(order, instances=instances, issuer="MAIN", **claim)
    match(study, order)
    return study


def deliveries(study: Study) -> list[tuple[str, str, int]]:
    rows = Delivery.objects.filter(study=study).order_by("destination__name", "pk")
    return [(each.destination.name, each.status, each.instances.count()) for each in rows]


def case(kind: str) -> ExceptionCase:
    return ExceptionCase.objects.get(kind=kind)


def finish(delivery: Delivery, status: DeliveryStatus = DeliveryStatus.SENT) -> None:
    Delivery.objects.filter(pk=delivery.pk).update(status=status, attempts=3, next_attempt_at=None)
    delivery.instances.update(status=status)


def test_a_matched_study_goes_where_the_rules_say_once_however_often_it_is_routed() -> None:
    archive, reader, other = destination(), destination(name="Reader"), destination(name="Other")
    version = publish(
        send_rule(archive, name="first", when=CT), send_rule(archive, reader, name="second"), send_rule(other, when=MR)
    )
    study = study_of(instances=3)
    for _ in range(3):
        route_study(study.pk)
    assert deliveries(study) == [("Archive", "QUEUED", 3), ("Reader", "QUEUED", 3)]
    made = Delivery.objects.get(destination=archive)
    assert made.version is not None
    assert (made.rule, made.version.number, made.rendition) == ("first", version, ORIGINAL)
    assert WorkflowEvent.objects.filter(name="delivery.queued", study_id=study.pk).count() == 2
    assert not ExceptionCase.objects.exists()


@pytest.mark.parametrize("identity", [Identity.HELD, Identity.PENDING, Identity.REJECTED])
def test_what_is_not_matched_goes_nowhere(identity: Identity) -> None:
    publish(send_rule(destination()))
    study = make_study(make_order(), identity=identity)
    route_study(study.pk)
    assert deliveries(study) == []


@pytest.mark.parametrize("purpose", [Purpose.PRIOR, Purpose.DERIVED, Purpose.RETURNED])
def test_what_was_not_acquired_goes_nowhere(purpose: Purpose) -> None:
    publish(send_rule(destination()))
    study = study_of(purpose=purpose)
    route_study(study.pk)
    assert deliveries(study) == []


def test_a_held_claim_stays_while_its_matched_neighbour_goes() -> None:
    publish(send_rule(destination()))
    study = study_of(instances=2)
    held = make_claim(study, instances=5, identity=Identity.HELD)
    route_study(study.pk)
    assert deliveries(study) == [("Archive", "QUEUED", 2)]
    assert not DeliveredInstance.objects.filter(instance__claim=held).exists()


def test_the_second_copy_of_an_instance_is_not_sent() -> None:
    publish(send_rule(destination()))
    study = study_of(instances=2)
    first, second = study.instances.order_by("pk")
    Instance.objects.filter(pk=second.pk).update(differs_from=first, sop_instance_uid=first.sop_instance_uid)
    route_study(study.pk)
    assert deliveries(study) == [("Archive", "QUEUED", 1)]


def test_no_published_rules_is_a_case() -> None:
    study = study_of()
    route_study(study.pk)
    found = case("no_route")
    assert (found.reason_code, found.study, found.site) == ("NO_RULES", study, study.site)


def test_no_matching_rule_is_one_case_until_new_rules_send_it() -> None:
    archive = destination()
    publish(send_rule(archive, when=MR))
    study = study_of()
    for _ in range(2):
        route_study(study.pk)
    assert case("no_route").reason_code == "NO_RULE_MATCHED"
    publish(send_rule(archive, when=CT))
    route_waiting(RuleSet.objects.get().pk)
    assert case("no_route").status == CaseStatus.RESOLVED
    assert deliveries(study) == [("Archive", "QUEUED", 1)]


def test_new_rules_leave_alone_what_a_person_has_claimed() -> None:
    study = study_of()
    route_study(study.pk)
    ExceptionCase.objects.update(status=CaseStatus.CLAIMED, owner=make_user())
    publish(send_rule(destination()))
    route_waiting(RuleSet.objects.get().pk)
    assert deliveries(study) == []


def test_a_case_stays_open_while_one_of_two_claims_has_no_route() -> None:
    archive = destination()
    publish(send_rule(archive, when=CT))
    study = study_of()
    order = make_order()
    for modality in ("MR", "CT"):
        make_claim(
            study, modality=modality, identity=Identity.MATCHED, order=order, matched_patient=order.patient
        )  # fmt: skip
    route_study(study.pk)
    assert case("no_route").status == CaseStatus.OPEN


def test_a_rule_may_keep_a_study() -> None:
    publish(send_rule(keep=True))
    study = study_of()
    route_study(study.pk)
    assert deliveries(study) == []
    assert not ExceptionCase.objects.exists()


def test_a_rule_that_cannot_be_evaluated_is_a_case_that_names_the_place() -> None:
    archive = destination()
    publish(send_rule(archive))
    broken = send_rule(archive, when={"all": [{"field": "colour", "op": "eq", "value": "red"}]})
    RuleSetVersion.objects.update(rules=[broken])
    study = study_of()
    route_study(study.pk)
    assert case("rule_error").reason_code == "RULE_ERROR"
    assert "rules[0].when.all[0]" in case("rule_error").summary
    publish(send_rule(archive))
    route_study(study.pk)
    assert case("rule_error").status == CaseStatus.RESOLVED


def test_a_destination_that_is_gone_is_a_case_and_the_others_get_it() -> None:
    archive, gone = destination(), destination(name="Gone")
    publish(send_rule(archive, gone))
    gone.delete()
    study = study_of()
    route_study(study.pk)
    assert deliveries(study) == [("Archive", "QUEUED", 1)]
    assert case("rule_error").reason_code == "NO_DESTINATION"


def _that_sent(ae_title: str) -> Destination:
    """A destination on the device that also sends to us."""
    device = make_ae(ae_title).device
    archive = destination()
    Destination.objects.filter(pk=archive.pk).update(device=device)
    archive.refresh_from_db()
    return archive


def test_a_study_does_not_return_to_the_device_it_came_from() -> None:
    origin = _that_sent("ARCHIVE_OUT")
    publish(send_rule(origin, destination(name="Reader")))
    study = study_of(calling_ae_title="ARCHIVE_OUT")
    route_study(study.pk)
    assert deliveries(study) == [("Reader", "QUEUED", 1)]
    assert not ExceptionCase.objects.exists()


def test_a_corrected_study_may_return_to_the_device_it_came_from() -> None:
    origin = _that_sent("ARCHIVE_OUT")
    publish(send_rule(origin))
    study = study_of(calling_ae_title="ARCHIVE_OUT", accession_number="WRONG")
    route_study(study.pk)
    assert deliveries(study) == [("Archive", "QUEUED", 1)]


def test_a_person_may_send_a_study_back_and_is_recorded() -> None:
    origin = _that_sent("ARCHIVE_OUT")
    study = study_of(calling_ae_title="ARCHIVE_OUT")
    route_study(study.pk)
    user = make_user()
    [made] = send_study(study=study, destinations=[origin], user=user, reason="Asked for")
    assert (made.rule, made.priority) == ("", "urgent")
    event = WorkflowEvent.objects.get(name="delivery.queued")
    assert (event.actor_name, event.reason) == (user.username, "Asked for")
    assert case("no_route").status == CaseStatus.RESOLVED


def test_a_person_who_sends_again_revives_what_failed_or_was_canceled() -> None:
    study, archive, user = study_of(instances=2), destination(), make_user()
    [made] = send_study(study=study, destinations=[archive], user=user, reason="one")
    finish(made, DeliveryStatus.FAILED)
    [again] = send_study(study=study, destinations=[archive], user=user, reason="two")
    again.refresh_from_db()
    assert (again.pk, again.status, again.attempts) == (made.pk, "RETRYING", 0)
    assert set(again.instances.values_list("status", flat=True)) == {"QUEUED"}
    cancel(again, reason="no")
    send_study(study=study, destinations=[archive], user=user, reason="three")
    again.refresh_from_db()
    assert again.status == "RETRYING"


def test_late_instances_extend_a_delivery_that_had_finished() -> None:
    publish(send_rule(destination()))
    order = make_order()
    study = receive(image(order))
    match(study, order)
    route_study(study.pk)
    delivery = Delivery.objects.get()
    finish(delivery)
    receive(image(order, number=2))
    route_study(study.pk)
    delivery.refresh_from_db()
    assert (delivery.status, delivery.attempts) == ("QUEUED", 0)
    assert delivery.next_attempt_at is not None
    assert sorted(delivery.instances.values_list("status", flat=True)) == ["QUEUED", "SENT"]


def test_late_instances_do_not_revive_what_a_person_has_canceled() -> None:
    publish(send_rule(destination()))
    order = make_order()
    study = receive(image(order))
    match(study, order)
    route_study(study.pk)
    cancel(Delivery.objects.get(), reason="not wanted")
    receive(image(order, number=2))
    route_study(study.pk)
    assert deliveries(study) == [("Archive", "CANCELED", 2)]


def test_other_corrections_are_another_rendition_with_a_delivery_of_its_own() -> None:
    publish(send_rule(destination()))
    study = study_of(accession_number="WRONG")
    route_study(study.pk)
    study.claims.get().corrections.update(new="A-CORRECTED")
    route_study(study.pk)
    assert len({each.rendition for each in Delivery.objects.all()}) == 2


# --- undone ---------------------------------------------------------------------------------------------


def _undone(study: Study) -> IdentityClaim:
    claim = study.claims.get()
    hold(claim)
    withdraw_claim(claim.pk)
    return claim


def test_an_undone_decision_cancels_what_waits_and_asks_about_what_has_arrived() -> None:
    archive, reader = destination(), destination(name="Reader")
    publish(send_rule(archive, reader))
    study = study_of(instances=2)
    route_study(study.pk)
    finish(Delivery.objects.get(destination=archive))
    for _ in range(2):
        _undone(study)
    assert deliveries(study) == [("Archive", "SENT", 2), ("Reader", "CANCELED", 2)]
    found = case("already_delivered")
    assert (found.subject_id, found.claim) == (Delivery.objects.get(destination=archive).pk, study.claims.get())
    assert "Archive" in found.summary


def test_a_match_that_fell_with_its_order_asks_in_words_that_blame_nobody() -> None:
    publish(send_rule(destination()))
    order = make_order()
    study = make_study(order)
    reconcile_study(study.pk)
    route_study(study.pk)
    finish(Delivery.objects.get())
    order.accession_number = "OTHER"
    order.save()
    rematch_for_order(order.pk)
    for owed in Subscription.objects.filter(event_name="claim.unmatched"):
        run_subscription(owed.pk)
    found = case("already_delivered")
    assert found.reason_code == "UNMATCHED_AFTER_DELIVERY"
    assert found.summary == "The match was taken back after Archive had got the images."


@pytest.mark.parametrize("half", [DeliveryStatus.SENT, DeliveryStatus.UNKNOWN])
def test_an_undone_decision_asks_about_a_destination_that_has_only_a_part(half: DeliveryStatus) -> None:
    publish(send_rule(destination()))
    study = study_of(instances=2)
    route_study(study.pk)
    first = DeliveredInstance.objects.earliest("pk")
    DeliveredInstance.objects.filter(pk=first.pk).update(status=half)
    _undone(study)
    assert deliveries(study) == [("Archive", "CANCELED", 2)]
    assert case("already_delivered").status == CaseStatus.OPEN


def test_a_withdrawn_claim_leaves_its_neighbour_in_the_same_delivery() -> None:
    publish(send_rule(destination()))
    study = study_of(instances=2)
    order = study.claims.get().order
    neighbour = make_claim(
        study, instances=3, identity=Identity.MATCHED, order=order, matched_patient=order and order.patient
    )
    first = study.claims.exclude(pk=neighbour.pk).get()
    route_study(study.pk)
    assert deliveries(study) == [("Archive", "QUEUED", 5)]
    hold(first)
    withdraw_claim(first.pk)
    delivery = Delivery.objects.get()
    assert delivery.status == "QUEUED"
    assert set(delivery.instances.filter(status="CANCELED").values_list("instance__claim", flat=True)) == {first.pk}


def test_matched_anew_what_was_withdrawn_goes_after_all() -> None:
    publish(send_rule(destination()))
    study = study_of(instances=2)
    order = study.claims.get().order
    route_study(study.pk)
    finish(Delivery.objects.get())
    DeliveredInstance.objects.filter(pk=DeliveredInstance.objects.earliest("pk").pk).update(status="QUEUED")
    Delivery.objects.update(status="RETRYING")
    _undone(study)
    assert order is not None
    match(study, order)
    route_study(study.pk)
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.attempts) == ("RETRYING", 0)
    assert sorted(delivery.instances.values_list("status", flat=True)) == ["QUEUED", "SENT"]
    assert case("already_delivered").status == CaseStatus.RESOLVED


def test_an_undo_that_is_heard_after_a_new_match_withdraws_the_old_rendition_alone() -> None:
    publish(send_rule(destination()))
    study = study_of(accession_number="WRONG")
    route_study(study.pk)
    old = Delivery.objects.get()
    finish(old)
    claim = study.claims.get()
    match(study, make_order())
    route_study(study.pk)
    withdraw_claim(claim.pk)
    new = Delivery.objects.exclude(pk=old.pk).get()
    assert new.status == "QUEUED"
    assert case("already_delivered").subject_id == old.pk
