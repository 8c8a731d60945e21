"""Every door of the product: which action of `permissions.ACTIONS` each address and method asks for.

A door that is not here fails tests/orchestrator/test_every_door.py: say here what it asks for, and of which thing.
"""

import re
from collections.abc import Mapping

OPEN = "open"  # nobody has to sign in
SIGNED_IN = "signed in"  # any role, or none

PAGES: Mapping[str, Mapping[str, str]] = {
    "": {"GET": "control_room.view"},
    "healthz": {"GET": OPEN},
    "readyz": {"GET": OPEN},
    # To this machine, where the tests are; tests/orchestrator/test_metrics.py asks from elsewhere.
    "metrics": {"GET": OPEN},
    "login/": {"GET": OPEN},
    "logout/": {"POST": SIGNED_IN},
    "palette/": {"POST": SIGNED_IN},
    "search/": {"POST": SIGNED_IN},
    "search/<str:key>/": {"GET": SIGNED_IN},
    "shell/counts/": {"GET": SIGNED_IN},
    "shell/site/": {"POST": SIGNED_IN},
    "jobs/": {"GET": "jobs.view"},
    "jobs/running/": {"GET": SIGNED_IN},
    "jobs/<int:pk>/": {"GET": "jobs.view"},
    "jobs/<int:pk>/stop/": {"POST": "jobs.stop"},
    "views/<str:page>/": {"GET": "exceptions.view"},
    "views/<str:page>/save/": {"GET": "exceptions.view", "POST": "exceptions.view"},
    "views/<str:page>/<int:pk>/edit/": {"GET": "exceptions.view", "POST": "exceptions.view"},
    "views/<str:page>/<int:pk>/delete/": {"GET": "exceptions.view", "POST": "exceptions.view"},
    "studies/": {"GET": "studies.view", "POST": "studies.view"},
    "studies/<str:key>/": {"GET": "studies.view"},
    "studies/<str:key>/series/<int:series>/": {"GET": "studies.view"},
    "patients/": {"GET": "patients.view", "POST": "patients.view"},
    "patients/<uuid:uid>/": {"GET": "patients.view"},
    "orders/": {"GET": "orders.view", "POST": "orders.view"},
    "orders/<int:pk>/": {"GET": "orders.view"},
    "interfaces/": {"GET": "interfaces.view"},
    "interfaces/callers/<int:pk>/introduce/": {"GET": "interfaces.edit", "POST": "interfaces.edit"},
    "messages/": {"GET": "messages.view", "POST": "messages.view"},
    "messages/<int:pk>/": {"GET": "messages.view"},
    **{
        f"messages/<int:pk>/{act}/": {"GET": "messages.replay", "POST": "messages.replay"}
        for act in ("replay", "dismiss")
    },
    "users/": {"GET": "users.view"},
    "users/add/": {"GET": "users.edit", "POST": "users.edit"},
    "users/<int:pk>/roles/add/": {"GET": "users.edit", "POST": "users.edit"},
    "users/<int:pk>/switch/": {"GET": "users.edit", "POST": "users.edit"},
    "password/": {"GET": SIGNED_IN, "POST": SIGNED_IN},
    "users/roles/<int:pk>/remove/": {"GET": "users.edit", "POST": "users.edit"},
    "tokens/": {"GET": "tokens.edit", "POST": "tokens.edit"},
    "tokens/<int:pk>/revoke/": {"POST": "tokens.edit"},
    "audit/": {"GET": "audit.view"},
    **{
        f"kpis/{page}": {"GET": "kpis.view"}
        for page in (
            "",
            "csv/",
            "review/",
            "<slug:name>/",
            "<slug:name>/behind/",
            "<slug:name>/csv/",
            "<slug:name>/<str:chart>.svg",
        )
    },
    "kpis/<slug:name>/target/": {"GET": "kpis.edit", "POST": "kpis.edit"},
    "worklist/": {"GET": "worklist.view"},
    "destinations/": {"GET": "destinations.view"},
    "destinations/add/": {"GET": "destinations.edit", "POST": "destinations.edit"},
    "destinations/<int:pk>/": {"GET": "destinations.view"},
    "destinations/<int:pk>/presence/": {"GET": "destinations.view"},
    "destinations/<int:pk>/edit/": {"GET": "destinations.edit", "POST": "destinations.edit"},
    "destinations/<int:pk>/echo/": {"POST": "destinations.operate"},
    "destinations/<int:pk>/pause/": {"GET": "destinations.operate", "POST": "destinations.operate"},
    "destinations/<int:pk>/resume/": {"GET": "destinations.operate", "POST": "destinations.operate"},
    "deliveries/": {"GET": "deliveries.view", "POST": "deliveries.view"},
    "deliveries/bulk/<str:act>/": {"POST": "deliveries.operate"},
    "deliveries/<int:pk>/": {"GET": "deliveries.view"},
    "deliveries/<int:pk>/retry/": {"GET": "deliveries.operate", "POST": "deliveries.operate"},
    "deliveries/<int:pk>/cancel/": {"GET": "deliveries.operate", "POST": "deliveries.operate"},
    "routing/": {"GET": "routing.view"},
    "routing/presence/": {"GET": "routing.view"},
    "routing/add/": {"GET": "routing.edit", "POST": "routing.edit"},
    "routing/rules/<int:position>/": {"GET": "routing.edit", "POST": "routing.edit"},
    "routing/rules/<int:position>/remove/": {"GET": "routing.edit", "POST": "routing.edit"},
    "routing/rules/<int:position>/<str:act>/": {"POST": "routing.edit"},
    "routing/try/": {"POST": "routing.view"},
    "routing/publish/": {"GET": "routing.publish", "POST": "routing.publish"},
    "routing/versions/<int:number>/": {"GET": "routing.view"},
    "routing/versions/<int:number>/back/": {"GET": "routing.publish", "POST": "routing.publish"},
    "exceptions/": {"GET": "exceptions.view"},
    "exceptions/claim/": {"POST": "exceptions.resolve"},
    "exceptions/hand-back/": {"POST": "exceptions.resolve"},
    "exceptions/bulk/<str:act>/": {"POST": "exceptions.resolve"},
    "exceptions/<int:pk>/": {"GET": "exceptions.view"},
    "exceptions/<int:pk>/presence/": {"GET": "exceptions.view"},
    **{
        f"exceptions/<int:pk>/{act}/": {"GET": "exceptions.resolve", "POST": "exceptions.resolve"}
        for act in ("take-over", "hand-back", "snooze", "escalate", "dismiss", "reject", "undo", "match/<int:order_id>")
    },
    "exceptions/<int:pk>/claim/": {"POST": "exceptions.resolve"},
}


