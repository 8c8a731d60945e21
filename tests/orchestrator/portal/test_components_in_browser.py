"""The shell and the components in a real browser, under the strict content security policy."""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.conf import settings
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import Settings

from orchestrator.models import ExceptionCase, Site, User
from tests.accessibility import violations_in_both_themes

Open = Callable[..., Page]

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.usefixtures("_sheet")]


@pytest.fixture
def _sheet(settings: Settings) -> None:
    """The page with every component instead of the product's pages."""
    settings.ROOT_URLCONF = "tests.orchestrator.portal.sheet"
    template = settings.TEMPLATES[0]
    settings.TEMPLATES = [{**template, "DIRS": [Path(__file__).parent / "templates", *template["DIRS"]]}]


@pytest.mark.parametrize("width", [1280, 390])
def test_no_component_breaks_an_accessibility_rule(open_page: Open, width: int) -> None:
    page = open_page(width=width)
    assert violations_in_both_themes(page) == []
    page.click("#ask")
    page.wait_for_selector("#dialog[open]")
    assert violations_in_both_themes(page) == []
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.wait_for_selector("#keys[open]")
    assert violations_in_both_themes(page) == []
    page.keyboard.press("Escape")
    page.click("[popovertarget=user-menu]")
    page.wait_for_selector("#user-menu:popover-open")
    assert violations_in_both_themes(page) == []


def test_sign_in_and_error_pages_break_no_accessibility_rule(open_page: Open) -> None:
    errors = ("400", "403", "403_csrf", "404", "500", "registration/locked_out")
    page, found = open_page(), []
    for path in (*(f"/error/{name}/" for name in errors), "/login/"):
        if path == "/login/":
            page.context.clear_cookies()
        page.goto(path)
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            found += [(path, width, each) for each in violations_in_both_themes(page)]
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
    assert found == []


