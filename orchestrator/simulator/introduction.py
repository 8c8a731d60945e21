"""The hospital makes itself known to Fiducial over REST, as an administrator would on the pages for it.

Sites, issuers, stations and interfaces always; destinations and a first rule only where nothing was ever routed. What
is there already stays as it is, so that it may be done again.
"""

from collections.abc import Callable
from pathlib import Path
from threading import Event
from zoneinfo import available_timezones

from orchestrator.simulator import ai_box
from orchestrator.simulator.rest import Api, Json
from orchestrator.simulator.sites import HOUSES, STATIONS, House
from orchestrator.simulator.waiting import attempts

ARCHIVE = "Simulated archive"
"""The name by which the hospital knows its destination again: an AE title may be somebody else's too."""
_PAGE = "?page_size=1000"


def introduce(work: Callable[[], None], *, stop: Event, patience: float, say: Callable[[str], None]) -> None:
    """Do a piece of the introduction; try until Fiducial takes it, for `patience` seconds. Raises Stopped."""
    for _ in attempts(stop, patience):
        try:
            work()
        except OSError as error:
            say(f"the hospital could not be introduced yet: {error}")
        else:
            return


class Introduction:
    """What is written to Fiducial's configuration. Every failure is an OSError."""

    def __init__(self, api: Api, say: Callable[[str], None]) -> None:
        self._api, self._say = api, say

    # --- who is there ---------------------------------------------------------------------------

    def houses(self) -> None:
        """Sites with their issuers, stations with their AE titles, sending applications."""
        sites, interfaces = self._all("sites/"), self._all("interfaces/")
        issuers = {each["namespace"] for each in self._all("issuers/")}
        titles = {each["ae_title"] for each in self._all("application-entities/")}
        for house in HOUSES:
            if house.issuer not in issuers:
                self._api.call("POST", "issuers/", {"namespace": house.issuer})
            is_new = not interfaces and not titles and house is HOUSES[0]
            code = self._site(house, sites, interfaces, is_new=is_new)
            self._interfaces(house, code, interfaces)
            self._stations(house, code, titles)
        if ai_box.AE_TITLE not in titles:
            box = {"ae_title": ai_box.AE_TITLE, "device": "AI box", "kind": "processor", "site": sites[0]["code"]}
            self._api.call("POST", "application-entities/", box)

    def _all(self, resource: str) -> list[Json]:
        return list(self._api.call("GET", resource + _PAGE)["results"])

    def _site(self, house: House, sites: list[Json], interfaces: list[Json], *, is_new: bool) -> str:
        """The code of the house's site: the one there is, else the first of a new Fiducial, else one more."""
        theirs = {each["site"] for each in interfaces if _is_of(house, each)}
        known = next((each for each in sites if each["code"] == house.code or each["code"] in theirs), None)
        facts = {"name": house.name, "time_zone": machine_zone(), "default_issuer": house.issuer}
        if known is None and is_new and len(sites) == 1:
            known = sites[0]
            known.update(self._api.call("PATCH", f"sites/{known['id']}/", {"code": house.code, **facts}))
        elif known is None:
            known = self._api.call("POST", "sites/", {"code": house.code, **facts})
            sites.append(known)
        elif known["default_issuer"] is None:
            known.update(self._api.call("PATCH", f"sites/{known['id']}/", {"default_issuer": house.issuer}))
        else:
            return str(known["code"])
        self._say(f"{house.name} is a site of Fiducial now")
        return str(known["code"])

    def _interfaces(self, house: House, site: str, known: list[Json]) -> None:
        there = {each["sending_application"] for each in known if _is_of(house, each)}
        for application in {house.his, house.ris} - there:
            speaker = {"sending_application": application, "sending_facility": house.facility}
            name = f"{application} of {house.name}"
            self._api.call("POST", "interfaces/", {**speaker, "name": name, "site": site})

    def _stations(self, house: House, site: str, titles: set[str]) -> None:
        for station in STATIONS:
            if station.house is house and station.ae_title not in titles:
                device = {"device": station.ae_title.replace("_", " ").title(), "kind": "modality"}
                entity = {**device, "ae_title": station.ae_title, "site": site}
                self._api.call("POST", "application-entities/", entity)

    # --- where images go ------------------------------------------------------------------------

    def archive(self, ae_title: str, port: int) -> None:
        """The archive as a destination and, where nobody ever made a rule, one that sends everything there."""
        ours = {"name": ARCHIVE, "kind": "dicom", "ae_title": ae_title, "host": "127.0.0.1", "port": port}
        known = next((each for each in self._all("destinations/") if each["name"] == ARCHIVE), None)
        if known is None:
            site = self._all("sites/")[-1]["code"]
            known = self._api.call("POST", "destinations/", {**ours, "site": site, "required_for_custody": True})
            self._say(f"{ae_title} is a destination of Fiducial now")
        elif known["port"] != port:
            self._api.call("PATCH", f"destinations/{known['id']}/", {"port": port})
        rule_set = next(each for each in self._all("rule-sets/") if each["name"] == "default")
        if rule_set["published_version"] or rule_set["draft"]:
            return
        self._api.call("PUT", f"rule-sets/{rule_set['id']}/draft/", {"rules": [first_rule(known["id"])]})
        comment = {"comment": "The simulated hospital's first rule"}
        self._api.call("POST", f"rule-sets/{rule_set['id']}/publish/", comment)
        self._say("a rule sends everything there")


def first_rule(destination: int) -> Json:
    """What the hospital makes of a rule set that nobody ever touched."""
    modalities = sorted({station.modality for station in STATIONS})
    return {
        "name": "Everything to the archive",
        "enabled": True,
        "when": {"all": [{"field": "modality", "op": "in", "value": modalities}]},
        "then": [{"action": "send", "destination": destination, "priority": "normal"}],
    }


def _is_of(house: House, interface: Json) -> bool:
    """Whether the interface is one of the house's applications."""
    ours = interface["sending_facility"] == house.facility
    return ours and interface["sending_application"] in (house.his, house.ris)


def machine_zone() -> str:
    """The name of this machine's zone, whose wall clock the hospital's people and machines read; else UTC."""
    named = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
    return named if named in available_timezones() else "UTC"
