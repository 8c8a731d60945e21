"""A browser, and somebody who is signed in. A pytest plugin."""

import functools
import os
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from unittest.mock import patch

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.core.servers.basehttp import WSGIRequestHandler
from django.db import connections
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from orchestrator.models import Role, RoleAssignment, User
from tests.peers import program, wait_for

ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip

# Milliseconds: a page has come when it has, and the machine may be busy with other tests.
_PATIENCE = 20_000
expect.set_options(timeout=_PATIENCE)

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
    """The server of pytest-django. What it was asked last is answered before the rows of the test are taken away.

    It closes each connection after its answer: a browser that is kept would keep them, and a thread for each.
    """
    with patch.object(WSGIRequestHandler, "protocol_version", "HTTP/1.0"):
        yield live_server
        _all_is_answered(live_server)


def _all_is_answered(live_server: LiveServer) -> None:
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


class Kept:
    """One context of a browser, used again by test after test: a new one starts processes and reads every style and
    script anew, which costs as much as most tests. Nothing of a test is left in it for the next.
    """

    def __init__(self, browser: Browser, url: str) -> None:
        self.url, self.context = url, browser.new_context(base_url=url)
        # While a page is open the next one need not begin from nothing.
        self._open = self.context.new_page()
        self._open.goto("/healthz")

    def clean(self) -> None:
        for page in self.context.pages:
            if page is not self._open:
                page.close()
        self.context.clear_cookies()
        self.context.clear_permissions()
        self.context.set_offline(False)
        devtools = self.context.new_cdp_session(self._open)
        devtools.send("Network.clearBrowserCache")
        devtools.send("Storage.clearDataForOrigin", {"origin": self.url, "storageTypes": "all"})
        devtools.detach()


@pytest.fixture(scope="module")
def kept(browser: Browser) -> Callable[[str], Kept]:
    """The context that is kept for this address."""
    return functools.cache(lambda url: Kept(browser, url))


@pytest.fixture
def open_page(browser: Browser, kept: Callable[[str], Kept], live_server: LiveServer, mara: User) -> Iterator[Open]:
    """`open_page("/confirm/", width=390, dark=True, script=False)`: a page that Mara sees.

    The second page of a test is in a browser of its own, as somebody else's. After the test no script may have failed
    and no content security policy been broken.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def context_for(*, script: bool) -> BrowserContext:
        if script and ours.context not in contexts:
            contexts.append(ours.context)
        else:
            contexts.append(browser.new_context(java_script_enabled=script, base_url=live_server.url))
        return contexts[-1]

    def open_(
        path: str = "/", *, width: int = 1280, dark: bool = False, script: bool = True, signed_in: bool = True
    ) -> Page:
        context = context_for(script=script)
        if signed_in:
            context.add_cookies([{"name": "sessionid", "value": _session_cookie(mara), "url": live_server.url}])
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme="dark" if dark else "light")
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

    ours = kept(live_server.url)
    yield open_
    for context in contexts:
        if context is not ours.context:
            context.close()
    ours.clean()
    assert complaints == []