def _resource(name: str, needed: str, **methods: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
    """A resource of the REST API that is listed, searched and looked at, with its further doors."""
    doors: dict[str, Mapping[str, str]] = {
        f"{name}/": {"GET": needed},
        f"{name}/search/": {"POST": needed},
        f"{name}/<{name}>/": {"GET": needed},
    }
    for path, more in methods.items():
        address = {"list": f"{name}/", "member": f"{name}/<{name}>/"}.get(path)
        if address:
            doors[address] = {**doors[address], **more}
    return doors


def _members(name: str, needed: str, *acts: str, method: str = "POST") -> dict[str, Mapping[str, str]]:
    return {f"{name}/<{name}>/{act}/": {method: needed} for act in acts}


REST: Mapping[str, Mapping[str, str]] = {
    **_resource("patients", "patients.view"),
    **_resource("orders", "orders.view"),
    **_resource("studies", "studies.view"),
    **_members("studies", "studies.view", "timeline", method="GET"),
    **_members("studies", "studies.send", "send"),
    **_resource("messages", "messages.view"),
    **_members("messages", "messages.replay", "replay"),
    **_resource(
        "application-entities", "interfaces.view", list={"POST": "interfaces.edit"}, member={"PATCH": "interfaces.edit"}
    ),
    **_resource(
        "interfaces", "interfaces.view", list={"POST": "interfaces.edit"}, member={"PATCH": "interfaces.edit"}
    ),
    **_resource("users", "users.view", list={"POST": "users.edit"}, member={"PATCH": "users.edit"}),
    **_members("users", "users.edit", "roles", "roles/remove"),
    **_resource("tokens", "tokens.view", list={"POST": "tokens.edit"}, member={"DELETE": "tokens.edit"}),
    **_resource("issuers", "sites.view", list={"POST": "sites.edit"}, member={"PATCH": "sites.edit"}),
    **_resource("sites", "sites.view", list={"POST": "sites.edit"}, member={"PATCH": "sites.edit"}),
    **_resource("audit", "audit.view"),
    "audit/verify/": {"GET": "audit.view"},
    "kpis/": {"GET": "kpis.view"},
    "kpis/<kpis>/": {"GET": "kpis.view"},
    **_resource("jobs", "jobs.view"),
    **_members("jobs", "jobs.stop", "stop"),
    "candidates/": {"POST": "exceptions.view"},
    **_resource("exceptions", "exceptions.view"),
    "exceptions/kinds/": {"GET": "exceptions.view"},
    **_members("exceptions", "exceptions.view", "candidates", "preview", method="GET"),
    **_members(
        "exceptions", "exceptions.resolve",
        "claim", "hand-back", "match", "reject", "snooze", "escalate", "dismiss", "undo",
    ),
    **_resource(
        "destinations", "destinations.view", list={"POST": "destinations.edit"}, member={"PATCH": "destinations.edit"}
    ),
    **_members("destinations", "destinations.operate", "echo", "pause", "resume"),
    **_resource("rule-sets", "routing.view"),
    "rule-sets/fields/": {"GET": "routing.view"},
    **_members("rule-sets", "routing.view", "versions", "versions/<number>/diff", method="GET"),
    **_members("rule-sets", "routing.view", "evaluate"),
    **_members("rule-sets", "routing.edit", "draft", method="PUT"),
    **_members("rule-sets", "routing.publish", "publish", "rollback"),
    **_resource("deliveries", "deliveries.view"),
    **_members("deliveries", "deliveries.operate", "retry", "cancel"),
    "deliveries/bulk/": {"POST": "deliveries.operate"},
}  # fmt: skip


def address_of(route: str, things: Mapping[str, object]) -> str:
    """The route with things in its places: "orders/<int:pk>" → 7. Fails when a place stays empty."""
    for place, thing in things.items():
        route = route.replace(place, re.sub("<[^>]*>", str(thing), place))
    assert "<" not in route, f"there is no thing for {route}"
    return route
