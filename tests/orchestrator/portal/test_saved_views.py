"""Saved views: filters under a name, for oneself or shared, with a count, a link, and never what was searched for."""

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from orchestrator.models import DefaultView, Role, SavedView, User
from orchestrator.permissions import Viewer
from orchestrator.services import views
from orchestrator.views import saved
from tests.factories import make_order, make_site, make_study, make_user

pytestmark = pytest.mark.django_db

PART = {"HX-Request": "true", "HX-Request-Type": "partial"}
SignIn = Callable[..., Client]


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def ines() -> User:
    return make_user(name="ines")


def save(client: Client, page: str, query: str, name: str, **more: str) -> int:
    answer = client.post(f"/views/{page}/save/?{query}", {"name": name, **more})
    assert answer.status_code == 302, answer.text
    return SavedView.objects.latest("pk").pk


def test_a_view_keeps_filters_and_order_and_shows_how_many_match(ines: User) -> None:
    make_study(make_order(), identity="HELD")
    client = signed_in(ines)
    assert "Save this view" in client.get("/studies/?identity=PENDING").text
    save(client, "studies", "identity=PENDING&site=all", "To compare")
    page = client.get("/studies/?identity=PENDING")
    assert "To compare" in page.text
    assert page.context["views"]["active"]["label"] == "To compare"
    tabs = client.get("/views/studies/?identity=PENDING", headers=PART)
    assert [(row["label"], row.get("count")) for row in tabs.context["views"]["rows"]] == [
        ("All", None), ("To compare", "1"),
    ]  # fmt: skip
    again = client.get("/views/studies/?identity=PENDING", headers={**PART, "If-None-Match": tabs.headers["ETag"]})
    assert again.status_code == 304


def test_what_was_searched_for_is_not_saved_and_it_is_said(ines: User) -> None:
    client = signed_in(ines)
    found = client.post("/studies/", {"q": "doe"}).headers["Location"].partition("?")[2]
    assert "is not saved: it may name a patient" in client.get(f"/views/studies/save/?{found}&custody=RECEIVED").text
    save(client, "studies", f"{found}&custody=RECEIVED&after=2026-01-01T00:00:00Z~7", "Received")
    assert SavedView.objects.get().query == "custody=RECEIVED"


def test_a_view_is_ones_own_until_it_is_shared(ines: User) -> None:
    olaf = signed_in(make_user(name="olaf"))
    mine = save(signed_in(ines), "orders", "status=ON_HOLD", "On hold")
    assert "On hold</a>" not in olaf.get("/orders/").text
    assert olaf.get(f"/views/orders/{mine}/edit/").status_code == 404
    signed_in(ines).post(f"/views/orders/{mine}/edit/", {"name": "Waiting orders", "shared": "on"})
    assert "Waiting orders" in olaf.get("/orders/").text
    assert SavedView.objects.get().history.count() == 2


def test_who_may_not_share_keeps_it_for_themselves() -> None:
    reader = make_user(Role.READER)
    save(signed_in(reader), "studies", "identity=HELD", "Held", shared="on")
    assert not SavedView.objects.get().shared


def test_a_list_begins_with_the_default_and_shows_all_when_asked(ines: User) -> None:
    client = signed_in(ines)
    save(client, "exceptions", "kind=unmatched_study&site=all", "No order", default="on")
    begun = client.get("/exceptions/")
    assert begun.headers["Location"] == "/exceptions/?kind=unmatched_study&site=all"
    assert client.get("/exceptions/?view=open").status_code == 200
    assert client.get("/exceptions/", headers=PART).status_code == 200
    view = SavedView.objects.get()
    client.post(f"/views/exceptions/{view.pk}/edit/", {"name": "No order"})
    assert client.get("/exceptions/").status_code == 200
    assert not DefaultView.objects.exists()


def test_who_may_only_see_a_shared_view_may_begin_with_it_and_no_more(ines: User) -> None:
    view = save(signed_in(ines), "studies", "custody=RECEIVED", "Here", shared="on")
    reader = make_user(Role.READER)
    client = signed_in(reader)
    form = client.get(f"/views/studies/{view}/edit/")
    assert list(form.context["form"].fields) == ["default"]
    assert "Delete this view" not in form.text
    assert client.post(f"/views/studies/{view}/edit/", {"default": "on", "name": "Mine"}).status_code == 302
    assert client.get("/studies/").headers["Location"] == "/studies/?custody=RECEIVED"
    assert client.post(f"/views/studies/{view}/delete/").status_code == 404
    assert client.post(f"/views/studies/{view}/edit/", {}).status_code == 302
    assert client.get("/studies/").status_code == 200
    assert SavedView.objects.get().name == "Here"


