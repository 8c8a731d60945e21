"""The hospital makes its archive known to a Fiducial that has never routed anything.

A person would do the same on the pages for destinations and rules; a Fiducial with rules of its own is left alone.
"""

from collections.abc import Callable
from threading import Event

from orchestrator.simulator.orders import CATALOGUE
from orchestrator.simulator.rest import Api

NAME = "Simulated archive"


def introduce(api: Api, *, ae_title: str, port: int, stop: Event, say: Callable[[str], None]) -> None:
    """Try until Fiducial answers or `stop` is set."""
    while True:
        try:
            _introduce(api, ae_title, port, say)
        except OSError as error:
            say(f"the archive could not be introduced yet: {error}")
            if stop.wait(5):
                return
        else:
            return


def _introduce(api: Api, ae_title: str, port: int, say: Callable[[str], None]) -> None:
    ours = {"name": NAME, "kind": "dicom", "ae_title": ae_title, "host": "127.0.0.1", "port": port}
    known = next((each for each in api.call("GET", "destinations/")["results"] if each["name"] == NAME), None)
    if known is None:
        site = api.call("GET", "sites/")["results"][-1]["code"]
        known = api.call("POST", "destinations/", {**ours, "site": site, "required_for_custody": True})
        say(f"{ae_title} is a destination of Fiducial now")
    elif known["port"] != port:
        api.call("PATCH", f"destinations/{known['id']}/", {"port": port})
    rule_set = next(each for each in api.call("GET", "rule-sets/")["results"] if each["name"] == "default")
    if rule_set["published_version"]:
        return
    rule = {
        "name": "Everything to the archive",
        "enabled": True,
        "when": {"all": [{"field": "modality", "op": "in", "value": sorted({each.modality for each in CATALOGUE})}]},
        "then": [{"action": "send", "destination": known["id"], "priority": "normal"}],
    }
    api.call("PUT", f"rule-sets/{rule_set['id']}/draft/", {"rules": [rule]})
    api.call("POST", f"rule-sets/{rule_set['id']}/publish/", {"comment": "The simulated hospital's first rule"})
    say("a rule sends everything there")
