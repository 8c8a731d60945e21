"""What a supervisor asks, and the command that makes a token."""

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from orchestrator.models import User
from orchestrator.services.tokens import find_token

pytestmark = pytest.mark.django_db


def test_alive_needs_no_login(client: Client) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}


def test_not_ready_without_a_broker_says_so(client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["waiting_for"] == ["broker"]


def test_create_token_prints_the_key_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    user = User.objects.create_user("script")
    call_command("create_token", "script")
    token = find_token(capsys.readouterr().out.removesuffix("\n"))
    assert token is not None
    assert token.user == user


def test_create_token_for_nobody_says_so() -> None:
    with pytest.raises(CommandError, match="no active user 'nobody'"):
        call_command("create_token", "nobody")