def test_filters_that_are_too_many_are_not_saved_in_part(ines: User) -> None:
    client = signed_in(ines)
    url = f"/views/exceptions/save/?source={'A' * 600}"
    assert "too many filters for one view" in client.get(url).text
    assert "too many filters for one view" in client.post(url, {"name": "Long"}).text
    assert not SavedView.objects.exists()


def test_a_default_without_filters_begins_with_all(ines: User) -> None:
    client = signed_in(ines)
    save(client, "orders", "", "All", default="on")
    assert client.get("/orders/").status_code == 200


def test_a_name_that_is_saved_twice_at_one_moment_is_taken(ines: User) -> None:
    view = views.save_view(owner=ines, page="orders", name="One", query="", shared=False)
    with pytest.raises(views.NameTaken):
        views.save_view(owner=ines, page="orders", name="One", query="", shared=False)
    other = views.save_view(owner=ines, page="orders", name="Two", query="", shared=False)
    with pytest.raises(views.NameTaken):
        views.change_view(other, name="One", shared=False)
    assert [each.name for each in SavedView.objects.order_by("pk")] == [view.name, "Two"]


def test_a_poll_counts_a_few_views_that_are_stale_and_no_fresh_one(ines: User, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        SavedView.objects.create(owner=ines, page="studies", name=f"View {number}", query="identity=HELD")
    client = signed_in(ines)
    asked: list[SavedView] = []
    count = saved._count

    def counting(viewer: Viewer, listed: saved.ListPage, view: SavedView) -> int:
        asked.append(view)
        return count(viewer, listed, view)

    monkeypatch.setattr(saved, "_count", counting)
    polls = []
    for _ in range(3):
        answer = client.get("/views/studies/", headers=PART)
        polls.append((len(asked), [row["count"] for row in answer.context["views"]["rows"][1:]]))
    assert [number for number, _ in polls] == [5, 7, 7]
    assert polls[0][1] == ["0"] * 5 + [None] * 2
    assert polls[2][1] == ["0"] * 7
    assert [row["count"] for row in client.get("/studies/").context["views"]["rows"][1:]] == ["0"] * 7


def test_a_name_is_taken_once_and_a_deleted_view_is_gone(ines: User) -> None:
    client = signed_in(ines)
    mine = save(client, "deliveries", "status=FAILED", "Failed")
    twice = client.post("/views/deliveries/save/?status=QUEUED", {"name": "Failed"})
    assert twice.status_code == 422
    assert "already" in twice.text
    assert "Delete the view" in client.get(f"/views/deliveries/{mine}/delete/").text
    client.post(f"/views/deliveries/{mine}/delete/")
    assert not SavedView.objects.exists()


def test_a_shared_view_counts_what_each_may_see(ines: User) -> None:
    north, south = make_site("NORTH"), make_site("SOUTH")
    make_study(make_order(site=north))
    save(signed_in(ines), "studies", "custody=RECEIVED&site=all", "Here", shared="on")
    for site, number in ((north, "1"), (south, "0")):
        tabs = signed_in(make_user(site=site)).get("/views/studies/", headers=PART)
        assert tabs.context["views"]["rows"][1]["count"] == number


@pytest.mark.parametrize("page", ["exceptions", "studies", "orders", "deliveries", "messages"])
def test_each_list_has_views_and_an_unknown_one_has_none(ines: User, page: str) -> None:
    client = signed_in(ines)
    save(client, page, "site=all&sort=-due", "Mine")
    assert "Mine" in client.get(f"/{page}/?site=all").text
    assert client.get("/views/nothing/", headers=PART).status_code == 404


def test_views_cost_a_list_two_queries_however_many_there_are(
    ines: User, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(12):
        SavedView.objects.create(owner=ines, page="studies", name=f"View {number}", query="identity=HELD")
    client = signed_in(ines)
    client.get("/views/studies/", headers=PART)
    with django_assert_max_num_queries(16):
        assert "View 11" in client.get("/studies/").text