def test_a_phone_shows_everything_without_scrolling_sideways(open_page: Open) -> None:
    page = open_page(width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.click("button:has-text('Filters')")
    expect(page.locator("#filters")).to_be_visible()
    page.click("text=Show 42")
    expect(page.locator("#filters")).to_be_hidden()


def test_rows_are_walked_and_picked_by_keys(open_page: Open) -> None:
    page = open_page()
    expect(page.locator(".bulk")).to_be_hidden()
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.closest('tr').id") == "case-20392"
    page.keyboard.press("x")
    expect(page.locator("#case-20392 [data-pick]")).to_be_checked()
    expect(page.locator(".bulk")).to_contain_text("1 selected")
    page.keyboard.press("k")
    assert page.evaluate("document.activeElement.closest('tr').id") == "case-20391"
    page.keyboard.press("Enter")
    expect(page).to_have_title("Not here · Fiducial")


def test_letters_typed_into_a_field_are_no_keys_and_keys_can_be_turned_off(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("/")
    page.keyboard.type("jx?")
    expect(page.locator(".top [name=q]")).to_have_value("jx?")
    expect(page.locator("#keys")).to_be_hidden()
    page.locator(".top [name=q]").blur()
    page.keyboard.press("?")
    page.uncheck("[data-keys-switch]")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_hidden()


def test_g_and_a_letter_go_to_a_page_and_the_palette_finds_pages(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("Control+k")
    page.keyboard.type("destina")
    expect(page.locator("#palette [aria-selected=true]")).to_contain_text("Destinations")
    page.keyboard.press("Escape")
    expect(page.locator("#palette")).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("e")
    page.wait_for_url("**/exceptions/")


def test_a_write_is_previewed_asked_for_a_reason_told_and_taken_back(open_page: Open) -> None:
    page = open_page()
    page.click("#ask")
    dialog = page.locator("#dialog")
    expect(dialog).to_contain_text("Retry 3 failed deliveries?")
    dialog.locator("text=Retry 3 >> nth=-1").click()
    expect(dialog).to_contain_text("This field is required.")
    expect(dialog.locator("[name=reason]")).to_be_focused()
    page.keyboard.type("<i>Disk</i> freed")
    page.context.set_offline(True)
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("Not sent: there is no connection.")
    # A word about the dialog can be reached over it.
    page.locator("[data-toast-close]").click()
    page.context.set_offline(False)
    expect(dialog.locator("[name=reason]")).to_have_value("<i>Disk</i> freed")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    dialog.locator("text=Retry 3 >> nth=-1").dblclick()
    expect(dialog).to_be_hidden()
    expect(page.locator("#toasts")).to_contain_text("Retried: <i>Disk</i> freed")
    # A word that stands there already can be answered over a dialog that opens, which stays.
    page.wait_for_load_state("networkidle")
    page.keyboard.press("?")
    page.locator("#keys .toast").get_by_role("button", name="Undo").click(timeout=4000)
    expect(page.locator("#toasts")).to_contain_text("Taken back.")
    expect(page.locator("#keys")).to_be_visible()
    assert sum("confirm" in url for url in sent) == 1, "once, however often it was pressed"
    expect(page.locator("#toasts")).not_to_contain_text("Retried")


def test_the_same_write_works_without_any_script(open_page: Open) -> None:
    page = open_page(script=False)
    page.click("#ask")
    expect(page.locator("h1")).to_have_text("Retry 3 failed deliveries?")
    page.fill("[name=reason]", "Disk freed")
    page.click(".main button:has-text('Retry 3')")
    expect(page.locator("#toasts")).to_contain_text("Retried: Disk freed")
    page.click("#toasts button:has-text('Undo')")
    expect(page.locator("#toasts")).to_contain_text("Taken back.")


def test_filters_bring_only_the_list_and_its_address_and_keep_the_focus(open_page: Open) -> None:
    page = open_page()
    page.evaluate("window.sameDocument = true")
    page.click("#filters >> text=Overdue")
    page.wait_for_url("**/?due=over")
    expect(page.locator("#filters a:has-text('Overdue')")).to_be_focused()
    page.click("th >> text=Due")
    page.wait_for_url("**/?sort=-due")
    page.click("text=Next")
    page.wait_for_url("**/?after=9")
    assert page.evaluate("window.sameDocument")
    page.go_back()
    page.wait_for_url("**/?sort=-due")
    expect(page.locator("#case-20391")).to_be_visible()
    page.click("#case-20391 [data-open]")
    expect(page.locator("h1")).to_have_text("This page is not here")


def test_a_fault_of_the_server_is_told_in_words_and_the_page_stays(open_page: Open) -> None:
    page = open_page()
    page.click("#fail")
    expect(page.locator("#toasts")).to_contain_text("Something failed here and nothing was changed.")
    expect(page.locator("#case-20391")).to_be_visible()


def _case(number: int) -> ExceptionCase:
    site, _ = Site.objects.get_or_create(code="north", name="North")
    return ExceptionCase.objects.create(
        kind="delivery_failed", reason_code="refused", summary="Refused.", site=site,
        subject_type="delivery", subject_id=number, due_at=timezone.now(),
    )  # fmt: skip


def test_counts_refresh_without_losing_the_focus_and_are_empty_when_nothing_changed(open_page: Open) -> None:
    _case(1)
    page = open_page()
    deliveries = page.locator(".nav a[href='/deliveries/']")
    expect(deliveries).to_contain_text("1")
    deliveries.focus()
    refresh = "document.dispatchEvent(new CustomEvent('changed'))"
    with page.expect_response("**/shell/counts/**") as unchanged:
        page.evaluate(refresh)
    assert unchanged.value.status == 304
    _case(2)
    with page.expect_response("**/shell/counts/**") as changed:
        page.evaluate(refresh)
    assert changed.value.status == 200
    expect(deliveries).to_contain_text("2")
    expect(deliveries).to_be_focused()
    expect(page.locator(".nav [aria-current=page]")).to_contain_text("Exceptions")


def test_a_hidden_tab_does_not_poll(open_page: Open) -> None:
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "counts" in request.url else None)
    tick = "document.getElementById('nav-entries').dispatchEvent(new CustomEvent('every'))"
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.evaluate(tick)
    page.evaluate("fetch('/error/404/')")  # a request after it, so that one of the poll would have been seen
    assert asked == []
    page.evaluate("delete document.hidden")
    with page.expect_response("**/shell/counts/**"):
        page.evaluate(tick)


def test_a_session_that_ended_leads_to_sign_in_and_never_into_a_fragment(open_page: Open) -> None:
    page = open_page()
    page.context.clear_cookies()
    page.evaluate("document.dispatchEvent(new CustomEvent('changed'))")
    page.wait_for_url("**/login/?next=%2F")
    expect(page.locator("h1")).to_have_text("Sign in")


def test_a_session_that_ended_takes_nothing_away_that_was_typed(open_page: Open, mara: User) -> None:
    page = open_page("/users/add/")
    page.get_by_label("User name").fill("ines")
    page.context.clear_cookies(name="sessionid")
    page.evaluate("document.dispatchEvent(new CustomEvent('changed'))")
    expect(page.get_by_text("Your session has ended")).to_be_visible()
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_text("what you typed stays here")).to_be_visible()
    expect(page.get_by_label("User name")).to_have_value("ines")
    again = page.context.new_page()
    again.goto("/login/")
    again.get_by_label("User name").fill("mara")
    again.get_by_label("Password").fill("a long enough one")
    again.get_by_role("button", name="Sign in").click()
    again.wait_for_url("**/")
    page.get_by_label("Password").fill("also a long enough one")
    page.get_by_label("Role").select_option("reader")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url("**/users/")
    assert User.objects.filter(username="ines").exists()


def test_a_lost_line_is_told_and_then_found_again(open_page: Open) -> None:
    page = open_page()
    page.context.set_offline(True)
    page.evaluate("document.dispatchEvent(new CustomEvent('changed'))")
    expect(page.locator("#lost")).to_contain_text("Connection lost; it goes on by itself.")
    page.context.set_offline(False)
    page.evaluate("document.dispatchEvent(new CustomEvent('changed'))")
    expect(page.locator("#lost")).to_be_hidden()


def test_the_theme_is_kept_in_this_browser(open_page: Open) -> None:
    page = open_page(dark=True)
    root = page.locator("html")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    page.click("[data-theme-switch]")
    expect(root).to_have_attribute("data-bs-theme", "light")
    page.click("[popovertarget=user-menu]")
    page.click("text=Comfortable")
    page.reload()
    expect(root).to_have_attribute("data-bs-theme", "light")
    expect(root).to_have_attribute("data-density", "comfortable")


def test_what_is_searched_for_stands_in_no_address(open_page: Open) -> None:
    page = open_page()
    page.keyboard.press("/")
    page.keyboard.type("OKONKWO")
    page.keyboard.press("Enter")
    expect(page.locator(".head")).to_contain_text("0 found for “OKONKWO”")
    assert "OKONKWO" not in page.url


def test_an_identifier_is_copied_by_its_button(open_page: Open) -> None:
    page = open_page()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("[data-copy='S261116-0121']")
    expect(page.locator("#said")).to_have_text("Copied S261116-0121")
    assert page.evaluate("navigator.clipboard.readText()") == "S261116-0121"


def test_a_person_signs_in_and_out(open_page: Open) -> None:
    page = open_page("/", signed_in=False)
    page.fill("[name=username]", "mara")
    page.fill("[name=password]", "wrong")
    page.click("main button")
    expect(page.locator("[role=alert]")).to_contain_text("do not fit")
    page.fill("[name=password]", "a long enough one")
    page.click("main button")
    expect(page.locator("h1")).to_have_text("Components")
    page.click("[popovertarget=user-menu]")
    page.click("text=Sign out")
    expect(page.locator("h1")).to_have_text("Sign in")


def test_after_too_many_wrong_passwords_there_is_a_pause(open_page: Open) -> None:
    page = open_page("/login/", signed_in=False)
    for _ in range(settings.AXES_FAILURE_LIMIT):
        page.fill("[name=username]", "mara")
        page.fill("[name=password]", "wrong")
        page.click("main button")
        page.wait_for_load_state()
    expect(page.locator("h1")).to_have_text("Locked for a while")
