"""What a search finds, beside what going through every row by hand finds."""

import datetime as dt
import random
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.db.models import QuerySet
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import selectors
from orchestrator.models import IdentityClaim, ImagingServiceRequest, Patient, Role, Site, Study, folded_words, search
from orchestrator.permissions import Viewer
from orchestrator.views import hits, lists
from tests.factories import make_order, make_patient, make_site, make_study, make_user

BACKEND = "django.contrib.auth.backends.ModelBackend"
NAMES = (
    "Müller^Anna", "Muller^Hanna^Maria", "O'Brien^Zoë", "García-López^José", "Yamada^Tarō=山田^太郎", "de Souza^Ana",
    "Smith^John", "Smithers^Jon", "ANNA^SMITH", "", "Łukasik^Ewa",
)  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from([
        "muller", "MÜL", "anna m", "maria, muller", "smith anna", "jose garcia lopez", "山田", "o'brien", "o brien zoe",
        "-", "^", "s", "P1", "A1", "1970-02-28", "1980-01-01", "C7", "nobody", "an", "hn", "100%", "a_", "%",
    ]),
    st.text("AMSanmsoZé '山-1", min_size=1, max_size=4),
)  # fmt: skip


@pytest.fixture
def site() -> Site:
    """Two sites with patients, orders and studies, some of which nobody could match."""
    chance, sites = random.Random(3), [make_site("MAIN"), make_site("LAKE", issuer="LAKE")]
    for number in range(24):
        here, born = sites[number % 3 == 0], chance.choice([dt.date(1970, 2, 28), dt.date(1980, 1, 1), None])
        patient = make_patient(f"P{number}", site=here, name=chance.choice(NAMES), birth_date=born)
        order = make_order(patient=patient, site=here, accession_number=f"A{number}")
        study = make_study(order, accession_number=chance.choice([f"A{number}", f"C{number}", ""]),
                           patient_name=chance.choice(NAMES))  # fmt: skip
        matched = number % 4 > 0
        Study.objects.filter(pk=study.pk).update(patient=patient if matched else None)
        IdentityClaim.objects.filter(study=study).update(order=order if matched else None)
    survivor = Patient.objects.earliest("pk")
    Patient.objects.filter(identifiers__value="P1").update(merged_into=survivor)
    return sites[1]


def _begins(text: str, name: str) -> bool:
    words = folded_words(text)
    return bool(words) and all(any(known.startswith(word) for known in folded_words(name)) for word in words)


def _is_meant(patient: Patient, text: str) -> bool:
    born = selectors._date(text)
    named = patient.birth_date == born if born else _begins(text, patient.name)
    return named or any(each.value == text for each in patient.identifiers.all())


def _patients(text: str) -> set[int]:
    found = {each.merged_into.pk for each in Patient.objects.select_related("merged_into")
             if each.merged_into and any(known.value == text for known in each.identifiers.all())}  # fmt: skip
    return {each.pk for each in Patient.objects.filter(merged_into=None) if _is_meant(each, text)} | found


def _studies(text: str) -> set[int]:
    return {study.pk for study in Study.objects.all() if _study_is_meant(study, text)}


def _study_is_meant(study: Study, text: str) -> bool:
    claims: Iterable[IdentityClaim] = study.claims.select_related("order")
    return (
        study.study_instance_uid == text
        or (study.patient is not None and _is_meant(study.patient, text))
        or any(
            text in (claim.accession_number, claim.patient_id, claim.order.accession_number if claim.order else "")
            or _begins(text, claim.patient_name)
            for claim in claims
        )
    )


def _orders(text: str) -> set[int]:
    return {
        order.pk
        for order in ImagingServiceRequest.objects.select_related("patient")
        if text in (order.accession_number, order.placer_order_number, order.filler_order_number)
        or _is_meant(order.patient, text)
    }


@pytest.mark.django_db
@pytest.mark.parametrize("few", [10_000, 0], ids=["looked up", "gone through"])
def test_a_search_finds_what_going_through_every_row_finds(
    site: Site, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "FEW", few)
    everywhere, lake = Viewer.of(make_user()), Viewer.of(make_user(Role.PACS_ADMINISTRATOR, site=site))

    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(text=TEXTS)
    def finds_the_same(text: str) -> None:
        for find, by_hand in (
            (selectors.patients, _patients), (selectors.studies, _studies), (selectors.orders, _orders),
        ):  # fmt: skip
            found = [each.pk for each in find(everywhere, text)]
            assert sorted(found) == sorted(by_hand(text)), (find, text)
            here = {each.pk for each in find(lake)}
            assert {each.pk for each in find(lake, text)} == by_hand(text) & here, (find, text)
        there = {each.pk for each in selectors.patients(everywhere, text, str(site.pk))}
        assert there == {each.pk for each in selectors.patients(lake, text)}, text

    finds_the_same()


