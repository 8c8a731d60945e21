"""A browser, and somebody who is signed in. A pytest plugin."""

import os
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import connections
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from orchestrator.models import Role, RoleAssignment, User
from tests.peers import program, wait_for

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium. Playwright keeps a loop in this thread, which Django would take for asynchronous code."""
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program("chromium"), args=ARGUMENTS)
        yield chromium
        chromium.close()
        # Under that loop this thread had a connection of its own, which nobody else closes.
        connections.close_all()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


def _is_answering() -> bool:
    return any("process_request_thread" in thread.name for thread in threading.enumerate())


@pytest.fixture
def live_server(live_server: LiveServer, transactional_db: None) -> Iterator[LiveServer]:
    """The server of pytest-django. What it was asked last is answered before the rows of the test are taken away."""
    yield live_server
    # Connections are accepted in their order: when this one is answered, each before it has its thread.
    last = HTTPConnection(live_server.thread.host, live_server.thread.port, timeout=30)
    last.request("GET", "/healthz", headers={"Connection": "close"})
    last.getresponse().read()
    last.close()
    wait_for(lambda: not _is_answering(), what="the end of all requests")


@pytest.fixture
def mara(transactional_db: None) -> User:
    """Mara Lindqvist, administrator at all sites."""
    user = User.objects.create_user("mara", password="a long enough one", first_name="Mara", last_name="Lindqvist")
    RoleAssignment.objects.create(user=user, role=Role.ADMINISTRATOR)
    return user


def _session_cookie(user: User) -> str:
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


@pytest.fixture
def open_page(browser: Browser, live_server: LiveServer, mara: User) -> Iterator[Open]:
    """`open_page("/confirm/", width=390, dark=True, script=False)`: a page that Mara sees.

    After the test no script may have failed and no content security policy been broken.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_(
        path: str = "/", *, width: int = 1280, dark: bool = False, script: bool = True, signed_in: bool = True
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
            java_script_enabled=script,
            base_url=live_server.url,
        )
        contexts.append(context)
        if signed_in:
            context.add_cookies([{"name": "sessionid", "value": _session_cookie(mara), "url": live_server.url}])
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console", lambda line: complaints.append(line.text) if "Content Security Policy" in line.text else None
        )
        page.goto(path)
        if script:
            # htmx takes the page over by a timer, which a busy machine runs after the load; until then a key follows
            # its link. Timers come in their order, so when this one has come that one has.
            page.evaluate("new Promise((done) => setTimeout(done))")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []
