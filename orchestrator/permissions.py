"""Who may do what where. Every selector that returns PHI takes the viewer and goes through `visible_to`."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet

from orchestrator.models import Patient, Role, User

M = TypeVar("M", bound=Model)

_EVERYONE = frozenset(Role)
_PACS = frozenset({Role.ADMINISTRATOR, Role.PACS_ADMINISTRATOR})
_CLINICAL = _PACS | {Role.QA_TECHNOLOGIST, Role.READER, Role.INTEGRATION}
_OVERSIGHT = _PACS | {Role.QA_TECHNOLOGIST, Role.MANAGER, Role.INTEGRATION}

ACTIONS: Mapping[str, frozenset[Role]] = {
    "control_room.view": _EVERYONE - {Role.INTEGRATION},
    "exceptions.view": _OVERSIGHT,
    "exceptions.resolve": _PACS,
    "patients.view": _CLINICAL,
    "orders.view": _CLINICAL | {Role.MANAGER},
    "worklist.view": _CLINICAL | {Role.MANAGER},
    "studies.view": _CLINICAL | {Role.MANAGER},
    "studies.send": _PACS,
    "routing.view": _OVERSIGHT,
    "routing.edit": _PACS,
    "routing.publish": _PACS,
    "destinations.view": _OVERSIGHT,
    "destinations.operate": _PACS | {Role.QA_TECHNOLOGIST},
    "destinations.edit": _PACS,
    "deliveries.view": _OVERSIGHT,
    "deliveries.operate": _PACS | {Role.QA_TECHNOLOGIST},
    "interfaces.view": _OVERSIGHT,
    "interfaces.edit": _PACS,
    # A message's text carries PHI of any kind.
    "messages.view": _PACS | {Role.INTEGRATION},
    "messages.replay": _PACS,
    "kpis.view": _OVERSIGHT,
    "kpis.edit": _PACS | {Role.MANAGER},
    # A saved view that everybody finds over the list.
    "views.share": _OVERSIGHT - {Role.INTEGRATION},
    "jobs.view": _OVERSIGHT,
    "jobs.stop": _OVERSIGHT,
    "audit.view": frozenset({Role.ADMINISTRATOR, Role.AUDITOR}),
    "users.view": frozenset({Role.ADMINISTRATOR, Role.AUDITOR}),
    "users.edit": frozenset({Role.ADMINISTRATOR}),
    "sites.view": _EVERYONE,
    "sites.edit": frozenset({Role.ADMINISTRATOR}),
    "tokens.view": _EVERYONE,
    "tokens.edit": _EVERYONE,
}

# Where a model's site stands, seen from the model. Patients stand at several sites.
SITE_PATHS: Mapping[str, str] = {
    "site": "pk",
    "patient": "sites",
    "patientidentifier": "patient__sites",
    "requestedprocedure": "order__site",
    "series": "study__site",
    "instance": "study__site",
    "identityclaim": "study__site",
    "workflowevent": "site_id",
    "applicationentity": "device__site",
    "matchrun": "claim__study__site",
    "decision": "claim__study__site",
}


@dataclass(frozen=True)
class Viewer:
    """A user with roles: at all sites (key None) and at single sites (key: site id)."""

    user_id: int
    user_name: str
    roles: Mapping[int | None, frozenset[Role]]
    # An API token may carry fewer rights than its user: False forbids every action but `*.view`.
    may_write: bool = True

    @classmethod
    def of(cls, user: User | AnonymousUser, *, may_write: bool = True) -> "Viewer":
        """The viewer behind a request. A user without roles may do nothing."""
        if not isinstance(user, User) or not user.is_active:
            return cls(0, "", {})
        roles: dict[int | None, set[Role]] = {}
        for assignment in user.role_assignments.all():
            roles.setdefault(assignment.site_id, set()).add(Role(assignment.role))
        frozen = {site: frozenset(each) for site, each in roles.items()}
        return cls(user.pk, user.get_username(), frozen, may_write)

    def sites_for(self, action: str) -> frozenset[int] | None:
        """Sites where this may be done; None for all sites."""
        allowed = ACTIONS[action]
        if not self.may_write and not action.endswith(".view"):
            return frozenset()
        if self.roles.get(None, frozenset()) & allowed:
            return None
        return frozenset(site for site, roles in self.roles.items() if site is not None and roles & allowed)


def can(viewer: Viewer, action: str, site_id: int | None = None) -> bool:
    """Whether `action` is allowed: at that site, or (site_id None) anywhere at all."""
    sites = viewer.sites_for(action)
    return sites is None or (bool(sites) if site_id is None else site_id in sites)


def require(viewer: Viewer, action: str, site_id: int | None = None) -> None:
    """Raise PermissionDenied unless `can`."""
    if not can(viewer, action, site_id):
        raise PermissionDenied(action)


def can_everywhere(viewer: Viewer, action: str) -> bool:
    """Whether `action` is allowed at all sites: for what belongs to none of them and works at each."""
    return viewer.sites_for(action) is None


def require_everywhere(viewer: Viewer, action: str) -> None:
    """Raise PermissionDenied unless `can_everywhere`."""
    if not can_everywhere(viewer, action):
        raise PermissionDenied(action)


def may_manage(viewer: Viewer, user: User) -> bool:
    """Whether the viewer may let this person in and out: all roles of whom are at sites whose users they look after."""
    sites = viewer.sites_for("users.edit")
    if sites is None:
        return True
    theirs = {assignment.site_id for assignment in user.role_assignments.all()}
    return bool(theirs) and theirs <= sites


def visible_to(queryset: QuerySet[M], viewer: Viewer, action: str) -> QuerySet[M]:
    """The rows of sites where the viewer may do `action`. The only way from a table to a page."""
    sites = viewer.sites_for(action)
    if sites is None:
        return queryset
    path = SITE_PATHS.get(str(queryset.model._meta.model_name), "site")
    if not path.endswith("sites"):
        return queryset.filter(**{f"{path}__in": sites})
    holder = path.rpartition("__")[0] or "pk"
    return queryset.filter(**{f"{holder}__in": standing_at(sites)})


def standing_at(sites: Collection[int]) -> QuerySet[Any, Any]:
    """Ids of the patients of these sites. A patient stands at several: not by a join, whose doubles would have to be
    sorted out of all rows first.
    """
    return Patient.sites.through.objects.filter(site__in=sites).values("patient")
