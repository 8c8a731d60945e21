"""Rules as people write them: the form of the editor as a browser sends it."""

from typing import Any

from django.test import Client

from orchestrator.models import Role, Site
from routing.models import Destination, RuleSet
from routing.services import destinations
from tests.factories import make_site, make_user


def sign_in(role: Role = Role.PACS_ADMINISTRATOR, site: Site | None = None, *, name: str = "") -> Client:
    client = Client()
    user = make_user(role, site=site, name=name)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def make_archive() -> Destination:
    """The one destination that the rules name, and the empty set of rules."""
    make_site()
    RuleSet.objects.get_or_create(name="default")
    return destinations.create(name="Archive", ae_title="ARCHIVE", host="127.0.0.1", port=9)


def draft() -> list[dict[str, Any]]:
    return list(RuleSet.objects.get(name="default").draft)


def typed(archive: Destination, *rows: tuple[str, str, str], name: str = "Night CT", **more: str) -> dict[str, str]:
    """The editor's form, as a browser sends it."""
    form = {"name": name, "enabled": "on", "join": "all", "condition-TOTAL_FORMS": str(len(rows) + 1),
            "condition-INITIAL_FORMS": "0", "send-TOTAL_FORMS": "1", "send-INITIAL_FORMS": "0",
            "send-0-destination": str(archive.pk), "send-0-priority": "urgent"}  # fmt: skip
    for number, (field, op, value) in enumerate(rows):
        form |= {f"condition-{number}-field": field, f"condition-{number}-op": op, f"condition-{number}-value": value}
    return {**form, **more}


def hidden(page: str, name: str) -> str:
    """What a page sends back unseen."""
    return page.partition(f'name="{name}" value="')[2].partition('"')[0]


def stamp_in(page: str) -> str:
    """Which draft the page shows."""
    return hidden(page, "stamp")


def edit(client: Client, archive: Destination, position: int, *rows: tuple[str, str, str], **more: str) -> int:
    """Open the editor and save; the status of the answer."""
    address = f"/routing/rules/{position}/"
    page = client.get(address).text
    unseen = {"stamp": stamp_in(page), "was": hidden(page, "was")}
    return client.post(address, {**typed(archive, *rows, **more), **unseen}).status_code


def publish(client: Client, comment: str) -> str:
    """Confirm the dialog; the page that follows."""
    stamp = stamp_in(client.get("/routing/publish/").text)
    return client.post("/routing/publish/", {"comment": comment, "stamp": stamp}, follow=True).text


def add(client: Client, archive: Destination, *rows: tuple[str, str, str], **more: str) -> None:
    stamp = stamp_in(client.get("/routing/add/").text)
    answer = client.post("/routing/add/", {**typed(archive, *rows, **more), "stamp": stamp})
    assert answer.status_code == 302, answer.text
