"""Fiducial's REST API, read as an integration would read it."""

import json
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

from orchestrator.simulator.truth import Json


class Api:
    """A reader with a token. Every failure to read is an OSError that says what was answered."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._host, self._port = host, port
        self._headers = {"Authorization": f"Token {token}", "Accept": "application/json"}

    def study(self, study_instance_uid: str) -> Json | None:
        """The study resource with its patient's identifiers, or None when Fiducial does not know it."""
        results = self._get(f"/api/v1/studies/?study_instance_uid={quote(study_instance_uid)}").get("results", [])
        if not results:
            return None
        study: Json = results[0]
        patient = study.get("patient")
        if patient and "identifiers" not in patient:
            study["patient"] = self._get(f"/api/v1/patients/{patient['id']}/")
        return study

    def _get(self, path: str) -> Json:
        connection = HTTPConnection(self._host, self._port, timeout=20)
        try:
            connection.request("GET", path, headers=self._headers)
            answer = connection.getresponse()
            body = answer.read()
        except HTTPException as error:
            raise ConnectionError(f"REST answered no HTTP: {error}") from error
        finally:
            connection.close()
        if answer.status != 200:
            raise ConnectionError(f"REST answered {answer.status} {answer.reason}")
        return _object(body)


def _object(body: bytes) -> Json:
    try:
        content: Any = json.loads(body)
    except ValueError as error:
        raise ConnectionError("REST answered no JSON") from error
    if not isinstance(content, dict):
        raise ConnectionError("REST answered no JSON object")
    return content
