"""The control room: five rails with what flows, what is late and what waits for a person; and what needs me."""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.db.models import Count, Min, Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_GET

from orchestrator import selectors
from orchestrator.models import ExceptionCase, IdentityClaim, InboundMessage, Patient, ScheduledProcedureStep, Study
from orchestrator.models import ImagingServiceRequest as Order
from orchestrator.permissions import Viewer, can, require, visible_to
from orchestrator.services.exceptions import case_kinds
from orchestrator.states import ACQUISITIONS, CASE_OPEN, STEP_ON_WORKLIST, Custody, Identity, InboundStatus

from . import lists, pulse, replies, shell, viewer_of

_MINE = 10
# The rail on which a kind of case waits; what is not named stands on Images.
_KINDS = {
    "Orders": ("hl7_quarantine", "hl7_rejected", "unknown_sender"),
    "Worklist": ("mpps_conflict", "wrong_worklist_entry"),
    "Identity": ("unmatched_study", "patient_conflict", "ambiguous_match", "study_uid_conflict"),
}


def _cases(viewer: Viewer) -> dict[str, dict[str, tuple[int, dt.datetime]]]:
    """Cases that wait, by rail and kind: how many, and since when the oldest."""
    grouped = (
        selectors.cases(viewer)
        .values_list("kind")
        .annotate(number=Count("*"), oldest=Min("opened_at"))
        .order_by("kind")
    )
    by_kind = {kind: (number, oldest) for kind, number, oldest in grouped}
    waiting = {rail: {kind: by_kind.pop(kind) for kind in kinds if kind in by_kind} for rail, kinds in _KINDS.items()}
    return {**waiting, "Images": by_kind}


def _messages(viewer: Viewer, since: dt.datetime) -> dict[str, Any]:
    """Messages of the hour, and those that are not settled whenever they came."""
    unsettled = Q(status__in=[InboundStatus.RECEIVED, InboundStatus.WAITING, InboundStatus.QUARANTINED])
    recent = visible_to(InboundMessage.objects.filter(received_at__gte=since), viewer, "control_room.view")
    open_ = visible_to(InboundMessage.objects.filter(unsettled), viewer, "control_room.view")
    counts = recent.aggregate(hour=Count("*"), refused=Count("received_at", filter=Q(status=InboundStatus.REJECTED)))
    return {**counts, "queue": selectors.count_up_to(open_)}


def _rails(viewer: Viewer, cases: Mapping[str, Mapping[str, tuple[int, dt.datetime]]]) -> list[dict[str, Any]]:
    """What each rail did in the last hour, from our own rows; numbers only, no names."""
    since = timezone.now() - dt.timedelta(hours=1)

    def mine(queryset: Any) -> Any:
        return visible_to(queryset, viewer, "control_room.view")

    messages = _messages(viewer, since)
    steps = mine(ScheduledProcedureStep.objects.filter(start_date=timezone.localdate())).aggregate(
        today=Count("*"), open=Count("start_date", filter=Q(status__in=STEP_ON_WORKLIST))
    )
    studies = mine(Study.objects.filter(last_received_at__gte=since)).count()
    incomplete = mine(ExceptionCase.objects.filter(kind="incomplete_study", status__in=CASE_OPEN)).count()
    receiving = mine(Study.objects.filter(custody=Custody.RECEIVING, quiet_until__isnull=False)).count()
    pending, held = (
        # What an AI box made of images, or came back to us, needs no order and is compared with none.
        selectors.count_up_to(mine(IdentityClaim.objects.filter(identity=each, purpose__in=ACQUISITIONS)))
        for each in (Identity.PENDING, Identity.HELD)
    )
    rows = [
        ("Identity", "users", mine(Patient.objects.filter(created_at__gte=since)).count(), "new patients",
         pending, "claims to compare", held, "held"),
        ("Orders", "order", mine(Order.objects.filter(created_at__gte=since)).count(),
         f"orders, {messages['hour']} message{'s' * (messages['hour'] != 1)}",
         messages["queue"], "messages not settled", messages["refused"], "refused"),
        ("Worklist", "worklist", steps["today"], "steps today", steps["open"], "still to do", 0, ""),
        ("Images", "image", studies, "studies", receiving, "arriving now", incomplete, "incomplete"),
        ("Results", "result", None, "no reports come here yet", None, "", None, ""),
    ]  # fmt: skip
    return [
        {
            "name": name, "icon": icon, "hour": hour, "what": what, "queue": queue, "queued": queued,
            "errors": errors, "failed": failed,
            "waiting": sum(number for number, _ in cases.get(name, {}).values()),
            "oldest": min((oldest for _, oldest in cases.get(name, {}).values()), default=None),
            "kinds": ",".join(cases.get(name, {})),
        }
        for name, icon, hour, what, queue, queued, errors, failed in rows
    ]  # fmt: skip


def _needs_me(viewer: Viewer) -> list[dict[str, Any]]:
    """The viewer's own cases and those that nobody has, by due time."""
    if not can(viewer, "exceptions.view"):
        return []
    found = selectors.cases(viewer).filter(Q(owner_id=viewer.user_id) | Q(owner=None)).select_related("site", "owner")
    kinds = case_kinds()

    def label(case: ExceptionCase) -> str:
        return kinds[case.kind].label if case.kind in kinds else case.kind

    return [{"case": case, "kind": label(case)} for case in found.order_by("due_at", "pk")[:_MINE]]


@require_GET
def room(request: HttpRequest) -> HttpResponse:
    """The first page. It names no patient."""
    viewer = viewer_of(request)
    require(viewer, "control_room.view")
    waiting = _cases(viewer) if can(viewer, "exceptions.view") else {}
    rails, cases = _rails(viewer, waiting), _needs_me(viewer)
    flows, takes, changed = pulse.pulses(viewer), pulse.latencies(viewer), pulse.changed(viewer)
    for rail in rails:
        rail |= {"pulse": flows.get(rail["name"]), "takes": takes.get(rail["name"])}
    context = {
        "section": "control-room",
        "heading": "Control room",
        "subtitle": f"{timezone.localtime():%A %d %B, %H:%M}",
        "rails": rails,
        "rows": cases,
        "changed": changed,
        "may_see_cases": can(viewer, "exceptions.view"),
        "nav": shell.navigation(
            viewer, {kind: number for kinds in waiting.values() for kind, (number, _) in kinds.items()}
        ),
    }
    version = (
        rails,
        [(entry["at"], entry["text"]) for entry in changed],
        [(row["case"].pk, row["case"].status) for row in cases],
    )
    return replies.page(
        request, "orchestrator/room.html", "orchestrator/_room.html", context, version=version, minute=lists.minute()
    )