@pytest.mark.django_db
def test_what_is_common_and_rare_in_a_list_is_looked_for_part_by_part_and_all_of_it_found(
    site: Site, monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    monkeypatch.setattr(search, "FEW", 0)
    monkeypatch.setattr(search, "WINDOW", 5)
    client.force_login(make_user(), backend=BACKEND)
    finds: dict[str, Callable[..., QuerySet[Any]]] = {
        "patients": selectors.patients, "studies": selectors.studies, "orders": selectors.orders,
    }  # fmt: skip
    for page, find in finds.items():
        address, found, pages = client.post(f"/{page}/", {"q": "a"}).headers["Location"], list[int](), 0
        while address:
            listed = client.get(address).context["found"]
            found += [row.pk for row in listed.rows]
            assert listed.looked == (5 if listed.next else 0)
            address, pages = listed.next, pages + 1
        assert sorted(found) == sorted(each.pk for each in find(Viewer.of(make_user()), "a"))
        assert len(found) == len(set(found)) > 2
        assert pages >= 4


@pytest.mark.django_db
@pytest.mark.parametrize("few", [10_000, 0], ids=["looked up", "gone through"])
def test_what_came_at_one_moment_is_found_once_whether_or_not_a_part_of_the_list_ends_there(
    site: Site, monkeypatch: pytest.MonkeyPatch, client: Client, few: int
) -> None:
    monkeypatch.setattr(search, "FEW", few)
    monkeypatch.setattr(search, "WINDOW", 2)
    monkeypatch.setattr(lists, "PAGE_ROWS", 2)
    client.force_login(make_user(), backend=BACKEND)
    middle = list(Patient.objects.order_by("created_at", "pk"))[1:]
    Patient.objects.filter(pk__in=[each.pk for each in middle]).update(created_at=middle[0].created_at)
    address, found = client.post("/patients/", {"q": "a"}).headers["Location"], list[int]()
    while address:
        listed = client.get(address).context["found"]
        found += [row.pk for row in listed.rows]
        address = listed.next
    everybody = selectors.patients(Viewer.of(make_user()), "a").order_by("-created_at", "-pk")
    assert found == [each.pk for each in everybody]
    assert len(found) > 2


@pytest.mark.django_db
def test_who_sees_one_site_looks_through_its_patients_and_not_through_those_of_others(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    monkeypatch.setattr(search, "FEW", 0)
    monkeypatch.setattr(search, "WINDOW", 2)
    here, there = make_site("LAKE"), make_site("HILL")
    make_patient("1", name="Smith^Ann", site=here)
    for number in range(4):
        make_patient(f"9{number}", name="Smith^Bob", site=there)
    client.force_login(make_user(Role.PACS_ADMINISTRATOR, site=here), backend=BACKEND)
    address = client.post("/patients/", {"q": "smith"}).headers["Location"]
    found = client.get(address).context["found"]
    assert ([each.name for each in found.rows], found.next) == (["Smith^Ann"], "")
    viewer = Viewer.of(make_user(Role.PACS_ADMINISTRATOR, site=here))
    assert [each["title"] for each in hits.find(viewer, "smith", 5) if each["kind"] == "Patients"] == ["SMITH, Ann"]


@pytest.mark.django_db
def test_a_window_that_ends_in_one_moment_with_the_list_has_nothing_behind_it(
    monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    monkeypatch.setattr(search, "FEW", 0)
    monkeypatch.setattr(search, "WINDOW", 2)
    site = make_site()
    for number in range(4):
        make_patient(f"9{number}", name="Smith^Bob", site=site)
    Patient.objects.update(created_at=timezone.now())
    client.force_login(make_user(), backend=BACKEND)
    address = client.post("/patients/", {"q": "smith"}).headers["Location"]
    found = client.get(address).context["found"]
    assert (len(found.rows), found.next) == (4, "")


@pytest.mark.django_db
def test_a_part_of_a_list_without_any_says_how_far_it_was_looked_and_where_to_go_on(
    site: Site, monkeypatch: pytest.MonkeyPatch, client: Client
) -> None:
    monkeypatch.setattr(search, "FEW", 0)
    monkeypatch.setattr(search, "WINDOW", 1)
    client.force_login(make_user(), backend=BACKEND)
    Patient.objects.order_by("-created_at")[0].words.all().delete()
    address = client.post("/patients/", {"q": "anna"}).headers["Location"]
    assert "Look further back" in client.get(address).content.decode()


@pytest.mark.django_db
def test_a_patient_is_found_by_a_new_name_and_no_longer_by_the_old_one() -> None:
    from orchestrator.services.patients import IdentifierData, PatientData, upsert_patient

    viewer, site = Viewer.of(make_user()), make_site()
    for name in ("Doe^Jane", "Roe^Jane"):
        told = PatientData([IdentifierData("P1", "MAIN")], name=name, birth_date=dt.date(1970, 2, 28), updates=True)
        upsert_patient(data=told, site=site)
    assert [each.name for each in selectors.patients(viewer, "jane r")] == ["Roe^Jane"]
    assert not selectors.patients(viewer, "doe").exists()


@pytest.mark.django_db
def test_a_long_text_costs_no_more_than_a_long_name(site: Site, django_assert_max_num_queries: Any) -> None:
    viewer, text = Viewer.of(make_user()), " ".join(f"word{number} s an" for number in range(60))
    for find in (selectors.patients, selectors.studies, selectors.orders):
        with django_assert_max_num_queries(6) as asked:
            assert not find(viewer, text).exists()
        assert max(each["sql"].count("GLOB") + each["sql"].count("LIKE") for each in asked.captured_queries) <= 16
    assert len(search._beginnings("smith smith s smi maria")) == 2
