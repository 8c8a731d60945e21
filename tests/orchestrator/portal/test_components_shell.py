"""The shell: everybody sees the pages that are theirs, with what waits for a person there."""

from collections.abc import Callable
from functools import partial

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from orchestrator.models import ExceptionCase, Role, RoleAssignment, Site, User
from orchestrator.permissions import Viewer
from orchestrator.selectors import bounded
from orchestrator.views import shell
from orchestrator.views.shell import NAVIGATION, navigation

pytestmark = pytest.mark.django_db

SignIn = Callable[..., Client]


@pytest.fixture
def sites() -> list[Site]:
    return [Site.objects.create(code=code, name=code.title()) for code in ("north", "south")]


@pytest.fixture
def sign_in() -> SignIn:
    """`sign_in(Role.READER, site)`: a client of somebody with this role there (no site: everywhere)."""

    def sign_in_(role: Role, site: Site | None = None) -> Client:
        user = User.objects.create_user(f"{role}-{site}")
        RoleAssignment.objects.create(user=user, role=role, site=site)
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return sign_in_


def _case(site: Site, kind: str = "delivery_failed", subject: int = 1) -> ExceptionCase:
    return ExceptionCase.objects.create(
        kind=kind, reason_code="x", summary="Refused.", site=site,
        subject_type="delivery", subject_id=subject, due_at=timezone.now(),
    )  # fmt: skip


def _shown(client: Client) -> dict[str, int]:
    return {
        entry["label"]: entry["count"]
        for group in client.get("/shell/counts/").context["nav"]["groups"]
        for entry in group["entries"]
    }


def test_the_navigation_has_what_the_role_may_see(sign_in: SignIn) -> None:
    every = {entry.label for entries in NAVIGATION.values() for entry in entries}
    assert set(_shown(sign_in(Role.ADMINISTRATOR))) == every
    reader = set(_shown(sign_in(Role.READER)))
    assert {"Patients", "Studies"} <= reader
    assert not reader & {"Exceptions", "Messages", "Users"}


def test_a_page_counts_the_cases_that_wait_there_at_the_viewers_sites(sign_in: SignIn, sites: list[Site]) -> None:
    north, south = sites
    _case(north, subject=1)
    _case(south, subject=2)
    _case(south, "hl7_quarantine", subject=3)
    resolved = _case(south, subject=4)
    ExceptionCase.objects.filter(pk=resolved.pk).update(status="RESOLVED")
    everywhere = _shown(sign_in(Role.PACS_ADMINISTRATOR))
    assert (everywhere["Exceptions"], everywhere["Deliveries"], everywhere["Messages"]) == (3, 2, 1)
    at_north = _shown(sign_in(Role.PACS_ADMINISTRATOR, north))
    assert (at_north["Exceptions"], at_north["Deliveries"], at_north["Messages"]) == (1, 1, 0)


def test_who_may_not_see_exceptions_learns_no_count(sign_in: SignIn, sites: list[Site]) -> None:
    _case(sites[0])
    assert set(_shown(sign_in(Role.READER)).values()) == {0}


def test_the_navigation_costs_one_query(
    sign_in: SignIn, sites: list[Site], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    sign_in(Role.ADMINISTRATOR)
    viewer = Viewer.of(User.objects.get())
    with django_assert_num_queries(1):
        navigation(viewer)


def test_the_navigation_counts_no_further_than_anybody_reads(
    sign_in: SignIn, sites: list[Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    for subject in range(3):
        _case(sites[0], subject=subject)
    client = sign_in(Role.PACS_ADMINISTRATOR)
    monkeypatch.setattr(shell, "MOST_COUNTED", 2)
    monkeypatch.setattr(shell, "bounded", partial(bounded, most=2))
    assert '"n" title="2+ wait for a person"' in client.get("/shell/counts/").content.decode()
    # The queue has counted them itself, and the navigation beside it tells the same.
    assert '"n" title="2+ wait for a person"' in client.get("/exceptions/").content.decode()


def test_counts_are_for_people_who_are_signed_in() -> None:
    assert Client().get("/shell/counts/").status_code == 302


def test_the_site_is_remembered_and_the_way_back_stays_here(sign_in: SignIn, sites: list[Site]) -> None:
    client = sign_in(Role.ADMINISTRATOR)
    response = client.post("/shell/site/", {"site": sites[1].pk, "next": "/studies/"})
    assert response.headers["Location"] == "/studies/"
    assert client.session["site"] == sites[1].pk
    elsewhere = client.post("/shell/site/", {"site": "", "next": "https://elsewhere.example/"})
    assert elsewhere.headers["Location"] == "/"
    assert client.session["site"] is None


def find_nothing_but_ann(viewer: Viewer, text: str, most: int) -> list[dict[str, str]]:
    """A search provider, named in settings by the test."""
    hit = {
        "kind": "Patients",
        "icon": "users",
        "title": "LEE, Ann",
        "ident": "N1",
        "sub": "1970",
        "url": "/patients/x/",
    }
    return [hit] * {"ann": 1, "lee": 2}.get(text, 0)


def test_a_search_shows_its_hits_or_opens_the_only_one(sign_in: SignIn, settings: Settings) -> None:
    settings.SEARCH_PROVIDERS = [f"{__name__}.find_nothing_but_ann"]
    client = sign_in(Role.ADMINISTRATOR)
    page = client.post("/search/", {"q": " lee "}, follow=True)
    assert page.redirect_chain[0][0].startswith("/search/")
    assert "lee" not in page.redirect_chain[0][0]
    assert page.content.count(b"LEE, Ann") == 2
    address = client.post("/search/", {"q": "ann"}).headers["Location"]
    assert client.get(address).headers["Location"] == "/patients/x/"


def test_a_search_belongs_to_the_session_that_made_it(sign_in: SignIn) -> None:
    address = sign_in(Role.ADMINISTRATOR).post("/search/", {"q": "lee"}).headers["Location"]
    assert sign_in(Role.READER).get(address).status_code == 404
