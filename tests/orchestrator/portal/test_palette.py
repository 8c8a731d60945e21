"""The palette: patients, orders, studies, cases, rules, destinations, pages and commands; of those that one may."""

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from orchestrator.audit import recorder
from orchestrator.models import AccessEvent, Role, Site, User
from reconciliation.services.reconcile import reconcile_study
from routing.models import RuleSet
from routing.services import destinations
from tests.factories import make_order, make_patient, make_site, make_study, make_user

pytestmark = pytest.mark.django_db


def signed_in(role: Role = Role.PACS_ADMINISTRATOR, site: Site | None = None) -> Client:
    client = Client()
    client.force_login(make_user(role, site=site))
    return client


def found(client: Client, text: str) -> dict[str, list[str]]:
    answer = client.post("/palette/", {"q": text})
    assert answer.status_code == 200
    return {kind: [row["title"] for row in rows] for kind, rows in answer.context["groups"]}


@pytest.fixture
def held() -> None:
    order = make_order(patient=make_patient("P77"), accession_number="A77")
    reconcile_study(make_study(order, patient_id="typed", accession_number="A77x").pk)


@pytest.mark.usefixtures("held")
def test_names_accessions_and_cases_are_found_as_they_are_typed() -> None:
    client = signed_in()
    assert found(client, "jan do")["Patients"] == ["DOE, Jane"]
    assert found(client, "A77")["Orders"] == ["DOE, Jane"]
    by_accession = found(client, "A77x")
    assert by_accession["Studies"] == ["DOE, Jane"]
    assert by_accession["Exceptions"][0].startswith("EX-")


def test_rules_destinations_pages_and_commands_are_found() -> None:
    make_site()
    archive = destinations.create(name="Night archive", ae_title="NIGHT", host="127.0.0.1", port=104)
    rule = {"name": "CT at night", "when": {"all": []}, "then": [{"action": "send", "destination": archive.pk}]}
    RuleSet.objects.update_or_create(name="default", defaults={"draft": [rule]})
    client = signed_in()
    both = found(client, "night")
    assert both["Destinations"] == ["Night archive"]
    assert both["Rules"] == ["CT at night"]
    assert "Dark theme" in both["Commands"]
    assert found(client, "deliv")["Pages"] == ["Deliveries"]
    assert "Add a rule" in found(client, "add rule")["Commands"]


@pytest.mark.usefixtures("held")
def test_nobody_finds_what_they_may_not_see() -> None:
    elsewhere = signed_in(site=make_site("SOUTH"))
    assert not {"Patients", "Orders", "Studies", "Exceptions"} & set(found(elsewhere, "A77x") | found(elsewhere, "doe"))
    manager = found(signed_in(Role.MANAGER), "doe")
    assert "Patients" not in manager
    assert "Studies" in manager
    auditor = signed_in(Role.AUDITOR)
    assert found(auditor, "A77") == {}
    assert found(auditor, "add a rule") == {}
    assert found(signed_in(Role.READER), "audit") == {}


def test_with_nothing_typed_stands_what_was_opened_last() -> None:
    client = signed_in()
    order = make_order(accession_number="A78")
    study = make_study(order)
    for url in (f"/orders/{order.pk}/", f"/studies/{study.pk}/", f"/patients/{order.patient.uid}/"):
        client.get(url)
    answer = client.post("/palette/", {"q": ""})
    [(kind, rows), (pages, _)] = answer.context["groups"]
    assert (kind, pages) == ("Recent", "Pages")
    assert [row["icon"] for row in rows] == ["users", "image", "order"]
    assert "A78" not in answer.request["PATH_INFO"]
    recorder.finish()
    seen = AccessEvent.objects.get(action="search")
    assert (seen.subject_type, seen.number_of_records) == ("hit", 3)


def test_what_was_opened_is_forgotten_with_the_right_to_see_it() -> None:
    client = signed_in()
    order = make_order()
    client.get(f"/orders/{order.pk}/")
    User.objects.latest("pk").role_assignments.update(role=Role.AUDITOR)
    assert "Recent" not in dict(client.post("/palette/", {"q": ""}).context["groups"])


@pytest.mark.usefixtures("held")
def test_a_letter_costs_few_queries(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    client = signed_in()
    with django_assert_max_num_queries(23):
        client.post("/palette/", {"q": "doe"})
