"""The configuration as text: what `manage.py config` writes and reads, section by section (settings.CONFIG_SECTIONS).

Entries are found by their names and never by ids, so that a file fits another installation. What a file does not name
stays as it is. Nothing here is a secret: keys, passwords and tokens have no section.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.utils.module_loading import import_string

from orchestrator.models import ApplicationEntity, Device, HL7Application, Issuer, Site
from orchestrator.services.peers import AE_TITLE, AE_TITLE_IS

FORMAT = 1
Entry = dict[str, Any]


class Unfit(Exception):
    """The text cannot become the configuration: where, and what is wrong."""

    def __init__(self, where: str, what: str) -> None:
        super().__init__(f"{where}: {what}")
        self.where, self.what = where, what


@dataclass(frozen=True)
class Section:
    """One kind of thing: how all of them are written, and how one entry is brought in (raises Unfit with the field)."""

    write: Callable[[], list[Entry]]
    read: Callable[[Entry], None]


def sections() -> Mapping[str, Section]:
    return {name: import_string(dotted) for name, dotted in settings.CONFIG_SECTIONS.items()}


def export_all() -> dict[str, Any]:
    """The whole configuration, as plain values."""
    return {"fiducial": FORMAT, **{name: section.write() for name, section in sections().items()}}


@transaction.atomic
def import_all(given: Any) -> None:
    """Bring all entries in, or none. Raises Unfit."""
    if not isinstance(given, dict) or given.get("fiducial") != FORMAT:
        raise Unfit("fiducial", f"the file must begin with `fiducial: {FORMAT}`")
    known = sections()
    if strange := sorted(str(name) for name in set(given) - {"fiducial", *known}):
        raise Unfit(strange[0], f"there is no such section; known are {', '.join(known)}")
    for name, section in known.items():
        entries = given.get(name) or []
        if not isinstance(entries, list):
            raise Unfit(name, "a list is needed")
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise Unfit(f"{name}[{number}]", "an object with fields is needed")
            try:
                section.read(entry)
            except Unfit as error:
                raise Unfit(f"{name}[{number}].{error.where}", error.what) from error


@dataclass(frozen=True)
class Reference:
    """A column that names another row: how it is named, and found again."""

    name: Callable[[Any], str]
    find: Callable[[str], models.Model | None]


def _issuer(name: str) -> Issuer | None:
    return Issuer.objects.filter(Q(namespace=name) | Q(universal_id=name)).first()


SITE = Reference(lambda site: str(site.code), lambda code: Site.objects.filter(code=code).first())
ISSUER = Reference(str, _issuer)
DEVICE = Reference(lambda device: str(device.name), lambda name: Device.objects.filter(name=name).first())


@dataclass(frozen=True)
class Table:
    """A section that is one table: rows named by `key`, columns written as they are, references by name."""

    model: type[models.Model]
    key: tuple[str, ...]
    columns: tuple[str, ...]
    references: Mapping[str, Reference] = field(default_factory=dict)
    # What the columns' own rules do not say; raises ValidationError.
    check: Callable[[Any], None] = lambda row: None
    # Any one column of the key names a row; else all of them together do.
    either: bool = False

    def section(self) -> Section:
        return Section(self.write, self.read)

    def write(self) -> list[Entry]:
        return [self._entry(row) for row in self.model._default_manager.order_by(*self.key)]

    def _entry(self, row: models.Model) -> Entry:
        entry = {name: getattr(row, name) for name in (*self.key, *self.columns)}
        for name, reference in self.references.items():
            other = getattr(row, name)
            entry[name] = reference.name(other) if other else None
        return entry

    def read(self, entry: Entry) -> None:
        """Bring one row up to date, or make it. What is as it was is not written: the history has changes only."""
        values = {name: self._value(name, value) for name, value in entry.items()}
        row = self._find(values)
        changed = {name: value for name, value in values.items() if row is None or getattr(row, name) != value}
        if not changed:
            return
        row = row or self.model()
        for name, value in changed.items():
            setattr(row, name, value)
        try:
            row.full_clean()
            self.check(row)
        except ValidationError as error:
            where, problems = next(iter(error.message_dict.items()))
            raise Unfit(where, " ".join(problems)) from error
        row.save()

    def _find(self, values: Mapping[str, Any]) -> models.Model | None:
        named = {name: values[name] for name in self.key if values.get(name) is not None}
        if not named or (len(named) < len(self.key) and not self.either):
            missing = next(name for name in self.key if name not in named)
            raise Unfit(missing, "is needed: it names the entry")
        conditions = [Q((name, value)) for name, value in named.items()]
        wanted = conditions[0]
        for condition in conditions[1:]:
            wanted = wanted | condition if self.either else wanted & condition
        return self.model._default_manager.filter(wanted).order_by("pk").first()

    def _value(self, name: str, value: Any) -> Any:
        if name in self.references:
            found = self.references[name].find(str(value)) if value is not None else None
            if value is not None and found is None:
                raise Unfit(name, f"there is no {name.replace('_', ' ')} named {value}")
            return found
        if name not in (*self.key, *self.columns):
            raise Unfit(name, "there is no such field")
        column = self.model._meta.get_field(name)
        if isinstance(column, models.CharField) and not isinstance(value, str) and not (value is None and column.null):
            # YAML reads a bare 0012 as the number ten.
            raise Unfit(name, f"text is needed: put {value} in quotes")
        return value


def _check_entity(entity: ApplicationEntity) -> None:
    if not re.fullmatch(AE_TITLE, entity.ae_title):
        raise ValidationError({"ae_title": AE_TITLE_IS})


def _check_site(site: Site) -> None:
    if site.time_zone not in available_timezones():
        raise ValidationError({"time_zone": f"There is no time zone {site.time_zone}; one is Europe/Berlin."})


ISSUERS = Table(Issuer, ("namespace", "universal_id"), ("universal_id_type",), either=True).section()
SITES = Table(Site, ("code",), ("name", "time_zone"), {"default_issuer": ISSUER}, _check_site).section()
DEVICES = Table(Device, ("name",), ("kind",), {"site": SITE}).section()
APPLICATION_ENTITIES = Table(
    ApplicationEntity,
    ("ae_title",),
    ("host", "port", "default_character_set", "answer_character_set", "enabled"),
    {"device": DEVICE, "default_issuer": ISSUER},
    _check_entity,
).section()
INTERFACES = Table(
    HL7Application,
    ("sending_application", "sending_facility"),
    ("name", "default_charset", "enabled"),
    {"site": SITE, "default_issuer": ISSUER},
).section()
