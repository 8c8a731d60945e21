"""The archives of the hospital: the main one, one for the night, and one that was switched off years ago."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from threading import Event
from typing import Any

from orchestrator.simulator.archive import Archive, DeadArchive, Kept, change_moods
from orchestrator.simulator.introduction import ARCHIVE, first_rule
from orchestrator.simulator.rest import Api, Json

MAIN, NIGHT, LOST = "ARCHIVE", "NIGHT", "LOST"


@dataclass
class Archives:
    """All receivers of a run. `port` is the main archive's, those of the others are the next two; 0 takes free ones."""

    say: Callable[[str], None]
    ports: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._calm = Event()
        self.main, self.night, self.lost = Archive(MAIN, self.say), Archive(NIGHT, self.say), DeadArchive(LOST)

    def open(self, port: int, *, all_three: bool) -> None:
        """Raises OSError, naming no one, when a port is taken."""
        for index, archive in enumerate(self._all if all_three else self._all[:1]):
            self.ports[archive.ae_title] = archive.open(port and port + index)
            self.say(f"{archive.ae_title} listens on 127.0.0.1:{self.ports[archive.ae_title]}")

    @property
    def _living(self) -> list[Archive]:
        return [archive for archive in (self.main, self.night) if archive.ae_title in self.ports]

    def be_moody(self, rate: float, seed: int, stop: Event) -> None:
        """The archives that live are slow, full, restart or lose their answers now and then, until they calm down."""
        for archive in self._living:
            change_moods(archive, rate, Random(f"{seed}:{archive.ae_title}"), stop, self._calm)

    def forget_nothing(self) -> None:
        """For a run that ends, all of whose studies are judged at its end."""
        for archive in (self.main, self.night):
            archive.remembers = math.inf

    def calm_down(self) -> None:
        """From now on they take everything."""
        self._calm.set()

    def of(self, study_instance_uid: str) -> dict[str, dict[str, Kept]]:
        """What each of them holds of a study, by SOP Instance UID."""
        return {archive.ae_title: archive.of(study_instance_uid) for archive in self._living}

    def all_to(self, api: Api) -> str:
        """The AE title of the main archive, where Fiducial's rules send everything there. Raises OSError."""
        known = next((each for each in api.all("destinations/?") if each["name"] == ARCHIVE), None)
        if known is None or known["port"] != self.ports.get(MAIN):
            return ""
        rule_set = next(each for each in api.rows("rule-sets/") if each["name"] == "default")
        return MAIN if first_rule(known["id"]) in _in_force(api, rule_set) else ""

    def close(self) -> None:
        self.calm_down()
        for archive in self._all:
            archive.close()

    @property
    def _all(self) -> list[Archive | DeadArchive]:
        return [self.main, self.night, self.lost]

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """What each of them got."""
        return {archive.ae_title: archive.counts for archive in self._all if archive.ae_title in self.ports}


_RULES: dict[str, tuple[dict[str, Any], str]] = {
    NIGHT: ({"all": [{"field": "modality", "op": "in", "value": ["CT", "MR"]}]}, "CT and MR to the night archive"),
    LOST: ({"all": [{"field": "study_description", "op": "contains", "value": "cardio"}]}, "Cardiology's own archive"),
}


_NAMES = {NIGHT: "Simulated night archive", LOST: "Simulated lost archive"}


def introduce_others(api: Api, archives: Archives, say: Callable[[str], None]) -> None:
    """Those that are open as destinations, and a rule for each, where Fiducial's rules are still the hospital's first.

    Raises OSError.
    """
    known = {each["name"]: each for each in api.rows("destinations/?page_size=1000")}
    rules: list[Json] = []
    for title, name in _NAMES.items():
        if title not in archives.ports:
            continue
        peer = {"host": "127.0.0.1", "port": archives.ports[title]}
        if name not in known:
            site = api.rows("sites/")[-1]["code"]
            ours = {"name": name, "kind": "dicom", "ae_title": title, "site": site, **peer}
            known[name] = api.call("POST", "destinations/", {**ours, "required_for_custody": False})
            say(f"{title} is a destination of Fiducial now")
        elif known[name]["port"] != peer["port"]:
            api.call("PATCH", f"destinations/{known[name]['id']}/", peer)
        when, called = _RULES[title]
        send = {"action": "send", "destination": known[name]["id"], "priority": "offpeak"}
        rules.append({"name": called, "enabled": True, "when": when, "then": [send]})
    rule_set = next(each for each in api.rows("rule-sets/") if each["name"] == "default")
    if rules and ARCHIVE in known and _is_untouched(api, rule_set, first_rule(known[ARCHIVE]["id"])):
        api.call("PUT", f"rule-sets/{rule_set['id']}/draft/", {"rules": [*rule_set["draft"], *rules]})
        api.call("POST", f"rule-sets/{rule_set['id']}/publish/", {"comment": "The simulated hospital's other archives"})
        say("rules send to them")


def _is_untouched(api: Api, rule_set: Json, first: Json) -> bool:
    """Whether what is drafted and what is in force is the hospital's first rule and nothing else."""
    return rule_set["draft"] == [first] and _in_force(api, rule_set) == [first]


def _in_force(api: Api, rule_set: Json) -> list[Json]:
    """The rules that are published."""
    if not rule_set["published_version"]:
        return []
    versions = {each["version"]: each["rules"] for each in api.rows(f"rule-sets/{rule_set['id']}/versions/")}
    return list(versions[rule_set["published_version"]])
