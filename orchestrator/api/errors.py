"""Errors are RFC 9457 problem details."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from orchestrator.services.exceptions import CaseClosed, CaseTaken
from orchestrator.states import IllegalTransition

PROBLEM = "application/problem+json"


class Conflict(exceptions.APIException):
    """What was asked does not fit the present state; `detail` says which."""

    status_code = 409
    default_detail = "The state changed meanwhile."
    default_code = "conflict"


def problem_details(error: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER."""
    if isinstance(error, IllegalTransition | CaseClosed | CaseTaken):
        error = Conflict(str(error))
    response = exception_handler(error, context)
    if response is None:
        return None
    known = error if isinstance(error, exceptions.APIException) else None
    if isinstance(error, Http404):
        known = exceptions.NotFound()
    elif isinstance(error, PermissionDenied):
        known = exceptions.PermissionDenied()
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": response.status_text,
        "status": response.status_code,
    }
    if isinstance(known, exceptions.ValidationError):
        body["detail"] = "Some fields are not right."
        body["errors"] = known.detail
    elif known is not None:
        body["detail"] = str(known.detail)
    response.data = body
    response.content_type = PROBLEM
    return response


def _is_for_programs(request: HttpRequest) -> bool:
    return request.path_info.startswith("/api/")


def _problem(status: HTTPStatus, detail: str) -> JsonResponse:
    body = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return JsonResponse(body, status=status, content_type=PROBLEM)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What is refused before any view sees it (a host that is not ours, a body that is too large)."""
    if _is_for_programs(request):
        return _problem(HTTPStatus.BAD_REQUEST, "This request could not be understood.")
    return defaults.bad_request(request, exception)


def refused(request: HttpRequest, status: HTTPStatus, detail: str) -> HttpResponse:
    """What is refused before anybody asks who sends it."""
    if _is_for_programs(request):
        return _problem(status, detail)
    return _page(status, status.phrase.capitalize(), detail)


def _page(status: HTTPStatus, title: str, detail: str) -> HttpResponse:
    return HttpResponse(render_to_string("refused.html", {"title": title, "detail": detail}), status=status)


class ClothedMiddleware:
    """No answer to a person is naked: an address that only takes what a form sends says so (405 comes empty)."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code != HTTPStatus.METHOD_NOT_ALLOWED or _is_for_programs(request):
            return response
        page = _page(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "Open this from its list",
            "This address only takes what a button or a form sends, so that opening or reloading it changes nothing. "
            "Go back, or to the list, and press the button there.",
        )
        page.headers["Allow"] = response.headers["Allow"]
        return page


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """An address that does not exist."""
    if _is_for_programs(request):
        return _problem(HTTPStatus.NOT_FOUND, "There is nothing at this address: /api/schema/ describes what there is.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """A fault of ours. What it was stands in the log only: it may name a patient."""
    if _is_for_programs(request):
        return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "A fault of ours: nothing was changed. Try again.")
    return defaults.server_error(request)
