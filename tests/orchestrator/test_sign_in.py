"""Coming in, and being let in no longer: sessions, passwords, lockout, tokens."""

import pytest
from django.test import Client, override_settings

from orchestrator import settings as product
from orchestrator.models import Role, User
from orchestrator.services.tokens import create_token
from tests.caller import Caller
from tests.factories import make_site, make_user

pytestmark = pytest.mark.django_db
PASSWORD, ANOTHER = "correct horse battery staple", "a quite different one 7"


@pytest.fixture
def mara() -> User:
    user = make_user(Role.ADMINISTRATOR, name="mara")
    user.set_password(PASSWORD)
    user.save()
    return user


def sign_in(client: Client, password: str = PASSWORD) -> int:
    return client.post("/login/", {"username": "mara", "password": password}).status_code


def is_in(client: Client) -> bool:
    return client.get("/users/").status_code == 200


def test_passwords_are_hashed_by_argon2_in_the_product(client: Client) -> None:
    """The other tests have a cheap hasher (tests/conftest.py)."""
    with override_settings(PASSWORD_HASHERS=product.PASSWORD_HASHERS):
        user = make_user(Role.ADMINISTRATOR, name="mara")
        user.set_password(PASSWORD)
        user.save()
        assert user.password.startswith("argon2$argon2id$")
        assert sign_in(client, "wrong") == 200
        assert sign_in(client) == 302
    assert is_in(client)


def test_a_session_that_somebody_planted_is_not_the_one_that_is_signed_in(mara: User, client: Client) -> None:
    client.get("/login/")
    session = client.session
    session["planted"] = True
    session.save()
    before = session.session_key
    assert sign_in(client) == 302
    assert client.session.session_key != before
    planted = Client()
    planted.cookies["sessionid"] = str(before)
    assert not is_in(planted)


def test_after_five_wrong_passwords_the_right_one_waits(mara: User, client: Client) -> None:
    for _ in range(5):
        sign_in(client, "wrong")
    assert sign_in(client) == 429
    assert not is_in(client)
    assert client.post("/login/", {"username": "mara", "password": PASSWORD}, REMOTE_ADDR="10.0.0.7").status_code == 302


def test_a_changed_password_ends_the_sessions_elsewhere_and_not_this_one(mara: User, client: Client) -> None:
    elsewhere = Client()
    assert sign_in(client) == sign_in(elsewhere) == 302
    asked = {"old_password": PASSWORD, "new_password1": ANOTHER, "new_password2": ANOTHER}
    assert client.post("/password/", {**asked, "old_password": "wrong"}).status_code == 422
    weak = {"new_password1": "12345", "new_password2": "12345"}
    assert client.post("/password/", {**asked, **weak}).status_code == 422
    assert client.post("/password/", asked).status_code == 302
    assert is_in(client)
    assert not is_in(elsewhere)
    assert sign_in(Client()) == 200, "the old one is refused"
    assert sign_in(Client(), ANOTHER) == 302


def test_who_is_switched_off_is_out_at_once_by_session_and_by_token(mara: User, client: Client) -> None:
    other = make_user(Role.ADMINISTRATOR, name="ines")
    sign_in(client)
    by_token = Client(headers={"Authorization": f"Token {create_token(user=mara, name='pager')}"})
    assert by_token.get("/api/v1/sites/").status_code == 200
    administrator = Client()
    administrator.force_login(other)
    assert administrator.post(f"/users/{mara.pk}/switch/").status_code == 302
    assert not is_in(client)
    assert by_token.get("/api/v1/sites/").status_code == 401
    assert sign_in(Client()) == 200
    assert administrator.post(f"/users/{mara.pk}/switch/").status_code == 302
    assert sign_in(Client()) == 302


def test_the_last_administrator_of_all_sites_is_not_switched_off(mara: User, client: Client) -> None:
    make_user(Role.ADMINISTRATOR, site=make_site("NORTH"))
    client.force_login(mara)
    client.post(f"/users/{mara.pk}/switch/")
    mara.refresh_from_db()
    assert mara.is_active
    call = Caller(mara)
    call("PATCH", f"users/{mara.pk}/", {"is_active": False})
    assert call.status == 409


def test_an_administrator_of_one_site_switches_nobody_off_who_works_elsewhere_too(client: Client) -> None:
    north, south = make_site("NORTH"), make_site("SOUTH", issuer="")
    here, both = make_user(Role.READER, site=north), make_user(Role.READER, site=north)
    both.role_assignments.create(role=Role.READER, site=south)
    administrator = make_user(Role.ADMINISTRATOR, site=north)
    client.force_login(administrator)
    assert client.post(f"/users/{both.pk}/switch/").status_code == 403
    assert client.post(f"/users/{here.pk}/switch/").status_code == 302
    call = Caller(administrator)
    call("PATCH", f"users/{both.pk}/", {"password": ANOTHER})
    assert call.status == 403
    assert call("PATCH", f"users/{here.pk}/", {"is_active": True})["is_active"] is True


def test_roles_are_given_and_taken_by_rest(mara: User) -> None:
    make_site("NORTH")
    call, user = Caller(mara), make_user(None, name="script")
    given = call("POST", f"users/{user.pk}/roles/", {"role": "reader", "site": "NORTH"})
    assert given["roles"] == [{"role": "reader", "site": "NORTH"}]
    assert call("POST", f"users/{user.pk}/roles/remove/", {"role": "reader", "site": "NORTH"})["roles"] == []
    call("POST", f"users/{mara.pk}/roles/remove/", {"role": "administrator", "site": None})
    assert call.status == 409, "the last administrator"


def test_a_password_given_by_an_administrator_is_kept_hashed_and_said_nowhere(mara: User) -> None:
    user = make_user(Role.READER, name="ben")
    answer = Caller(mara)("PATCH", f"users/{user.pk}/", {"password": PASSWORD, "first_name": "Ben"})
    user.refresh_from_db()
    assert (answer["first_name"], user.check_password(PASSWORD)) == ("Ben", True)
    assert "password" not in answer
    assert PASSWORD not in str(list(user.history.values()))
