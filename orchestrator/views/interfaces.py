"""Interfaces and their messages: who talks to us, what they sent, what became of it."""

from collections.abc import Callable
from typing import Any

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods

from orchestrator import selectors
from orchestrator.audit import record_access
from orchestrator.forms import CallerForm, ReasonForm
from orchestrator.hl7 import validation
from orchestrator.models import ApplicationEntity, HL7Application, InboundMessage, UnknownCaller
from orchestrator.permissions import Viewer, can, can_everywhere, require, require_everywhere, visible_to
from orchestrator.services import messages, peers
from orchestrator.states import IllegalTransition, InboundStatus

from . import lists, replies, saved, searches, viewer_of

_UNKNOWN = 50
_LIST = "/interfaces/"
# Set aside, refused or given up: whoever looks at them wants to know whose fault it is.
_FAILED = (InboundStatus.QUARANTINED, InboundStatus.REJECTED)
_SEPARATORS = 5  # MSH-1 and MSH-2: the field separator and the encoding characters


@require_GET
def interface_list(request: HttpRequest) -> HttpResponse:
    """HL7 applications, DICOM peers, and callers that nobody has introduced."""
    viewer = viewer_of(request)
    require(viewer, "interfaces.view")
    applications = visible_to(HL7Application.objects.select_related("site"), viewer, "interfaces.view")
    applications = applications.annotate(aside=_with(InboundStatus.QUARANTINED), waiting=_with(InboundStatus.WAITING))
    entities = visible_to(
        ApplicationEntity.objects.select_related("device__site", "default_issuer"), viewer, "interfaces.view"
    )
    # Who nobody knows belongs to no site: only who sees all sites sees them.
    everywhere = viewer.sites_for("interfaces.view") is None
    unknown = list(UnknownCaller.objects.order_by("-last_seen_at")[:_UNKNOWN]) if everywhere else []
    rows = list(applications.order_by("name"))
    context = {
        "section": "interfaces",
        "heading": "Interfaces",
        "applications": rows,
        "entities": list(entities.order_by("ae_title")),
        "unknown": unknown,
        "may_see_messages": can(viewer, "messages.view"),
        "may_introduce": can_everywhere(viewer, "interfaces.edit"),
    }
    version = (
        [(each.pk, each.last_message_at, each.aside, each.waiting) for each in rows],
        [(each.pk, each.count) for each in unknown],
    )
    part = "orchestrator/_interfaces.html"
    return replies.page(request, "orchestrator/interfaces.html", part, context, version=version, minute=lists.minute())


def _with(status: InboundStatus) -> Coalesce:
    """How many messages of an interface are in this state; a join would read all that ever came."""
    mine = InboundMessage.objects.filter(interface=OuterRef("pk"), status=status).order_by().values("interface")
    return Coalesce(Subquery(mine.annotate(number=Count("*")).values("number")), 0)


@require_http_methods(["GET", "POST"])
def introduce(request: HttpRequest, pk: int) -> HttpResponse:
    """Let an unknown caller in from now on. For those who look after all sites: it belongs to none yet."""
    viewer = viewer_of(request)
    require_everywhere(viewer, "interfaces.edit")
    caller = UnknownCaller.objects.filter(pk=pk).first()
    if caller is None:
        return replies.done(request, "Nothing was changed: somebody let it in meanwhile.", to=_LIST, colour="wait")
    form = CallerForm(request.POST or None, viewer=viewer)
    if form.is_valid():
        peers.introduce(caller, **form.cleaned_data)
        return replies.done(request, f"{caller.name} may talk to us.", to=_LIST)
    times = "once" if caller.count == 1 else f"{caller.count:,} times"
    return replies.confirm(
        request, form, heading=f"Let {caller.name} in?", submit="Let in", icon="plus", back=_LIST,
        sentence=f"{caller.get_protocol_display()} from {caller.address}, {times} so far. "
        "Make sure by telephone or in the network plan that this is who it says.",
    )  # fmt: skip


def narrowed(queryset: QuerySet[InboundMessage], asked: QueryDict, site: str) -> QuerySet[InboundMessage]:
    """The messages that the filters of an address leave."""
    if asked.get("status", "") in InboundStatus.values:
        queryset = queryset.filter(status=asked["status"])
    for name, value in (("interface_id", asked.get("interface", "")), ("site_id", site)):
        if (key := selectors.number_of(value)) is not None:
            queryset = queryset.filter(**{name: key})
    return queryset


def matching(viewer: Viewer, asked: QueryDict) -> QuerySet[InboundMessage]:
    """The messages that the list shows under an address with these filters."""
    return narrowed(selectors.messages(viewer), asked, asked.get("site", ""))


LIST = saved.ListPage("/messages/", "messages.view", matching)


