"""A script that uses the REST API."""

import json
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from orchestrator.models import User
from orchestrator.services.tokens import READ, WRITE, create_token


class Caller:
    """Calls /api/v1/ with a token of `user`."""

    def __init__(self, user: User, scopes: tuple[str, ...] = (READ, WRITE)) -> None:
        self._client = Client(headers={"Authorization": f"Token {create_token(user=user, name='test', scopes=scopes)}"})
        self.status = 0

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON; its status stands in `status`."""
        answer = self._client.generic(
            method, f"/api/v1/{path}", b"" if body is None else _json(body), content_type="application/json"
        )
        self.status = answer.status_code
        return answer.json() if answer.content else None

    def upload(self, path: str, content: bytes, **fields: str) -> Any:
        """POST a file, as a form does."""
        file = SimpleUploadedFile("object.dcm", content)
        answer = self._client.post(f"/api/v1/{path}", {"file": file, **fields})
        self.status = answer.status_code
        return answer.json()


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()
