"""Whatever goes wrong in the REST API comes back as RFC 9457 problem details that a program can read."""

from typing import Any
from unittest.mock import patch

import pytest
from django.test import Client
from rest_framework.exceptions import Throttled

from orchestrator.models import Role
from orchestrator.services.tokens import create_token
from tests.factories import make_patient, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    key = create_token(user=make_user(Role.ADMINISTRATOR), name="x")
    return Client(headers={"Authorization": f"Token {key}"}, raise_request_exception=False)


PROBLEMS: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/api/v1/nothing/", {}, 404),
    ("GET", "/api/nothing", {}, 404),
    ("GET", "/api/v1/patients/99999999999999999999999/", {}, 404),
    ("GET", "/api/v1/patients/x/", {}, 404),
    ("GET", "/api/v1/studies/1.2.3/", {}, 404),
    ("GET", "/api/v1/patients/?cursor=nonsense", {}, 404),
    ("DELETE", "/api/v1/patients/", {}, 405),
    ("GET", "/api/v1/patients/", {"headers": {"Accept": "text/html"}}, 406),
    ("POST", "/api/v1/patients/search/", {"data": b"<xml/>", "content_type": "application/xml"}, 415),
    ("POST", "/api/v1/patients/search/", {"data": b"{no", "content_type": "application/json"}, 400),
    ("POST", "/api/v1/patients/search/", {"data": b"\xff\xfe", "content_type": "application/json"}, 400),
    ("POST", "/api/v1/patients/search/", {"data": b"[1]", "content_type": "application/json"}, 400),
    ("POST", "/api/v1/patients/search/", {"data": b'{"page_size": 2}', "content_type": "application/json"}, 400),
    ("POST", "/api/v1/candidates/", {"data": b"[1]", "content_type": "application/json"}, 400),
    ("POST", "/api/v1/candidates/", {"data": b'{"patient_id": {"a": 1}}', "content_type": "application/json"}, 400),
    ("GET", "/api/v1/patients/?identifier=%00", {}, 400),
    ("GET", "/api/v1/orders/?patient=x", {}, 400),
    ("GET", "/api/v1/studies/?identity=lost", {}, 400),
    ("GET", "/api/v1/audit/?since=yesterday", {}, 400),
    ("POST", "/api/v1/users/", {"data": b"{}", "content_type": "application/json"}, 400),
    ("GET", "/api/v1/sites/", {"headers": {"Host": "evil.example.org"}}, 400),
    ("GET", "/api/v1/sites/", {"headers": {"Authorization": "Token gone"}}, 401),
]


@pytest.mark.parametrize(("method", "path", "more", "status"), PROBLEMS, ids=lambda each: str(each)[:60])
def test_every_refusal_is_a_problem(client: Client, method: str, path: str, more: dict[str, Any], status: int) -> None:
    answer = client.generic(method, path, **more)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert {"type", "title", "detail"} <= set(body)
    assert ("errors" in body) == (status == 400 and body["detail"] == "Some fields are not right.")


def test_a_fault_of_ours_is_a_problem_that_tells_nothing_of_patients(client: Client) -> None:
    make_patient("0012", name="Secret^Name")
    with patch("orchestrator.api.patients.visible_to", side_effect=RuntimeError("Secret^Name 0012")):
        answer = client.get("/api/v1/patients/")
    assert (answer.status_code, answer.headers["Content-Type"]) == (500, "application/problem+json")
    assert "Secret" not in answer.content.decode()
    assert answer.json()["title"] == "Internal Server Error"


def test_who_asks_too_often_is_told_when_to_come_back(client: Client) -> None:
    with patch("orchestrator.api.resources.Resource.check_throttles", side_effect=Throttled(wait=7)):
        answer = client.get("/api/v1/sites/")
    assert (answer.status_code, answer.headers["Content-Type"]) == (429, "application/problem+json")
    assert answer.headers["Retry-After"] == "7"


def test_a_page_that_does_not_exist_is_still_a_page(client: Client) -> None:
    answer = client.get("/nothing/")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("text/html")
