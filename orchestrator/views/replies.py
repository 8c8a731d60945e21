"""How a view answers: one view, two renderings; a word after each write; a preview before it.

A request of htmx for a part of a page gets the partial; everything else (a plain link, a boosted link to a whole
page, the browser's way back) gets the page that contains it.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.contrib import messages
from django.forms import BaseForm
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified, HttpResponseRedirect
from django.shortcuts import render
from django.utils.http import quote_etag

from orchestrator.audit import record_access
from orchestrator.permissions import Viewer

from . import viewer_of

_LEVELS = {
    "good": messages.SUCCESS, "wait": messages.WARNING, "bad": messages.ERROR, "move": messages.INFO
}  # fmt: skip


class Look(NamedTuple):
    """What somebody sees who is shown a page, as the audit keeps it (`audit.record_access`)."""

    action: str
    subject_type: str
    number_of_records: int = 1
    subject_id: str = ""


def is_fragment(request: HttpRequest) -> bool:
    """Whether htmx asks for a part of a page. htmx 4 says so itself; `full` is what replaces the whole body."""
    headers = request.headers
    return headers.get("HX-Request") == "true" and headers.get("HX-Request-Type") != "full"


def page(
    request: HttpRequest,
    template: str,
    partial: str,
    context: dict[str, Any],
    *,
    status: int = 200,
    version: object = None,
    minute: dt.datetime | None = None,
    looked: Look | None = None,
) -> HttpResponse:
    """Render `partial` for htmx, `template` (which includes the partial) otherwise.

    With a `version` (anything with a repr that changes when the part does) `etag` is in the context, and a poll
    that shows this version already gets 304 without a body. What a page tells in minutes changes by itself: with
    `minute` (`lists.minute()`) a body goes out once a minute. `looked` is recorded when a version goes out that this
    viewer was not shown yet, for nobody learns anything from "the same".
    """
    part = is_fragment(request)
    etag = "" if version is None else etag_of(viewer_of(request), version, minute)
    shown = request.headers.get("If-None-Match", "") if part and etag else ""
    if shown and shown == etag:
        response: HttpResponse = HttpResponseNotModified()
    else:
        response = render(request, partial if part else template, {**context, "etag": etag}, status=status)
        if looked and (not shown or _version_in(shown) != _version_in(etag)):
            record_access(viewer_of(request), **looked._asdict(), address=request.META.get("REMOTE_ADDR"))
    if etag:
        response.headers["ETag"] = etag
    # The same address has two answers, and both may name a patient: no cache keeps either.
    response.headers["Vary"] = "HX-Request, HX-Request-Type, Cookie"
    response.headers["Cache-Control"] = "no-store"
    return response


def etag_of(viewer: Viewer, version: object, minute: dt.datetime | None = None) -> str:
    """The ETag of what `version` describes; pages put it in `data-etag`, so that the first poll may be empty too.

    It names the viewer: what one has seen, the next who signs in in this browser has not.
    """
    digest = hashlib.blake2b(repr((viewer.user_id, version)).encode(), digest_size=12).hexdigest()
    return quote_etag(f"{digest}-{minute:%Y%m%d%H%M}" if minute else digest)


def _version_in(etag: str) -> str:
    """The viewer and the version, the minute apart."""
    return etag.strip('"').partition("-")[0]


def toast(response: HttpResponse, message: str, *, colour: str = "good", undo_url: str = "") -> HttpResponse:
    """Let the page say a word when htmx has this response; with `undo_url` the word has Undo (a POST)."""
    detail = {"message": message, "colour": colour, "undo_url": undo_url}
    response.headers["HX-Trigger"] = json.dumps({"toast": detail})
    return response


def flash(request: HttpRequest, message: str, *, colour: str = "good", undo_url: str = "") -> None:
    """Say the word on the next page that is rendered."""
    messages.add_message(request, _LEVELS[colour], message, extra_tags=f"undo={undo_url}" if undo_url else "")


def done(
    request: HttpRequest, message: str, *, to: str, colour: str = "good", undo_url: str = "", stay: bool = False
) -> HttpResponse:
    """The answer after a committed write: on to `to`, and the word there.

    With `stay` a request of htmx keeps its page, and the dialog that is open: the word comes as a toast and everything
    live refreshes.
    """
    if is_fragment(request) and stay:
        response = toast(HttpResponse(status=204), message, colour=colour, undo_url=undo_url)
        events = json.loads(response.headers["HX-Trigger"])
        response.headers["HX-Trigger"] = json.dumps({**events, "changed": {}})
        return response
    flash(request, message, colour=colour, undo_url=undo_url)
    if is_fragment(request):
        return HttpResponse(status=204, headers={"HX-Redirect": to})
    return HttpResponseRedirect(to)


def confirm(
    request: HttpRequest,
    form: BaseForm,
    *,
    heading: str,
    submit: str,
    back: str,
    sentence: str = "",
    icon: str = "check",
    danger: bool = False,
    changes: Sequence[dict[str, str]] = (),
    follows: Sequence[dict[str, str]] = (),
    preview_template: str = "",
    conflict: str = "",
    final: bool = False,
    context: dict[str, Any] | None = None,
) -> HttpResponse:
    """What a write will do, with the form that does it: in the dialog for htmx, as a page of its own otherwise.

    `changes` are rows `{label, tag, before, after}`, `follows` are `{icon, text}` for what happens next and what
    cannot be taken back. A bound form with errors answers 422 and comes back with what was typed; so does one whose
    answer met a `conflict` (409), which is `final` when sending it again cannot help.
    """
    dialog = is_fragment(request)
    return page(
        request,
        "confirm.html",
        "components/confirm.html",
        {
            "form": form, "heading": heading, "submit": submit, "back": back, "sentence": sentence,
            "icon_name": icon, "danger": danger, "changes": changes, "follows": follows,
            "preview_template": preview_template, "conflict": conflict,
            "final": final, "action": request.get_full_path(), "dialog": dialog,
            "target": "#dialog" if dialog else "#confirm", **(context or {}),
        },
        status=409 if conflict else 422 if form.is_bound and not form.is_valid() else 200,
    )  # fmt: skip
