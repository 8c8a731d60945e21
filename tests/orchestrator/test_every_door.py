"""Every address, asked by every role at every site: who may come in comes in, and nobody else."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from orchestrator.models import (
    AccessEvent,
    ApiToken,
    ExceptionCase,
    HL7Application,
    InboundMessage,
    Role,
    RoleAssignment,
    SavedView,
    Site,
    UnknownCaller,
    User,
)
from orchestrator.permissions import ACTIONS
from orchestrator.services import kpi_rollups
from orchestrator.services.jobs import start_job
from orchestrator.services.tokens import create_token
from orchestrator.states import Identity, InboundStatus
from reconciliation.services.reconcile import reconcile_study
from routing.models import RuleSet
from routing.services import destinations
from routing.services.route import send_study
from routing.services.rulesets import publish, save_draft
from tests.factories import make_ae, make_order, make_site, make_study, make_user
from tests.orchestrator.doors import OPEN, PAGES, REST, SIGNED_IN, address_of
from tests.orchestrator.kpi_histories import judged_study

pytestmark = pytest.mark.django_db

DOORS: Mapping[str, Mapping[str, str]] = {**PAGES, **{f"api/v1/{route}": asks for route, asks in REST.items()},
                                          "api/schema/": {"GET": "sites.view"}}  # fmt: skip
# What belongs to no site: whoever may do it anywhere may do it to each of these.
OF_NO_SITE = (
    "issuers/<",
    "destinations/<",
    "rule-sets/<",
    "routing/",
    "audit/<",
    "search/<",
    "kpis/<",
    "views/<",
    # Which rows are meant stands in the body.
    "exceptions/bulk/<",
    "deliveries/bulk/<",
)
# What only those do who look after all sites.
OF_ALL_SITES = (
    ("GET", "interfaces/callers/<int:pk>/introduce/"),
    ("POST", "interfaces/callers/<int:pk>/introduce/"),
    ("POST", "api/v1/sites/"),
    ("GET", "kpis/<slug:name>/target/"),
    ("POST", "kpis/<slug:name>/target/"),
    ("POST", "api/v1/issuers/"),
    ("PATCH", "api/v1/issuers/<issuers>/"),
    # The rules decide where the images of every site go.
    *((method, f"routing/{door}") for method in ("GET", "POST")
      for door in ("add/", "rules/<int:position>/", "rules/<int:position>/remove/", "publish/",
                   "versions/<int:number>/back/")),
    ("POST", "routing/rules/<int:position>/<str:act>/"),
    ("PUT", "api/v1/rule-sets/<rule-sets>/draft/"),
    ("POST", "api/v1/rule-sets/<rule-sets>/publish/"),
    ("POST", "api/v1/rule-sets/<rule-sets>/rollback/"),
)  # fmt: skip
# Everybody sees them; what is done to one is done by those of its site.
OF_ITS_SITE = ("destinations.edit", "destinations.operate")
ROLES = (None, *(role for role in Role if role != Role.ADMINISTRATOR))
# What belongs to one person alone: nobody else finds it, whatever their role.
OF_ONE_PERSON = ("tokens/<", "jobs/<", "views/<str:page>/<")


def _routes() -> Iterator[tuple[str, URLPattern]]:
    def walk(patterns: list[URLPattern | URLResolver], before: str) -> Iterator[tuple[str, URLPattern]]:
        for each in patterns:
            route = before + str(each.pattern)
            if isinstance(each, URLResolver):
                yield from walk(each.url_patterns, route)
            else:
                yield _readable(route), each

    yield from walk(get_resolver().url_patterns, "")


def _readable(route: str) -> str:
    """A router's regular expression as a route: the member of a resource is named after it."""
    if "^" not in route and "<str:study_instance_uid>" not in route:
        return route
    route = route.replace("^", "").replace("$", "")
    resource = route.removeprefix("api/v1/").partition("/")[0]
    route = re.sub(r"\(\?P<number>[^)]*\)", "<number>", route)
    return re.sub(r"\(\?P<\w+>[^)]*\)|<str:study_instance_uid>", f"<{resource}>", route)


def test_every_door_says_what_it_asks_for() -> None:
    routes = dict(_routes())
    assert sorted(set(routes) - set(DOORS)) == [], "these addresses are not in tests/orchestrator/doors.py"
    assert sorted(set(DOORS) - set(routes)) == [], "these addresses no longer exist"
    offered: dict[str, set[str]] = {}
    for route, pattern in _routes():
        for method in getattr(pattern.callback, "actions", None) or ():
            if method != "head":  # a router adds it to every GET
                offered.setdefault(route, set()).add(method.upper())
    assert {route: set(DOORS[route]) for route in offered} == offered


@dataclass(frozen=True)
class Ward:
    """Two sites; in the north there is one of everything."""

    north: Site
    south: Site
    things: Mapping[str, object]


