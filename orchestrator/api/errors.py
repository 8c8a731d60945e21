"""Errors are RFC 9457 problem details."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import exception_handler

from orchestrator.services.exceptions import CaseClosed, CaseTaken
from orchestrator.states import IllegalTransition


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
    response.content_type = "application/problem+json"
    return response
