"""The people at the exceptions queue come to work: each a user of Fiducial, where an administrator lets them in."""

import json
import secrets
from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

from orchestrator.simulator.rest import Api, Denied

_PEOPLE = (("Mara", "Lindqvist"), ("Tom", "Osei"), ("Ines", "Carvalho"), ("Jonas", "Weber"), ("Aiko", "Tanabe"))
_FORBIDDEN = 403


def hire(number: int, api: Api, address: tuple[str, int]) -> list[Api]:
    """So many people's access to the API. Without an administrator's token all work under the one that was given.

    Raises OSError.
    """
    names = [_PEOPLE[index % len(_PEOPLE)] for index in range(number)]
    logins = [f"{given}{index // len(_PEOPLE) + 1 if index >= len(_PEOPLE) else ''}".lower()
              for index, (given, _) in enumerate(names)]  # fmt: skip
    try:
        known = {each["username"]: each["id"] for each in api.rows("users/?page_size=1000")}
        passwords = [_let_in(api, login, name, known.get(login)) for login, name in zip(logins, names, strict=True)]
    except Denied as denied:
        if denied.status != _FORBIDDEN:
            raise
        return [api] * number
    site = f"http://{address[0]}:{address[1]}"
    return [Api(*address, _sign_in(site, login, password)) for login, password in zip(logins, passwords, strict=True)]


def _let_in(api: Api, login: str, name: tuple[str, str], known: int | None) -> str:
    """A user with this login and a new password."""
    password = secrets.token_urlsafe(18)
    if known is not None:
        api.call("PATCH", f"users/{known}/", {"password": password, "is_active": True})
    else:
        given, family = name
        person = {"username": login, "first_name": given, "last_name": family, "role": "pacs_administrator"}
        api.call("POST", "users/", {**person, "password": password})
    return password


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
