"""Destinations: the list, one with what goes there, and what a person does with it."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.forms import BaseForm
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from orchestrator.forms import ReasonForm
from orchestrator.models import ActorKind
from orchestrator.permissions import Viewer, can, require
from orchestrator.views import lists, presence, recent, replies, viewer_of
from routing import selectors
from routing.forms import ChangedDestinationForm, NewDestinationForm
from routing.models import Destination
from routing.services import deliver
from routing.services import destinations as service

_RECENT = 20  # deliveries and changes on a destination's page
_ECHOES = 5
_REASONS = 5
_DOING = "has this destination open"
_COLUMNS = {
    "name": "Name", "ae_title": "AE title", "host": "Host", "port": "Port",
    "required_for_custody": "Required for custody", "paused": "Paused",
}  # fmt: skip


@require_GET
def destination_list(request: HttpRequest) -> HttpResponse:
    """Where studies go, with what waits and what failed there."""
    viewer = viewer_of(request)
    require(viewer, "destinations.view")
    rows = selectors.destinations_at_work(viewer)
    context = {
        "section": "destinations",
        "heading": "Destinations",
        "subtitle": "where studies are sent",
        "rows": rows,
        "may_edit": can(viewer, "destinations.edit"),
    }
    version = [(_written(row.destination), row[1:]) for row in rows]
    return replies.page(
        request, "routing/destinations.html", "routing/_destinations.html", context, version=version,
        minute=lists.minute(),
    )  # fmt: skip


def _written(destination: Destination) -> tuple[object, ...]:
    """What a person wrote of it, and whether it answers."""
    line = destination.line
    return (destination.pk, line.attempts, line.next_attempt_at, *(getattr(destination, name) for name in _COLUMNS))


@require_GET
def destination_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One destination: its address, its last echoes, the last deliveries there, and who changed what."""
    viewer = viewer_of(request)
    require(viewer, "destinations.view")
    at_work = _found(viewer, pk)
    destination = at_work.destination
    recent.remember(request, "destination", pk)
    last = _recent(viewer, destination)
    echoes = list(selectors.echoes(destination)[:_ECHOES])
    changes = _changes(destination.history.order_by("-history_date", "-history_id")[: _RECENT + 1])
    context = {
        "section": "destinations",
        "presence": presence.told(request, destination, url=reverse("destination-presence", args=[pk]), doing=_DOING),
        "destination": destination,
        "at_work": at_work,
        "reasons": selectors.reasons_of_failure(viewer, destination, _REASONS) if at_work.failed else [],
        "rows": last,
        "echoes": [_echo_entry(each) for each in echoes],
        "last_echo": echoes[0] if echoes else None,
        "changes": changes,
        "paused_by": next((each for each in changes if each["paused"]), None) if destination.paused else None,
        "may_edit": can(viewer, "destinations.edit", destination.device.site_id),
        "may_operate": can(viewer, "destinations.operate", destination.device.site_id),
        "may_see_studies": can(viewer, "studies.view"),
    }
    version = (
        _written(destination), at_work[1:], [each.pk for each in echoes],
        changes[0]["key"] if changes else 0, [(each.pk, each.status, each.sent, each.attempts) for each in last],
    )  # fmt: skip
    return replies.page(
        request, "routing/destination.html", "routing/_destination.html", context, version=version,
        minute=lists.minute(),
        looked=replies.Look("deliveries.view", "delivery", len(last)) if last else None,
    )  # fmt: skip


@require_GET
def who_is_here(request: HttpRequest, pk: int) -> HttpResponse:
    """Polled by its page."""
    viewer = viewer_of(request)
    require(viewer, "destinations.view")
    return presence.answer(request, _found(viewer, pk).destination, doing=_DOING)


def _found(viewer: Viewer, pk: int) -> selectors.AtWork:
    found = selectors.destinations_at_work(viewer, pk)
    if not found:
        raise Http404
    return found[0]


def _recent(viewer: Viewer, destination: Destination) -> list[Any]:
    """The last deliveries there."""
    if not can(viewer, "deliveries.view"):
        return []
    return list(selectors.deliveries(viewer).filter(destination=destination).order_by("-created_at", "-pk")[:_RECENT])


def _echo_entry(event: Any) -> dict[str, Any]:
    """A C-ECHO as `{% log %}` draws it."""
    well = event.detail.get("ok")
    return {
        "at": event.at,
        "icon": "done" if well else "fail",
        "text": f"Answered in {event.detail.get('milliseconds')} ms" if well else event.detail.get("error"),
        "sub": event.actor_name,
        "colour": "" if well else "bad",
    }


def _changes(rows: Iterable[Any]) -> list[dict[str, Any]]:
    """The history, the last first, as `{% log %}` draws it: which column went from what to what, by whom and why."""
    entries = []
    for row, older in pairwise([*rows, None]):
        if row.history_type == "+":
            words, paused = "Added", False
        elif older is None:
            break  # older than what is shown
        else:
            changed = [name for name in _COLUMNS if getattr(row, name) != getattr(older, name)]
            paused = "paused" in changed and row.paused
            words = "; ".join(_change(name, older, row) for name in changed) or "Saved as it was"
        who = "" if row.actor_kind == ActorKind.SYSTEM else row.actor_name
        reason = f"“{row.history_change_reason}”" if row.history_change_reason else ""
        entries.append(
            {
                "at": row.history_date,
                "icon": "pause" if paused else "plus" if row.history_type == "+" else "gear",
                "text": words,
                "sub": ", ".join(filter(None, [who, reason])),
                "paused": paused,
                "key": row.history_id,
            }
        )
    return entries


