"""How large a request may be."""

import re
from collections.abc import Callable
from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from orchestrator.api.errors import refused


class BodyLimitMiddleware:
    """Refuses a body that is too large, or does not say how large it is, before a byte of it is read.

    Django's own limit leaves out uploaded files, which the CSRF check would write to the disk for anybody.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._files = [(re.compile(path), limit) for path, limit in settings.FILE_LIMITS.items()]

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "Transfer-Encoding" in request.headers:
            return refused(request, HTTPStatus.LENGTH_REQUIRED, "Send the body with a Content-Length.")
        length, limit = request.headers.get("Content-Length", ""), self._limit(request)
        # Whatever is no number is no body to Django either.
        if length.isdecimal() and (len(length) > 18 or int(length) > limit):
            words = f"At most {limit // 2**20} MB can be sent here; nothing was kept."
            return refused(request, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, words)
        return self.get_response(request)

    def _limit(self, request: HttpRequest) -> int:
        limits = [limit for path, limit in self._files if path.search(request.path_info)]
        # Parts that are no files have Django's limit; JSON would be read into memory.
        is_upload = request.content_type == "multipart/form-data"
        return limits[0] if limits and is_upload else settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0
