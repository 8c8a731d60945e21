"""Fiducial's REST API, used as an integration would use it."""

import json
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]
_NO_CONTENT = 204


class Denied(ConnectionError):
    """Fiducial said no: `status` is HTTP's."""

    def __init__(self, status: int, told: str) -> None:
        super().__init__(f"REST answered {status} {told}")
        self.status = status


class Api:
    """A caller with a token. Every failure is an OSError that says what was answered."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._host, self._port = host, port
        kind = "application/json"
        self._headers = {"Authorization": f"Token {token}", "Accept": kind, "Content-Type": kind}

    def study(self, study_instance_uid: str) -> Json | None:
        """The study resource with its patient's identifiers, or None when Fiducial does not know it."""
        results = self.call("GET", f"studies/?study_instance_uid={quote(study_instance_uid)}").get("results", [])
        if not results:
            return None
        study: Json = results[0]
        patient = study.get("patient")
        if patient and "identifiers" not in patient:
            study["patient"] = self.call("GET", f"patients/{patient['id']}/")
        return study

    def open_cases(self, *, study_instance_uid: str) -> list[Json]:
        """Cases about a study that are not settled."""
        return self.rows(f"exceptions/?status=open&study_instance_uid={quote(study_instance_uid)}")

    def orders(self, filler_order_number: str) -> list[Json]:
        """Those with this number: of each house one."""
        return self.rows(f"orders/?filler_order_number={quote(filler_order_number)}")

    def message(self, control_id: str, message_type: str) -> Json | None:
        """The message as it was received first, or None when Fiducial does not know it.

        A control id is its sender's own: another application may have used it for another message.
        """
        asked = f"control_id={quote(control_id)}&type={quote(message_type)}"
        found = self.call("GET", f"messages/?{asked}").get("results", [])
        return next((each for each in found if each.get("status") != "DUPLICATE"), None)

    def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """The answer to a call of /api/v1/`path`. Raises Denied, or another OSError."""
        content = self._ask(method, path, body)
        if not isinstance(content, dict):
            raise ConnectionError("REST answered no JSON object")
        return content

    def rows(self, path: str) -> list[Json]:
        """A short list, or the first page of a long one."""
        content = self._ask("GET", path)
        return list(content["results"] if isinstance(content, dict) else content)

    def all(self, path: str) -> list[Json]:
        """A list from its first page to its last."""
        found, following = list[Json](), f"{path}&page_size=1000"
        while following:
            page = self.call("GET", following)
            found += page["results"]
            following = str(page["next"] or "").partition("/api/v1/")[2]
        return found

    def _ask(self, method: str, path: str, body: Json | None = None) -> Any:
        connection = HTTPConnection(self._host, self._port, timeout=20)
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, f"/api/v1/{path}", data, self._headers)
            answer = connection.getresponse()
            text = answer.read()
        except HTTPException as error:
            raise ConnectionError(f"REST answered no HTTP: {error}") from error
        finally:
            connection.close()
        if answer.status == _NO_CONTENT:
            return {}
        if answer.status not in (200, 201):
            raise Denied(answer.status, answer.reason)
        try:
            return json.loads(text)
        except ValueError as error:
            raise ConnectionError("REST answered no JSON") from error
