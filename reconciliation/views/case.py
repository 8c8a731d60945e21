"""One case: what was received beside what was ordered, what a match would change, and what happened so far."""

from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, Max, Min, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_GET

from orchestrator.audit import record_access
from orchestrator.models import Decision, ExceptionCase, WorkflowEvent
from orchestrator.permissions import Viewer, can, require, visible_to
from orchestrator.selectors import cases
from orchestrator.states import CASE_OPEN, CaseStatus
from orchestrator.templatetags import moments
from orchestrator.views import events, presence, recent, replies, viewer_of
from reconciliation.services.decisions import REJECT_CODES
from reconciliation.services.reconcile import HELD_KINDS

from . import candidates, queue, seen

_HISTORY = 100
_PLACES = 1000
_DOING = "is reading this case"


def find_case(viewer: Viewer, pk: int) -> ExceptionCase:
    """The case with all that its page shows; 404 when the viewer may not see it."""
    return get_object_or_404(
        visible_to(
            ExceptionCase.objects.select_related(
                "owner", "site", "patient", "study", "claim__study__site", "claim__order", "message", "order"
            ),
            viewer,
            "exceptions.view",
        ),
        pk=pk,
    )


def _headers(case: ExceptionCase) -> list[tuple[str, str, str]]:
    """The headers that identify, as received: name, value, tag."""
    claim = case.claim
    if claim is None:
        return []
    return [
        ("Patient ID", claim.patient_id, "0010,0020"),
        ("Issuer", claim.issuer or claim.issuer_universal_id, "0010,0021"),
        ("Birth date", moments.iso_date(claim.birth_date), "0010,0030"),
        ("Sex", claim.sex, "0010,0040"),
        ("Accession", claim.accession_number, "0008,0050"),
        ("Modality", claim.modality, "0008,0060"),
        ("Study description", claim.study_description, "0008,1030"),
        ("Study date", moments.iso_date(claim.study_date), "0008,0020"),
        ("Study time", moments.iso_time(claim.study_time), "0008,0030"),
        ("Station", claim.station_name, "0008,1010"),
        ("Requested procedure", claim.requested_procedure_id, "0040,1001"),
        ("Scheduled step", claim.sps_id, "0040,0009"),
        ("Study UID", claim.study.study_instance_uid, "0020,000D"),
    ]


def _history(case: ExceptionCase) -> list[dict[str, Any]]:
    """What happened to the case and its claim, newest first."""
    about = WorkflowEvent.objects.filter(subject_type="exceptioncase", subject_id=case.pk)
    if case.claim_id:
        about |= WorkflowEvent.objects.filter(subject_type="identityclaim", subject_id=case.claim_id)
    return [events.entry(event) for event in about.order_by("-at", "-pk")[:_HISTORY]]


def _place(viewer: Viewer, case: ExceptionCase) -> dict[str, int | None]:
    """Where the case stands among those that wait, and the ones before and after it."""
    keys = list(cases(viewer).order_by("due_at", "pk").values_list("pk", flat=True)[:_PLACES])
    if case.pk not in keys:
        return {}
    place = keys.index(case.pk)
    return {
        "number": place + 1,
        "of": len(keys),
        "previous": keys[place - 1] if place else None,
        "next": keys[place + 1] if place + 1 < len(keys) else None,
    }


def _decision(case: ExceptionCase) -> Decision | None:
    """The decision in force that this case led to."""
    if case.claim_id is None:
        return None
    return case.decisions.filter(undone_at=None).select_related("by").first()


@require_GET
def case_page(request: HttpRequest, pk: int) -> HttpResponse:
    """The case. `?order=` chooses the candidate whose consequences are shown; else it is the best one."""
    viewer = viewer_of(request)
    require(viewer, "exceptions.view")
    case = find_case(viewer, pk)
    is_open = case.status in CASE_OPEN
    held = case.kind in HELD_KINDS
    taken = case.status == CaseStatus.CLAIMED and case.owner_id != viewer.user_id
    may = is_open and can(viewer, "exceptions.resolve", case.site_id)
    ranked = candidates.ranked(viewer, case) if held and is_open else []
    chosen = candidates.chosen(ranked, request.GET.get("order", ""))
    decision = _decision(case)
    stamp, here = seen.stamp(case), reverse("case-presence", args=[pk])
    record_access(viewer, "exceptions.view", "case", subject_id=str(pk), address=request.META.get("REMOTE_ADDR"))
    recent.remember(request, "case", pk)
    context = {
        "section": "exceptions",
        "case": case,
        "kind": queue.kind_label(case.kind),
        "owner": (case.owner.get_full_name() or case.owner.username) if case.owner else "",
        "mine": case.owner_id == viewer.user_id,
        "is_open": is_open,
        "held": held,
        "may_resolve": may and not taken,
        "may_take_over": may and taken,
        "may_undo": can(viewer, "exceptions.resolve", case.site_id),
        "may_see_message": bool(case.message_id) and can(viewer, "messages.view", case.site_id),
        "headers": _headers(case),
        "received": _received(case),
        "candidates": ranked,
        "chosen": chosen,
        "preview": candidates.preview(viewer, case, chosen) if chosen else None,
        "seen": stamp,
        "presence": presence.told(request, case, url=f"{here}?{urlencode({'seen': stamp})}", doing=_DOING),
        "settled": None if is_open else candidates.settled(viewer, case),
        "decision": decision,
        "code": REJECT_CODES.get(decision.parameters.get("code", ""), "") if decision else "",
        "log": _history(case),
        "place": _place(viewer, case),
        "detail": [
            (name.replace("_", " ").capitalize(), _words(value)) for name, value in case.detail.items() if value
        ],
    }
    return replies.page(request, "reconciliation/case.html", "reconciliation/_case.html", context)


def _words(value: object) -> str:
    """What the opener of the case saw, as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_words(each)}" for name, each in value.items() if each)
    return "; ".join(map(_words, value)) if isinstance(value, list) else str(value)


def _received(case: ExceptionCase) -> dict[str, Any]:
    """How the images came: how many, how large, from where and when."""
    if case.claim is None:
        return {}
    return case.claim.instances.aggregate(
        number=Count("*"), bytes=Sum("size"), first=Min("received_at"), last=Max("received_at"), address=Min("address")
    )


@require_GET
def who_is_here(request: HttpRequest, pk: int) -> HttpResponse:
    """Polled by an open case: who else reads it now, and what changed since the `?seen=` that it shows."""
    viewer = viewer_of(request)
    require(viewer, "exceptions.view")
    case = find_case(viewer, pk)
    news = seen.news(case, request.GET.get("seen", ""))
    return presence.answer(request, case, doing=_DOING, news=news, show=reverse("case", args=[pk]))
