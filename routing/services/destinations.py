"""Destinations: where studies are sent."""

import re
from typing import Any

from django.db import transaction

from orchestrator.models import Device, Site
from routing.models import Destination

# PS3.5 6.2, AE: 1 to 16 characters of the default repertoire without backslash and controls, not only spaces.
_AE_TITLE = re.compile(r"(?=.*[^ ])[ -\[\]-~]{1,16}")


class Invalid(Exception):
    """A destination that cannot be: {field: what is wrong}."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in problems.items()))
        self.problems = problems


@transaction.atomic
def create(
    *, name: str, ae_title: str, host: str, port: int, required_for_custody: bool = False, site: Site | None = None
) -> Destination:
    """A DICOM destination, on the device of its name (made when there is none). Raises Invalid."""
    _check(None, name=name, ae_title=ae_title, host=host, port=port)
    device, _ = Device.objects.get_or_create(
        name=name, defaults={"kind": Device.Kind.ARCHIVE, "site": site or Site.objects.earliest("pk")}
    )
    return Destination.objects.create(
        name=name, device=device, ae_title=ae_title, host=host, port=port, required_for_custody=required_for_custody
    )


@transaction.atomic
def change(*, destination: Destination, **columns: Any) -> Destination:
    """Change name, ae_title, host, port or required_for_custody. Raises Invalid."""
    _check(destination, **columns)
    for name, value in columns.items():
        setattr(destination, name, value)
    destination.save(update_fields=list(columns))
    return destination


def _check(known: Destination | None, **columns: Any) -> None:
    problems = {}
    name = columns.get("name", known.name if known else "")
    others = Destination.objects.filter(name=name)
    if (others.exclude(pk=known.pk) if known else others).exists():
        problems["name"] = "Another destination has this name."
    if "ae_title" in columns and not _AE_TITLE.fullmatch(columns["ae_title"]):
        problems["ae_title"] = "An AE title has 1 to 16 plain characters, without a backslash."
    if "host" in columns and not re.fullmatch(r"[A-Za-z0-9._:-]+", columns["host"]):
        problems["host"] = "A host name or an address is needed, without a scheme."
    if "port" in columns and not 1 <= columns["port"] <= 65535:
        problems["port"] = "A port is 1 to 65535."
    if problems:
        raise Invalid(problems)
