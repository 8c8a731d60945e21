"""A NUL, which no text of PostgreSQL holds, is refused before any view looks something up by it."""

import pytest
from django.test import Client

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


def test_a_percent_sign_before_noughts_is_no_nul(client: Client) -> None:
    assert client.get("/exceptions/?source=100%2500").status_code == 200
