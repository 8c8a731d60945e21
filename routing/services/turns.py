"""Whose turn it is: workers are shared fairly among destinations, and a peer that does not answer costs little.

A bell in the queue says only that something waits. Whoever hears it asks here where to go: urgent work first, then
where nobody was for the longest. A peer that could not be talked to is left alone for a while, ever longer, and of all
such peers one at a time is tried: the other workers stay with those that answer (promise 4).
"""

from datetime import timedelta

from django.db import transaction
from django.db.models import Case, Exists, F, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Now

from orchestrator.services import leases
from orchestrator.services.exceptions import open_case, resolve_about
from orchestrator.services.workflow import ring
from orchestrator.states import DELIVERY_TRIED
from routing.models import Delivery, Destination, Line

# As long as a peer needs at most to be found silent: the connection, and the answer to the association's request.
_FINDING_OUT = timedelta(seconds=30)
# The back-off of a peer that does not answer, in seconds: the first wait, and the longest.
_FIRST, _LONGEST = 5.0, 300.0
# After so many failures in a row, some minutes, a person is told; what waits goes on waiting.
_UNTIL_CASE = 6
_RANK = Case(When(priority="urgent", then=Value(0)), When(priority="offpeak", then=Value(2)), default=Value(1))


def may_be_tried() -> QuerySet[Delivery]:
    """Deliveries that are not finished, to destinations that are not paused."""
    return Delivery.objects.filter(status__in=DELIVERY_TRIED, destination__paused=False)


def due() -> QuerySet[Delivery]:
    """Deliveries that may be tried now, in the order in which one destination gets them."""
    return leases.due(may_be_tried()).order_by(_RANK, "next_attempt_at", "pk")


def open_lines() -> QuerySet[Line]:
    """Lines on which something may be sent now, in the order of their turns."""
    waiting = due().filter(destination=OuterRef("destination")).order_by()
    urgent, normal = waiting.filter(priority="urgent"), waiting.filter(priority="normal")
    lines = leases.due(Line.objects.filter(Exists(waiting))).annotate(urgent=Exists(urgent), normal=Exists(normal))
    return lines.order_by("-urgent", "-normal", F("served_at").asc(nulls_first=True), "pk")


def next_turn() -> Destination | None:
    """Where a worker goes now; None when there is nothing that it may do."""
    lines = list(open_lines().select_related("destination"))
    # Of those that do not answer the one that did so last is the likeliest to do so again.
    silent_ones = iter(sorted((each for each in lines if each.attempts), key=lambda each: each.attempts))
    for line in (next(silent_ones) if each.attempts else each for each in lines):
        if _take(line):
            return line.destination
    return None


def _take(line: Line) -> bool:
    """Whether this worker was the first; one conditional update, as leases.take."""
    mine = leases.due(Line.objects.filter(pk=line.pk, fence=line.fence))
    if not line.attempts:
        return bool(mine.update(served_at=Now(), fence=F("fence") + 1))
    being_tried = Line.objects.filter(attempts__gt=0, lease_until__gt=Now())
    until = Now() + _FINDING_OUT
    return bool(mine.filter(~Exists(being_tried)).update(served_at=Now(), fence=F("fence") + 1, lease_until=until))


def should_give_way(delivery: Delivery) -> bool:
    """Whether a worker that is long at this should go: to another peer, or to something urgent for this one."""
    mine = Q(destination=delivery.destination_id)
    if delivery.priority != "urgent" and due().filter(mine, priority="urgent").exists():
        return True
    return open_lines().exclude(mine).exists()


@transaction.atomic
def answered(destination: Destination) -> None:
    """The peer can be talked to."""
    changed = Line.objects.filter(destination=destination, attempts__gt=0).update(
        attempts=0, lease_until=None, next_attempt_at=Now(), last_error=""
    )
    if changed:
        resolve_about("destination_silent", about=destination, resolution="it answers again")


@transaction.atomic
def silent(destination: Destination, error: str) -> None:
    """The peer could not be talked to: it is left alone for a while, and in the end a person is told."""
    line = Line.objects.select_for_update(of=("self",), no_key=True).get(destination=destination)
    line.attempts += 1
    Line.objects.filter(pk=line.pk).update(
        attempts=line.attempts, lease_until=None, last_error=error,
        next_attempt_at=Now() + leases.backoff(line.attempts, base=_FIRST, cap=_LONGEST),
    )  # fmt: skip
    if line.attempts >= _UNTIL_CASE:
        waiting = may_be_tried().filter(destination=destination).count()
        open_case(
            "destination_silent",
            about=destination,
            reason_code="DESTINATION_SILENT",
            summary=f"{destination} could not be talked to {line.attempts} times in a row: {error} {waiting} wait.",
            site=destination.device.site,
            source=destination.name,
        )


def try_now(destination: Destination) -> None:
    """Somebody has reason to think that the peer answers: it need not wait for its time."""
    Line.objects.filter(destination=destination).update(lease_until=None, next_attempt_at=Now())
    ring("routing.tasks.deliver")


def ring_due(workers: int) -> None:
    """Ring for what waits, no more often than there are workers and places to go."""
    for _ in open_lines().values_list("pk")[:workers]:
        ring("routing.tasks.deliver")
