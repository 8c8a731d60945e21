"""A case decided in a browser, by key and by pointer, on a desk and on a phone."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from orchestrator.models import Correction, ExceptionCase
from orchestrator.states import Identity
from reconciliation.services.reconcile import reconcile_study
from tests.accessibility import violations
from tests.factories import make_order, make_patient, make_site, make_study

pytestmark = [pytest.mark.peer("chromium"), pytest.mark.django_db(transaction=True)]

Open = Callable[..., Page]


@pytest.fixture
def case() -> ExceptionCase:
    site = make_site("NORTH")
    order = make_order(patient=make_patient("0012345", site=site), site=site, accession_number="A1")
    make_order(patient=make_patient(name="Doe^Janet", site=site), site=site, accession_number="A2")
    study = make_study(
        order, uid="2.25.4711", patient_id="12345", patient_name="Do^Jane", accession_number="",
        requested_procedure_id="", sps_id="",
    )  # fmt: skip
    reconcile_study(study.pk)
    return ExceptionCase.objects.get(study=study)


def identity(case: ExceptionCase) -> str:
    claim = ExceptionCase.objects.get(pk=case.pk).claim
    assert claim is not None
    return claim.identity


def test_a_match_by_key_says_what_leaves_and_its_undo_is_one_click(open_page: Open, case: ExceptionCase) -> None:
    page = open_page(f"/exceptions/{case.pk}/")
    # Who else reads it is asked for once htmx is at work; before that the key opens the page, not the dialog.
    page.wait_for_load_state("networkidle")
    page.keyboard.press("m")
    dialog = page.locator("#dialog")
    expect(dialog.get_by_label("Reason")).to_be_focused()
    dialog.get_by_role("button", name="Match", exact=True).click()
    expect(dialog.get_by_label("Reason")).to_have_attribute("aria-invalid", "true")
    dialog.get_by_label("Do^Jane").check()
    dialog.get_by_label("Reason").fill("The name band agrees")
    dialog.get_by_role("button", name="Match", exact=True).click()
    expect(page.locator("[data-toast-text]")).to_have_text(f"EX-{case.pk} is matched to A1.")
    assert identity(case) == Identity.MATCHED
    assert not Correction.objects.filter(attribute="PatientName").exists()
    page.get_by_role("button", name="Undo").click()
    page.wait_for_url(f"**/exceptions/{case.pk}/")
    expect(page.get_by_text("is taken back")).to_be_visible()
    assert identity(case) == Identity.HELD


def test_without_script_a_match_is_a_page_and_a_form(open_page: Open, case: ExceptionCase) -> None:
    page = open_page(f"/exceptions/{case.pk}/", script=False)
    page.locator("[data-accession=A1]").get_by_role("link", name="Match to this order").click()
    page.get_by_label("Reason").fill("The name band agrees")
    page.get_by_role("button", name="Match", exact=True).click()
    assert identity(case) == Identity.MATCHED


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_case_and_its_dialogs_break_no_accessibility_rule(
    open_page: Open, case: ExceptionCase, width: int, dark: bool
) -> None:
    page = open_page(f"/exceptions/{case.pk}/", width=width, dark=dark)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.wait_for_load_state("networkidle")
    page.locator("[data-accession=A1]").get_by_role("link", name="Match to this order").click()
    page.wait_for_selector("#dialog[open]")
    assert violations(page) == []
    page.get_by_label("Reason").fill("The name band agrees")
    page.get_by_role("button", name="Match", exact=True).click()
    page.wait_for_selector("[data-toast]")
    page.goto(f"/exceptions/{case.pk}/")
    assert violations(page) == []
