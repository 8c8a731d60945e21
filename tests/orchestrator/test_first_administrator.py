"""The first administrator: once, with a password of one's own or a generated one."""

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from orchestrator.models import Role, User
from orchestrator.services.tokens import find_token
from orchestrator.services.users import (
    LastAdministrator,
    change_user,
    create_first_administrator,
    create_hospital_token,
    revoke_hospital_tokens,
)

pytestmark = pytest.mark.django_db


def test_a_new_installation_gets_an_administrator_of_all_sites_with_a_generated_password() -> None:
    password = create_first_administrator(None)
    assert password is not None
    assert len(password) == 20
    user = User.objects.get()
    assert user.username == "admin"
    assert user.check_password(password)
    assert [(each.role, each.site) for each in user.role_assignments.all()] == [(Role.ADMINISTRATOR, None)]


def test_a_given_password_is_used_and_not_told() -> None:
    assert create_first_administrator("correct horse battery") is None
    assert User.objects.get().check_password("correct horse battery")


def test_later_starts_change_nothing() -> None:
    create_first_administrator("the first password")
    assert create_first_administrator("another password") is None
    assert User.objects.get().check_password("the first password")


def test_the_simulated_hospital_gets_a_new_token_and_the_old_one_ends() -> None:
    first = create_hospital_token()
    revoke_hospital_tokens()
    second = create_hospital_token()
    assert find_token(first) is None
    token = find_token(second)
    assert token is not None
    assert not token.user.has_usable_password()


def test_the_simulated_hospital_is_nobody_who_could_let_anybody_in_again() -> None:
    create_first_administrator("the first password")
    create_hospital_token()
    with pytest.raises(LastAdministrator):
        change_user(user=User.objects.get(username="admin"), is_active=False)


def test_the_command_makes_the_first_administrator_and_prints_nothing_but_the_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("create_administrator")
    assert User.objects.get().check_password(capsys.readouterr().out.strip())
    with pytest.raises(CommandError, match="There are users already"):
        call_command("create_administrator")