def _change(name: str, older: Model, row: Model) -> str:
    before, after = getattr(older, name), getattr(row, name)
    if name == "paused":
        return "Paused" if after else "Resumed"
    if isinstance(after, bool):
        return f"{_COLUMNS[name]}: {'yes' if after else 'no'}"
    return f"{_COLUMNS[name]}: {before} → {after}"


@require_http_methods(["GET", "POST"])
def add(request: HttpRequest) -> HttpResponse:
    """A new destination."""
    viewer = viewer_of(request)
    require(viewer, "destinations.edit")
    form = NewDestinationForm(request.POST or None, viewer=viewer)
    if form.is_valid():
        try:
            with transaction.atomic():
                made = service.create(**form.cleaned_data)
                # It may stand on a device that is known already, at another site than the one chosen.
                require(viewer, "destinations.edit", made.device.site_id)
        except service.Invalid as refusal:
            _tell(form, refusal)
        else:
            return replies.done(request, f"{made} is a destination.", to=_address(made))
    return replies.confirm(
        request, form, context={"section": "destinations", "keep": "Do not add"},
        heading="Add a destination", submit="Add", icon="plus", back=reverse("destinations"),
        sentence="Nothing is sent there until a rule or a person says so.",
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Another name, title, address, or weight."""
    viewer = viewer_of(request)
    at_work = _found(viewer, pk)
    require(viewer, "destinations.edit", at_work.destination.device.site_id)
    destination, waiting = at_work.destination, at_work.waiting
    others = presence.names_present(destination, viewer)
    known = {name: getattr(destination, name) for name in ChangedDestinationForm.base_fields if name != "reason"}
    form = ChangedDestinationForm(request.POST or None, initial=known)
    if form.is_valid():
        try:
            changed = service.change(destination=destination, **form.cleaned_data)
        except service.Invalid as refusal:
            _tell(form, refusal)
        else:
            return replies.done(request, f"{changed} is changed.", to=_address(changed))
    return replies.confirm(
        request, form, context={"section": "destinations"},
        heading=f"Change {destination}", submit="Save", back=_address(destination),
        sentence=f"{', '.join(others)} {_DOING} too: talk before you both change it." if others else "",
        follows=[{"icon": "send", "text": f"{_waiting(waiting)} to the new address."}] if waiting else [],
    )  # fmt: skip


def _waiting(number: int) -> str:
    """The beginning of a sentence."""
    return "1 waiting delivery goes" if number == 1 else f"{number:,} waiting deliveries go"


def _tell(form: BaseForm, refusal: service.Invalid) -> None:
    """What the service refused, at the fields of the form."""
    for name, text in refusal.problems.items():
        form.add_error(name, text)


@require_POST
def echo(request: HttpRequest, pk: int) -> HttpResponse:
    """C-ECHO it now. Takes up to ten seconds where nobody answers."""
    destination = get_object_or_404(Destination.objects.select_related("device"), pk=pk)
    require(viewer_of(request), "destinations.operate", destination.device.site_id)
    heard = service.echo(destination=destination)
    words = f"{destination} answered in {heard.milliseconds} ms." if heard.ok else f"{destination}: {heard.error}"
    return replies.done(request, words, to=_address(destination), colour="good" if heard.ok else "bad", stay=True)


@require_http_methods(["GET", "POST"])
def pause(request: HttpRequest, pk: int) -> HttpResponse:
    """Let deliveries wait. Sent without a reason it is the undo of a resume."""
    return _set_paused(request, pk, paused=True)


@require_http_methods(["GET", "POST"])
def resume(request: HttpRequest, pk: int) -> HttpResponse:
    """Send what waits. Sent without a reason it is the undo of a pause."""
    return _set_paused(request, pk, paused=False)


def _set_paused(request: HttpRequest, pk: int, *, paused: bool) -> HttpResponse:
    viewer = viewer_of(request)
    destination = (at_work := _found(viewer, pk)).destination
    require(viewer, "destinations.operate", destination.device.site_id)
    undoing = request.method == "POST" and "reason" not in request.POST
    form = ReasonForm({"reason": "taken back at once"} if undoing else request.POST or None)
    if form.is_valid():
        if deliver.set_paused(destination, paused=paused, reason=form.cleaned_data["reason"]):
            back = reverse("destination-resume" if paused else "destination-pause", args=[pk])
            words = f"{destination} is {'paused' if paused else 'resumed'}."
            return replies.done(request, words, to=_address(destination), undo_url="" if undoing else back)
        words = f"Nothing was changed: {destination} was {'paused' if paused else 'resumed'} already."
        return replies.done(request, words, to=_address(destination), colour="wait")
    what = {"icon": "clock", "text": "Deliveries wait and are kept; what is being sent now is finished."}
    if not paused:
        what = {"icon": "send", "text": f"{_waiting(at_work.waiting)} out."}
    return replies.confirm(
        request, form, context={"section": "destinations"},
        heading=f"{'Pause' if paused else 'Resume'} {destination}?",
        submit="Pause" if paused else "Resume", icon="pause" if paused else "play", back=_address(destination),
        follows=[what],
    )  # fmt: skip


def _address(destination: Destination) -> str:
    return reverse("destination", args=[destination.pk])