@require_http_methods(["GET", "POST"])
def message_list(request: HttpRequest) -> HttpResponse:
    """Messages, the last first. A POST is a search."""
    viewer = viewer_of(request)
    require(viewer, "messages.view")
    if request.method == "POST":
        return searches.remember(request, "/messages/")
    if begin := saved.default_of(request, "messages"):
        return begin
    text, site = searches.text_of(request), lists.site_filter(request)
    status, interface = request.GET.get("status", ""), request.GET.get("interface", "")
    queryset = narrowed(selectors.messages(viewer, text), request.GET, site)
    # The bytes are for the message's own page.
    found = lists.page_of(
        request, queryset.defer("raw", "ack"), "received_at",
        among=narrowed(selectors.messages(viewer), request.GET, site), is_live=True,
    )  # fmt: skip
    applications = visible_to(HL7Application.objects.order_by("name"), viewer, "messages.view")
    shown = lists.live(request, found, selectors.messages(viewer).defer("raw", "ack"))
    context = {
        "section": "messages",
        "heading": "Messages",
        "found": found,
        **shown,
        "text": text,
        "views": saved.tabs(request, "messages"),
        "groups": [
            lists.links(request, "status", "State", [(state.value, state.label) for state in InboundStatus]),
            lists.links(request, "interface", "Interface", [(str(each.pk), each.name) for each in applications]),
        ],
        "clear": "/messages/?site=all" if text or site or status or interface else "",
    }
    version = (request.GET.get("after"), shown["fresh"], *(
        (message.pk, message.status, message.error) for message in shown["rows"]
    ))  # fmt: skip
    return replies.page(
        request, "orchestrator/messages.html", "orchestrator/_messages.html", context, version=version,
        minute=lists.minute(),
        looked=replies.Look("messages.view", "message", len(shown["rows"])),
    )  # fmt: skip


@require_GET
def message_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One message: as it came, field by field, what was answered, and what it made."""
    viewer = viewer_of(request)
    require(viewer, "messages.view")
    message = get_object_or_404(
        selectors.messages(viewer).select_related("patient", "order", "duplicate_of", "waits_for"), pk=pk
    )
    record_access(viewer, "messages.view", "message", subject_id=str(pk), address=request.META.get("REMOTE_ADDR"))
    context = {
        "section": "messages",
        "message": message,
        "raw": _lines(bytes(message.raw)),
        "ack": _lines(bytes(message.ack)),
        "segments": _segments(message),
        "failed": message.status in _FAILED,
        "faults": _faults(message) if message.status in _FAILED else [],
        "cases": list(visible_to(message.cases.all(), viewer, "exceptions.view"))
        if can(viewer, "exceptions.view")
        else [],
        "may_settle": message.status == InboundStatus.QUARANTINED and can(viewer, "messages.replay", message.site_id),
    }
    return replies.page(request, "orchestrator/message.html", "orchestrator/_message.html", context)


def _settle(
    request: HttpRequest, pk: int, settle: Callable[..., None], done: str, asked: dict[str, Any]
) -> HttpResponse:
    """Ask why, and do it to a message that was set aside; what somebody else settled meanwhile is said."""
    viewer = viewer_of(request)
    require(viewer, "messages.replay")
    message = get_object_or_404(selectors.messages(viewer), pk=pk)
    require(viewer, "messages.replay", message.site_id)
    back = reverse("message", args=[pk])
    form = ReasonForm(request.POST or None)
    if not form.is_valid():
        return replies.confirm(request, form, back=back, **asked)
    try:
        settle(message, reason=form.cleaned_data["reason"])
    except IllegalTransition:
        return replies.done(request, "Nothing was changed: it is no longer set aside.", to=back, colour="wait")
    return replies.done(request, done, to=back)


@require_http_methods(["GET", "POST"])
def replay(request: HttpRequest, pk: int) -> HttpResponse:
    """Apply a message that was set aside once more, as it came."""
    return _settle(
        request, pk, messages.replay, "The message is looked at once more.",
        {"heading": "Apply this message again?", "submit": "Apply again", "icon": "retry",
         "sentence": "As it came, with the tables and rules of now. What waits behind it goes on when it is applied."},
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def dismiss(request: HttpRequest, pk: int) -> HttpResponse:
    """Give a message up; what waited behind it goes on."""
    return _settle(
        request, pk, messages.dismiss, "The message is given up; what waited behind it goes on.",
        {"heading": "Give this message up?", "submit": "Give up", "icon": "ban", "danger": True,
         "sentence": "It is kept as it came and never applied. What waits behind it goes on without it."},
    )  # fmt: skip


def _lines(raw: bytes) -> list[str]:
    """The text for the eye: one segment a line; bytes that are not UTF-8 are shown as such, never dropped."""
    return (
        raw.decode("utf-8", errors="backslashreplace").replace("\r\n", "\r").replace("\n", "\r").strip("\r").split("\r")
    )


def _faults(message: InboundMessage) -> list[str]:
    charset = message.interface.default_charset if message.interface else ""
    return validation.faults(bytes(message.raw), default_charset=charset)


def _segments(message: InboundMessage) -> list[dict[str, Any]]:
    """Each segment's fields that carry something, numbered as the standard does (HL7 v2.5.1, 2.5.3)."""
    lines = _lines(bytes(message.raw))
    separator = lines[0][3:4] if lines[0].startswith("MSH") and len(lines[0]) >= _SEPARATORS else "|"
    segments = []
    for line in lines:
        name, *fields = line.split(separator)
        # MSH-1 is the separator itself, so what follows it is MSH-2.
        first = 2 if name == "MSH" else 1
        named = [(f"{name}-{number}", value) for number, value in enumerate(fields, first) if value]
        segments.append({"name": name[:10], "fields": named})
    return segments
