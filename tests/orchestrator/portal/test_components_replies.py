"""How views answer: page or part, a word after a write, a preview before it."""

import json

import pytest
from django import forms
from django.contrib.messages import get_messages
from django.contrib.messages.storage.fallback import FallbackStorage
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from orchestrator.permissions import Viewer
from orchestrator.views import replies

PART = {"HX-Request": "true", "HX-Request-Type": "partial"}
WHOLE = {"HX-Request": "true", "HX-Request-Type": "full", "HX-Boosted": "true"}


class ReasonForm(forms.Form):
    reason = forms.CharField(label="Why")


def _request(
    method: str = "get", path: str = "/exceptions/7/reject/", data: object = None, **headers: str
) -> HttpRequest:
    request: HttpRequest = getattr(RequestFactory(), method)(path, data, headers=headers)
    request.session = {}  # type: ignore[assignment]  # as much of a session as messages need
    request.viewer = Viewer(1, "mara", {})  # type: ignore[attr-defined]  # what ActorMiddleware does
    request._messages = FallbackStorage(request)  # type: ignore[attr-defined]  # what MessageMiddleware does
    return request


@pytest.mark.parametrize(
    ("headers", "part"), [({}, False), (PART, True), (WHOLE, False), ({"HX-Request": "true"}, True)]
)
def test_only_a_request_for_a_part_gets_a_part(headers: dict[str, str], part: bool) -> None:
    assert replies.is_fragment(_request(**headers)) is part


def test_a_poll_is_empty_while_nothing_changed() -> None:
    part = "components/empty.html"

    def answer(version: object, **headers: str) -> HttpResponse:
        return replies.page(_request(**PART, **headers), part, part, {"title": "x"}, version=version)

    first = answer(("a", 1))
    assert first.status_code == 200
    again = answer(("a", 1), **{"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again["Cache-Control"] == "no-store"
    changed = answer(("a", 2), **{"If-None-Match": first["ETag"]})
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]


def test_a_whole_page_is_never_left_out() -> None:
    part = "components/empty.html"
    first = replies.page(_request(**PART), part, part, {"title": "x"}, version=1)
    whole = replies.page(_request(**{"If-None-Match": first["ETag"]}), part, part, {"title": "x"}, version=1)
    assert (whole.status_code, whole["ETag"]) == (200, first["ETag"])


def test_after_a_write_a_plain_form_goes_on_with_the_word_waiting_there() -> None:
    request = _request("post")
    response = replies.done(request, "Rejected.", to="/exceptions/", undo_url="/exceptions/7/undo/")
    assert (response.status_code, response["Location"]) == (302, "/exceptions/")
    (message,) = get_messages(request)
    assert (str(message), message.extra_tags) == ("Rejected.", "undo=/exceptions/7/undo/")


def test_after_a_write_htmx_goes_on_or_stays_with_a_toast() -> None:
    on = replies.done(_request("post", **PART), "Rejected.", to="/exceptions/")
    assert (on.status_code, on["HX-Redirect"]) == (204, "/exceptions/")
    stays = replies.done(_request("post", **PART), "Claimed by Łucja.", to="/", undo_url="/u/", stay=True)
    events = json.loads(stays["HX-Trigger"])
    assert events["toast"] == {"message": "Claimed by Łucja.", "colour": "good", "undo_url": "/u/"}
    assert set(events) == {"toast", "changed"}
    assert stays["HX-Trigger"].isascii()


def test_a_preview_comes_back_with_what_was_typed_when_it_is_refused() -> None:
    def ask(form: forms.Form, **headers: str) -> HttpResponse:
        return replies.confirm(
            _request(**headers), form, heading="Reject?", submit="Reject", back="/exceptions/7/", danger=True,
            changes=[{"label": "Patient <b>", "before": "A", "after": ""}],
        )  # fmt: skip

    dialog = ask(ReasonForm(), **PART)
    assert dialog.status_code == 200
    assert b"<html" not in dialog.content
    assert b"<h2>Reject?</h2>" in dialog.content
    assert b"Patient &lt;b&gt;" in dialog.content
    assert b'class="btn danger"' in dialog.content
    refused = ask(ReasonForm({"reason": ""}), **PART)
    assert refused.status_code == 422
    assert b'aria-invalid="true"' in refused.content
