"""Three sites with their stations, interfaces, archives and people, as an administrator would have configured them."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.models import (
    ApplicationEntity,
    Device,
    HL7Application,
    Issuer,
    Role,
    RoleAssignment,
    Site,
    User,
)
from routing.models import Destination, Line, RuleSet, RuleSetVersion

_SITES = (("MAIN", "Main hospital", 60), ("NORTH", "North clinic", 30), ("LAKE", "Lakeside practice", 10))
_STATIONS = {"MAIN": {"CR": 4, "CT": 3, "MR": 3, "US": 4, "MG": 1, "XA": 1, "NM": 1},
             "NORTH": {"CR": 2, "CT": 1, "MR": 1, "US": 2}, "LAKE": {"CR": 1, "US": 1}}  # fmt: skip
_PEOPLE = ("mara", "jonas", "aylin", "petr", "sofia", "henrik", "noor", "ines", "tom", "lucia", "kofi", "wei")


@dataclass(frozen=True)
class Place:
    """One site. `archive` and the like are a destination's key and its device's."""

    pk: int
    code: str
    weight: int
    issuer: int
    interface: int
    stations: Sequence[tuple[str, str]]
    archive: tuple[int, int]


@dataclass(frozen=True)
class Surroundings:
    places: Sequence[Place]
    night_archive: tuple[int, int]
    dead_archive: tuple[int, int]
    processor: tuple[int, int]
    version: int
    people: Sequence[int]


def configure() -> Surroundings:
    people = [_person(name) for name in _PEOPLE]
    rules, _ = RuleSet.objects.get_or_create(name="default")
    version = RuleSetVersion.objects.create(
        rule_set=rules, number=1, rules=[], comment="First rules.", published_by_id=people[0]
    )
    rules.published = version
    rules.save()
    places = [_place(code, name, weight) for code, name, weight in _SITES]
    main = Site.objects.get(code="MAIN")
    _person("lena", Role.PACS_ADMINISTRATOR, Site.objects.get(code="LAKE"))
    _person("auditor", Role.AUDITOR, None)
    return Surroundings(
        places,
        _destination(main, "Night archive", "NIGHT_PACS", required=False),
        _destination(main, "Old archive", "OLD_PACS", required=False),
        _destination(main, "AI box", "AI_BOX", required=False, kind=Device.Kind.PROCESSOR),
        version.pk,
        people,
    )


def _person(name: str, role: Role = Role.ADMINISTRATOR, site: Site | None = None) -> int:
    user = User.objects.create_user(name, first_name=name.title(), last_name="Example")
    RoleAssignment.objects.create(user=user, role=role, site=site)
    return user.pk


def _place(code: str, name: str, weight: int) -> Place:
    issuer, _ = Issuer.objects.get_or_create(namespace=code)
    site, _ = Site.objects.update_or_create(code=code, defaults={"name": name, "default_issuer": issuer})
    interface = HL7Application.objects.create(
        name=f"RIS {code.title()}", sending_application=f"RIS_{code}", sending_facility=code, site=site,
        default_issuer=issuer,
    )  # fmt: skip
    stations = []
    for modality, number in _STATIONS[code].items():
        for index in range(1, number + 1):
            title = f"{modality}{index}_{code}"
            device = Device.objects.create(name=title, site=site)
            ApplicationEntity.objects.create(ae_title=title, device=device, host="127.0.0.1", default_issuer=issuer)
            stations.append((title, modality))
    archive = _destination(site, f"Archive {code.title()}", f"PACS_{code}", required=True)
    return Place(site.pk, code, weight, issuer.pk, interface.pk, stations, archive)


def _destination(
    site: Site, name: str, title: str, *, required: bool, kind: Device.Kind = Device.Kind.ARCHIVE
) -> tuple[int, int]:
    device = Device.objects.create(name=name, site=site, kind=kind)
    ApplicationEntity.objects.create(ae_title=title, device=device, host="127.0.0.1", port=9)
    destination = Destination.objects.create(
        name=name, device=device, ae_title=title, host="127.0.0.1", port=9, required_for_custody=required
    )
    Line.objects.create(destination=destination)
    return destination.pk, device.pk
