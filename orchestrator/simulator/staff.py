"""The people at the exceptions queue come to work: each a user of Fiducial, where an administrator lets them in."""

import json
import secrets
from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

from orchestrator.simulator.rest import Api, Denied, Json

_PEOPLE = (("Mara", "Lindqvist"), ("Tom", "Osei"), ("Ines", "Carvalho"), ("Jonas", "Weber"), ("Aiko", "Tanabe"))
_ROLE, _FORBIDDEN = "pacs_administrator", 403


class Staff:
    """The users that this hospital made, for as long as it is open. Their names are its own: `sim-tom`."""

    def __init__(self, api: Api, address: tuple[str, int]) -> None:
        self._api, self._address = api, address
        self._hired: dict[int, Api] = {}

    def hire(self, number: int) -> list[Api]:
        """So many people's access to the API. Without an administrator's token all work under the one that was given.

        Raises OSError.
        """
        names = [_PEOPLE[index % len(_PEOPLE)] for index in range(number)]
        logins = [f"sim-{given.lower()}{index // len(_PEOPLE) + 1 if index >= len(_PEOPLE) else ''}"
                  for index, (given, _) in enumerate(names)]  # fmt: skip
        try:
            known = {each["username"]: each for each in self._api.rows("users/?page_size=1000")}
            for login, name in zip(logins, names, strict=True):
                self._let_in(login, name, known.get(login))
        except Denied as denied:
            if denied.status != _FORBIDDEN:
                raise
            return [self._api] * number
        return list(self._hired.values())

    def dismiss(self) -> None:
        """Their tokens end, and nobody can sign in as them. Raises OSError."""
        while self._hired:
            key, own = self._hired.popitem()
            # The newest is the one that asks.
            for token in sorted(own.rows("tokens/?page_size=1000"), key=lambda each: int(each["id"])):
                if token["revoked_at"] is None:
                    own.call("DELETE", f"tokens/{token['id']}/")
            self._api.call("PATCH", f"users/{key}/", {"is_active": False})

    def _let_in(self, login: str, name: tuple[str, str], known: Json | None) -> None:
        """A user with this login, a new password, and a token. Somebody else's is not taken. Raises OSError."""
        password, (given, family) = secrets.token_urlsafe(18), name
        person = {"first_name": given, "last_name": family}
        if known is None:
            made = {**person, "username": login, "role": _ROLE, "password": password}
            known = self._api.call("POST", "users/", made)
        elif not person.items() <= known.items() or [each["role"] for each in known["roles"]] != [_ROLE]:
            raise ConnectionError(f"the user {login} is not of this hospital")
        else:
            self._api.call("PATCH", f"users/{known['id']}/", {"password": password, "is_active": True})
        site = f"http://{self._address[0]}:{self._address[1]}"
        self._hired[known["id"]] = Api(*self._address, _sign_in(site, login, password))


def _sign_in(site: str, login: str, password: str) -> str:
    """Sign in as a person does, and make oneself a token."""
    cookies = CookieJar()
    browser = build_opener(HTTPCookieProcessor(cookies))
    browser.open(f"{site}/login/", timeout=20).close()
    form = {"username": login, "password": password, "csrfmiddlewaretoken": _csrf(cookies)}
    _post(browser, f"{site}/login/", urlencode(form).encode(), {"Referer": f"{site}/login/"})
    asked = {"name": "simulated hospital", "scopes": ["read", "write"], "days": 30}
    headers = {"Content-Type": "application/json", "X-CSRFToken": _csrf(cookies)}
    return str(json.loads(_post(browser, f"{site}/api/v1/tokens/", json.dumps(asked).encode(), headers))["key"])


def _post(browser: OpenerDirector, url: str, body: bytes, headers: dict[str, str]) -> bytes:
    with browser.open(Request(url, body, headers), timeout=20) as answer:  # noqa: S310  http, to Fiducial
        return bytes(answer.read())


def _csrf(cookies: CookieJar) -> str:
    return next((each.value or "" for each in cookies if each.name == "csrftoken"), "")
