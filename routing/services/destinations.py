"""Destinations: where studies are sent."""

import re
from typing import Any

from django.db import IntegrityError, transaction

from orchestrator.models import ApplicationEntity, Device, Site, acting, current_actor
from orchestrator.services.peers import AE_TITLE, AE_TITLE_IS
from orchestrator.services.workflow import record
from routing.models import Destination, Line
from routing.services import turns
from routing.transports.echo import Heard
from routing.transports.echo import echo as ask

_HOST = re.compile(r"[A-Za-z0-9._:-]{1,255}")
_LONGEST_NAME = 100
_LAST_PORT = 65535
_TAKEN = {"name": "Another destination has this name."}


class Invalid(Exception):
    """A destination that cannot be: {field: what is wrong}."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in problems.items()))
        self.problems = problems


@transaction.atomic
def create(
    *,
    name: str,
    ae_title: str,
    host: str,
    port: int,
    required_for_custody: bool = False,
    site: Site | None = None,
    device: Device | None = None,
) -> Destination:
    """A DICOM destination. Raises Invalid.

    It is on `device`, else on the one that calls us by this AE title from there, else on that of its name (made at
    `site` when there is none): the loop guard compares devices.
    """
    _check(None, name=name, ae_title=ae_title, host=host, port=port)
    known = ApplicationEntity.objects.select_related("device").filter(ae_title=ae_title).first()
    if device is None and known is not None and known.host in ("", host) and known.port in (None, port):
        device = known.device
    if device is None:
        device, _ = Device.objects.get_or_create(
            name=name, defaults={"kind": Device.Kind.ARCHIVE, "site": site or Site.objects.earliest("pk")}
        )
    made = Destination(
        name=name, device=device, ae_title=ae_title, host=host, port=port, required_for_custody=required_for_custody
    )
    _save(made)
    Line.objects.create(destination=made)
    _introduce(made)
    return made


def _introduce(destination: Destination) -> None:
    """A destination is a peer that is configured: what it sends us is known to come from where we send to.

    An application entity that somebody else has made stays as it is.
    """
    known = ApplicationEntity.objects.filter(ae_title=destination.ae_title).first()
    if known is None:
        ApplicationEntity.objects.create(
            ae_title=destination.ae_title, device=destination.device, host=destination.host, port=destination.port
        )
    elif known.device_id == destination.device_id and known.host and known.port:
        known.host, known.port = destination.host, destination.port
        known.save(update_fields=["host", "port"])


@transaction.atomic
def change(*, destination: Destination, reason: str = "", **columns: Any) -> Destination:
    """Change name, ae_title, host, port or required_for_custody; its device stays. Raises Invalid.

    What is as it was is not written: the history has changes only.
    """
    current = Destination.objects.select_for_update(no_key=True).get(pk=destination.pk)
    _check(current, **columns)
    changed = {name: value for name, value in columns.items() if getattr(current, name) != value}
    for name, value in changed.items():
        setattr(current, name, value)
    if changed:
        with acting(current_actor(), reason):
            _save(current, *changed)
            if changed.keys() & {"ae_title", "host", "port"}:
                _introduce(current)
                turns.try_now(current)
    return current


def _save(destination: Destination, *columns: str) -> Destination:
    """Saved; Invalid when somebody gave its name to another one at this moment."""
    try:
        with transaction.atomic():
            destination.save(update_fields=columns or None)
    except IntegrityError as error:
        raise Invalid(_TAKEN) from error
    return destination


def echo(*, destination: Destination) -> Heard:
    """C-ECHO it now, and keep what came of it in its history. Takes seconds where nobody answers."""
    heard = ask(ae_title=destination.ae_title, host=destination.host, port=destination.port)
    if heard.ok:
        turns.try_now(destination)
    record(
        "destination.echoed",
        destination,
        detail={"ok": heard.ok, "milliseconds": heard.milliseconds, "error": heard.error},
    )
    return heard


def _check(known: Destination | None, **columns: Any) -> None:
    problems = {}
    if "name" in columns:
        others = Destination.objects.filter(name=columns["name"])
        if not columns["name"].strip() or len(columns["name"]) > _LONGEST_NAME:
            problems["name"] = f"A name has 1 to {_LONGEST_NAME} characters."
        elif (others.exclude(pk=known.pk) if known else others).exists():
            problems.update(_TAKEN)
    if "ae_title" in columns and not re.fullmatch(AE_TITLE, columns["ae_title"]):
        problems["ae_title"] = AE_TITLE_IS
    if "host" in columns and not _HOST.fullmatch(columns["host"]):
        problems["host"] = "A host name or an address is needed, without a scheme."
    if "port" in columns and not 1 <= columns["port"] <= _LAST_PORT:
        problems["port"] = "A port is 1 to 65535."
    if problems:
        raise Invalid(problems)
