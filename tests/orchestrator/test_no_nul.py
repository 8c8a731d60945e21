"""A NUL, which no text of PostgreSQL holds, is refused before any view looks something up by it."""

from typing import Any

import pytest
from django.test import Client

from routing.models import RuleSet
from tests.factories import make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> Client:
    signed_in = Client()
    signed_in.force_login(make_user())
    return signed_in


@pytest.mark.parametrize(
    "address",
    [
        "/exceptions/?source=%00", "/kpis/?source=a%00b", "/studies/?%00=1", "/patients/?identity=%00",
        "/messages/?after=%00", "/api/v1/patients/?name=%00", "/studies/%00/", "/signin/?next=%00",
    ],
)  # fmt: skip
def test_an_address_with_a_nul_is_refused(client: Client, address: str) -> None:
    assert client.get(address).status_code == 400


def test_a_form_with_a_nul_is_refused(client: Client) -> None:
    assert client.post("/search/", {"q": "smith\0"}).status_code == 400
    assert client.post("/search/", {"q\0": "smith"}).status_code == 400
    assert client.post("/search/", {"q": "smith"}).status_code == 302


@pytest.mark.parametrize("address", ["/exceptions/bulk/assign/", "/deliveries/bulk/retry/", "/exceptions/claim/"])
@pytest.mark.parametrize("query", ["source=%00", "a%00b=1", "site=all&ae=x%00"])
def test_a_filter_within_a_form_with_a_nul_is_refused(client: Client, address: str, query: str) -> None:
    meant = {"all": "1", "filter": query}
    assert client.post(address, meant).status_code == 400
    assert client.post(address, {**meant, "filter": "source=100%2500"}).status_code == 200


@pytest.mark.parametrize(
    "rule",
    [
        {"name": "a\0b"},
        {"when": {"all": [{"field": "modality", "op": "eq", "value": "C\0T"}]}},
        {"when": {"all": [{"field": "modality", "op": "in", "value": ["CT", "\0"]}]}},
        {"note\0": "of nobody"},
    ],
)
def test_a_rule_with_a_nul_is_refused(client: Client, rule: dict[str, Any]) -> None:
    rules = [{"name": "x", "when": {"all": []}, "then": [{"action": "keep"}], **rule}]
    address = f"/api/v1/rule-sets/{RuleSet.objects.get(name='default').pk}/draft/"
    answer = client.put(address, {"rules": rules}, content_type="application/json")
    assert answer.status_code == 400
    assert "NUL" in str(answer.json()["errors"])
    rules[0] |= {"name": "x", "when": {"all": [{"field": "modality", "op": "eq", "value": r"\u0000"}]}}
    kept = [{key: value for key, value in rules[0].items() if "\0" not in key}]
    assert client.put(address, {"rules": kept}, content_type="application/json").status_code == 200


def test_a_percent_sign_before_noughts_is_no_nul(client: Client) -> None:
    assert client.get("/exceptions/?source=100%2500").status_code == 200