@pytest.fixture
def ward() -> Ward:
    north, south = make_site("NORTH"), make_site("SOUTH", issuer="")
    order = make_order(site=north)
    matched = make_study(order, site=north, identity=Identity.MATCHED, matched_by="auto", matched_patient=order.patient)
    matched.claims.update(order=order)
    held = make_study(make_order(site=north), patient_id="typed", accession_number="")
    reconcile_study(held.pk)
    case = ExceptionCase.objects.get(study=held)
    interface = HL7Application.objects.create(name="RIS", site=north)
    message = InboundMessage.objects.create(
        interface=interface, site=north, raw=b"MSH|^~\\&|", digest="d", received_at=timezone.now(), sequence=1,
        status=InboundStatus.QUARANTINED,
    )  # fmt: skip
    owner = make_user(Role.MANAGER, site=north, name="owner")
    for site in (north, south):
        # At each a chart of mismatches has something to draw.
        judged_study("held", at=timezone.now(), site=site)
    kpi_rollups.rebuild()
    archive = destinations.create(name="Archive", ae_title="ARCHIVE", host="127.0.0.1", port=9, site=north)
    [delivery] = send_study(study=matched, destinations=[archive], user=owner, reason="second opinion")
    rule_set = RuleSet.objects.get_or_create(name="default")[0]
    rule = {"name": "all", "when": {"all": []}, "then": [{"action": "send", "destination": archive.pk}]}
    save_draft(rule_set=rule_set, rules=[rule])
    publish(rule_set_id=rule_set.pk, comment="first", user=owner)
    create_token(user=owner, name="theirs")
    caller = UnknownCaller.objects.create(protocol="dicom", name="MR_NEW", address="10.0.0.7", refused=True)
    access = AccessEvent.objects.create(at=timezone.now(), action="studies.view", subject_type="study")
    uid = matched.study_instance_uid
    job = start_job("routing.nothing", title="theirs", owner=owner, parameters={})
    view = SavedView.objects.create(owner=owner, page="exceptions", name="theirs", query="kind=unmatched_study")
    things = {
        "studies/<str:key>": uid,
        "studies/<studies>": uid,
        "series/<int:series>": matched.series.get().pk,
        "patients/<uuid:uid>": order.patient.uid,
        "patients/<patients>": order.patient_id,
        "orders/<int:pk>": order.pk,
        "orders/<orders>": order.pk,
        "match/<int:order_id>": order.pk,
        "messages/<int:pk>": message.pk,
        "messages/<messages>": message.pk,
        "users/roles/<int:pk>": RoleAssignment.objects.get(user=owner).pk,
        "users/<int:pk>": owner.pk,
        "users/<users>": owner.pk,
        "tokens/<int:pk>": ApiToken.objects.get().pk,
        "tokens/<tokens>": ApiToken.objects.get().pk,
        "callers/<int:pk>": caller.pk,
        "sites/<sites>": north.pk,
        "issuers/<issuers>": north.default_issuer_id,
        "audit/<audit>": access.pk,
        "views/<str:page>": "exceptions",
        "exceptions/<int:pk>/edit": view.pk,
        "exceptions/<int:pk>/delete": view.pk,
        "jobs/<jobs>": job.pk,
        "jobs/<int:pk>": job.pk,
        "exceptions/bulk/<str:act>": "assign",
        "deliveries/bulk/<str:act>": "retry",
        "exceptions/<int:pk>": case.pk,
        "exceptions/<exceptions>": case.pk,
        "application-entities/<application-entities>": make_ae("CT_NORTH", site=north).pk,
        "interfaces/<interfaces>": interface.pk,
        "destinations/<int:pk>": archive.pk,
        "destinations/<destinations>": archive.pk,
        "rule-sets/<rule-sets>": rule_set.pk,
        "versions/<number>": 1,
        "versions/<int:number>": 1,
        "rules/<int:position>": 1,
        "1/<str:act>": "toggle",
        "deliveries/<int:pk>": delivery.pk,
        "deliveries/<deliveries>": delivery.pk,
        "search/<str:key>": "none",
        "kpis/<slug:name>": "mismatch_rate",
        "kpis/<kpis>": "mismatch_rate",
        "mismatch_rate/<str:chart>": "split",
    }
    return Ward(north, south, things)


def _address(route: str, ward: Ward) -> str:
    return f"/{address_of(route, ward.things)}"


def _ask(client: Client, method: str, address: str) -> int:
    """The status of a bare request, whose effect is taken back."""
    with transaction.atomic():
        answer = client.generic(method, address, b"{}", content_type="application/json")
        transaction.set_rollback(True)
    return 401 if answer.status_code == 302 and "/login/" in answer.headers["Location"] else answer.status_code


def _doors() -> list[tuple[str, str, str]]:
    return [(route, method, needed) for route, asks in DOORS.items() for method, needed in asks.items()]


def _about(route: str, kinds: tuple[str, ...]) -> bool:
    bare = route.removeprefix("api/v1/")
    return bare.startswith(kinds)


def test_nobody_comes_in_without_signing_in(ward: Ward, client: Client) -> None:
    for route, method, needed in _doors():
        status = _ask(client, method, _address(route, ward))
        assert (status != 401) == (needed == OPEN), f"{method} {route}: {status}"


# Who may do what is one table and one filter on every database: on the second the role that opens every door is enough.
@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, *(pytest.param(role, marks=pytest.mark.once) for role in ROLES)])
@pytest.mark.parametrize("place", ["everywhere", "north", "south"])
def test_a_role_opens_its_doors_at_its_site_and_no_others(ward: Ward, role: Role | None, place: str) -> None:
    site = {"everywhere": None, "north": ward.north, "south": ward.south}[place]
    client = Client()
    user: User = make_user(role, site=site)
    client.force_login(user)
    wrong = []
    for route, method, needed in _doors():
        if needed in (OPEN, SIGNED_IN):
            continue
        status = _ask(client, method, _address(route, ward))
        not_theirs = (method, route) in OF_ALL_SITES and place != "everywhere"
        seen_only = place == "south" and needed in OF_ITS_SITE and "<" in route
        if role not in ACTIONS[needed] or not_theirs or seen_only:
            expected = status == 403
        elif _about(route, OF_ONE_PERSON) or (place == "south" and "<" in route and not _about(route, OF_NO_SITE)):
            # Not even that it exists.
            expected = status == 404
        else:
            expected = status < 500 and status not in (401, 403, 404)
        if not expected:
            wrong.append(f"{method} {route} ({needed}): {status}")
    assert wrong == []
