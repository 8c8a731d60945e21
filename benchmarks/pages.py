"""The pages that are measured: every list with its filters, sorts, searches and deep pages, and what hangs on them."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

_PART = {"HX-Request": "true", "HX-Request-Type": "partial"}


@dataclass(frozen=True)
class Page:
    """An address, and whether htmx asks for a part of the page, or posts this form. `client` has a session that keeps
    its search.
    """

    name: str
    path: str
    client: Any = None
    part: bool = False
    form: Mapping[str, str] | None = None

    @property
    def headers(self) -> Mapping[str, str]:
        return _PART if self.part else {}

    def ask(self) -> Any:
        """The answer, without a server."""
        if self.form is None:
            return self.client.get(self.path, headers=self.headers)
        return self.client.post(self.path, self.form, headers=self.headers)


def pages_of() -> list[Page]:
    """The pages, with rows of the filled database, as an administrator sees them."""
    client = signed_in()
    found = [*_room(), *_queue(), *_lists(), *_single(), *_kpis(), *_rest(), *_at_one_site(), *_shown(), *_jobs(),
             *_palette(), *_asked()]  # fmt: skip
    parts = [replace(page, name=f"{page.name}, part", part=True) for page in found if page.name in _POLLED]
    return [replace(page, client=page.client or client) for page in (*found, *parts)]


def signed_in(**who: str | int) -> Any:
    """A `django.test.Client` with a session of its own: a session keeps its last twenty searches."""
    from django.test import Client  # Django is set up by who asks

    from orchestrator.models import User

    client = Client(SERVER_NAME="127.0.0.1")
    who = who or {"role_assignments__role": "administrator"}
    user = User.objects.filter(**who, is_active=True).earliest("pk")
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


# Fetched again by themselves, every few seconds.
_POLLED = frozenset({
    "control room", "queue", "queue, mine", "queue, one kind", "navigation's counts", "interfaces", "worklist",
    "destinations", "deliveries", "deliveries, waiting", "delivery", "destination", "case's presence", "jobs", "job",
})  # fmt: skip


def _room() -> Iterator[Page]:
    yield Page("control room", "/")
    yield Page("navigation's counts", "/shell/counts/")
    yield Page("interfaces", "/interfaces/")
    yield Page("destinations", "/destinations/")
    yield Page("routing", "/routing/")
    yield Page("users", "/users/")
    yield Page("worklist", "/worklist/")
    yield Page("worklist, a year ago", f"/worklist/?day={dt.datetime.now(dt.UTC).date() - dt.timedelta(days=365)}")
    yield Page("worklist, one station", "/worklist/?station=CT1_MAIN")
    yield Page("metrics", "/metrics")


def _queue() -> Iterator[Page]:
    from orchestrator.models import ExceptionCase, Site

    site = Site.objects.get(code="LAKE").pk
    middle = ExceptionCase.objects.filter(status="OPEN").order_by("due_at")[40_000:40_001].first()
    middle = middle or ExceptionCase.objects.filter(status="OPEN").latest("due_at")
    yield Page("queue", "/exceptions/")
    for name, query in {
        "mine": "view=mine", "unassigned": "view=unassigned", "snoozed": "view=snoozed", "closed": "view=closed",
        "one kind": "kind=patient_conflict", "two kinds": "kind=no_route,delivery_failed", "one site": f"site={site}",
        "one source": "source=US1_LAKE", "modality": "modality=NM", "over time": "due=over", "due within the hour":
        "due=hour", "three filters": f"kind=no_route&site={site}&modality=US", "nothing fits": "kind=none_such",
        "last due first": "sort=-due", "deep": urlencode({"after": f"{middle.due_at.isoformat()}~{middle.pk}"}),
    }.items():  # fmt: skip
        yield Page(f"queue, {name}", f"/exceptions/?{query}")


def _lists() -> Iterator[Page]:
    from orchestrator.models import HL7Application, ImagingServiceRequest, InboundMessage, Patient, Site, Study, User
    from routing.models import Delivery, Destination

    site, user = Site.objects.get(code="LAKE").pk, User.objects.earliest("pk").pk
    interface = HL7Application.objects.latest("pk").pk
    archive = Destination.objects.get(ae_title="OLD_PACS").pk
    tables: dict[str, tuple[Any, str, dict[str, str]]] = {
        "studies": (Study, "last_received_at", {
            **{f"identity {each.lower()}": f"identity={each}" for each in ("HELD", "REJECTED", "PENDING", "MATCHED")},
            **{f"custody {each.lower()}": f"custody={each}" for each in ("RECEIVED", "RECEIVING", "DELIVERED")},
            "held and delivered": "identity=HELD&custody=DELIVERED",
            "rejected at a site": f"identity=REJECTED&site={site}",
        }),
        "patients": (Patient, "created_at", {}),
        "orders": (ImagingServiceRequest, "created_at", {
            "scheduled": "status=SCHEDULED", "canceled": "status=CANCELED", "completed at a site":
            f"status=COMPLETED&site={site}",
        }),
        "messages": (InboundMessage, "received_at", {
            "set aside": "status=QUARANTINED", "refused": "status=REJECTED", "applied": "status=APPLIED",
            "one interface": f"interface={interface}",
            "waiting of an interface": f"status=WAITING&interface={interface}",
        }),
        "deliveries": (Delivery, "created_at", {
            "waiting": "status=waiting", "failed": "status=FAILED", "sent": "status=SENT", "to one":
            f"destination={archive}", "failed to one": f"status=FAILED&destination={archive}",
        }),
    }  # fmt: skip
    for name, (model, column, filters) in tables.items():
        yield Page(name, f"/{name}/")
        yield Page(f"{name}, one site", f"/{name}/?site={site}")
        for said, query in filters.items():
            yield Page(f"{name}, {said}", f"/{name}/?{query}")
        deep = model.objects.order_by(column)[model.objects.count() // 3]
        yield Page(
            f"{name}, deep", f"/{name}/?{urlencode({'after': f'{getattr(deep, column).isoformat()}~{deep.pk}'})}"
        )
        client = signed_in()
        for said, text in _searches().items():
            yield Page(f"{name}, search {said}", _searched(client, f"/{name}/", text), client)
    client = signed_in()
    for said, text in _searches().items():
        yield Page(f"search box, {said}", _searched(client, "/search/", text), client)
    yield Page("audit", "/audit/")
    yield Page("audit, one person", f"/audit/?user={user}")
    yield Page("audit, one action", "/audit/?action=audit.view")


def _searches() -> Mapping[str, str]:
    from orchestrator.models import ImagingServiceRequest

    orders = ImagingServiceRequest.objects.select_related("patient").order_by("-pk")[20:]
    # A day that the year begins with is no word more, and asks for less.
    order = next(each for each in orders if (born := each.patient.birth_date) and born.day not in (19, 20))
    identifier = order.patient.identifiers.earliest("pk").value
    return {
        "rare name": "Zellunquist", "common name": "smith", "name and given name": "Garcia-Lopez, Jose",
        "one letter": "s", "two common names": "maria smith", "accession": order.accession_number,
        "patient id": identifier, "birth date": str(order.patient.birth_date), "nobody": "Qqqq",
        "order number": order.placer_order_number, "two letters apart": "m s",
    }  # fmt: skip


def _searched(client: Any, address: str, text: str) -> str:
    """Where the posted search stands, or the one thing that it found."""
    found: str = client.post(address, {"q": text}).headers["Location"]
    if address == "/search/":
        answer = client.get(found)
        return str(answer.headers["Location"]) if answer.status_code == 302 else found
    return found


def _at_one_site() -> Iterator[Page]:
    """As somebody sees it whose role is at one site only."""
    client = signed_in(username="lena")
    yield Page("control room, of one site", "/", client)
    for name in ("exceptions", "studies", "patients", "orders", "messages", "deliveries"):
        yield Page(f"{name}, of one site", f"/{name}/", client)
        if name != "exceptions":
            yield Page(f"{name}, of one site, search", _searched(client, f"/{name}/", "smith"), client)


def _shown() -> Iterator[Page]:
    """What a list asks again of the rows that it shows, and what hangs on lists."""
    from orchestrator.models import ImagingServiceRequest, InboundMessage, Study
    from routing.models import Delivery

    models: dict[str, Any] = {
        "studies": Study, "orders": ImagingServiceRequest, "messages": InboundMessage, "deliveries": Delivery,
    }  # fmt: skip
    for name, model in models.items():
        keys = ",".join(str(key) for key in model.objects.order_by("-pk").values_list("pk", flat=True)[:50])
        yield Page(f"{name}, rows on the screen", f"/{name}/?{urlencode({'shown': keys})}", part=True)
        yield Page(f"saved views of {name}", f"/views/{name}/")


def _jobs() -> Iterator[Page]:
    """As the person sees them whose job was the largest."""
    from orchestrator.models import Job

    job = Job.objects.order_by("-total")[0]
    client, middle = signed_in(pk=job.owner_id), job.items.order_by("pk")[(job.total or 0) // 2].pk
    yield Page("jobs", "/jobs/", client)
    yield Page("running jobs", "/jobs/running/", client, part=True)
    for name, query in {"": "", ", deep": f"?after={middle}", ", those that failed": "?outcome=failed"}.items():
        yield Page(f"job{name}", f"/jobs/{job.pk}/{query}", client)


def _palette() -> Iterator[Page]:
    """What the command palette answers while somebody types, and before; somebody opened five things meanwhile."""
    from orchestrator.models import ExceptionCase, ImagingServiceRequest, Patient, Study

    client = signed_in()
    for path in (
        f"/patients/{Patient.objects.latest('pk').uid}/", f"/orders/{ImagingServiceRequest.objects.latest('pk').pk}/",
        f"/exceptions/{ExceptionCase.objects.latest('pk').pk}/", *(f"/studies/{study.pk}/" for study in
        Study.objects.order_by("-pk")[:2]),
    ):  # fmt: skip
        client.get(path)
    for said, text in {"nothing": "", "two letters": "sm", "words": "my ex", **_searches()}.items():
        yield Page(f"palette, {said}", "/palette/", client, part=True, form={"q": text})


def _asked() -> Iterator[Page]:
    """What a write would do, before it is done: to all that match, and to one; and where things are written anew."""
    from orchestrator.models import ExceptionCase

    failed = {"all": "1", "filter": "site=all&kind=delivery_failed"}
    for act in ("assign", "snooze"):
        yield Page(f"cases, {act} all that match", f"/exceptions/bulk/{act}/", part=True, form=failed)
    failed = {"all": "1", "filter": "site=all&status=FAILED"}
    yield Page("deliveries, retry all that match", "/deliveries/bulk/retry/", part=True, form=failed)
    held = ExceptionCase.objects.filter(status="OPEN", claim__isnull=False).order_by("due_at")[3]
    settled = ExceptionCase.objects.filter(decisions__undone_at=None, decisions__isnull=False).earliest("pk")
    yield Page("case, reject", f"/exceptions/{held.pk}/reject/", part=True)
    yield Page("case, undo", f"/exceptions/{settled.pk}/undo/", part=True)
    for name, path in {"rule, a new one": "routing/add/", "version of the rules": "routing/versions/1/", "publish":
                       "routing/publish/", "tokens": "tokens/"}.items():  # fmt: skip
        yield Page(name, f"/{path}")


def _single() -> Iterator[Page]:
    from orchestrator.models import ExceptionCase, ImagingServiceRequest, InboundMessage, Patient, Study
    from routing.models import Delivery, Destination

    study = Study.objects.filter(identity="MATCHED").latest("last_received_at")
    order = ImagingServiceRequest.objects.order_by("-pk")[20]
    case = ExceptionCase.objects.filter(status="OPEN", claim__isnull=False).order_by("due_at")[3]
    delivery = Delivery.objects.filter(status="FAILED").first() or Delivery.objects.earliest("pk")
    yield Page("study", f"/studies/{study.pk}/")
    yield Page("series", f"/studies/{study.pk}/series/{study.series.earliest('pk').pk}/")
    yield Page("patient", f"/patients/{Patient.objects.filter(orders__isnull=False).earliest('pk').uid}/")
    yield Page("order", f"/orders/{order.pk}/")
    yield Page("message", f"/messages/{InboundMessage.objects.order_by('-pk')[50].pk}/")
    yield Page("case", f"/exceptions/{case.pk}/")
    yield Page("case's presence", f"/exceptions/{case.pk}/presence/")
    yield Page("case, match to an order", f"/exceptions/{case.pk}/match/{order.pk}/")
    yield Page("delivery", f"/deliveries/{delivery.pk}/")
    yield Page("destination", f"/destinations/{Destination.objects.get(ae_title='PACS_MAIN').pk}/")


def _kpis() -> Iterator[Page]:
    from orchestrator.kpis.definitions import DEFINITIONS

    today = dt.datetime.now(dt.UTC).date()
    quarter, year = (f"from={today - dt.timedelta(days=days)}&to={today}" for days in (89, 365))
    yield Page("KPIs", "/kpis/")
    yield Page("KPIs, a quarter", f"/kpis/?{quarter}")
    yield Page("KPIs, a year by source", f"/kpis/?{year}&by=source")
    yield Page("KPIs, weekly review", "/kpis/review/")
    yield Page("KPIs, as a table", f"/kpis/csv/?{quarter}")
    yield Page("KPI as a table, a year by source", f"/kpis/mismatch_rate/csv/?{year}&by=source")
    for name, chart in (("mismatch_rate", "days"), ("mismatch_rate", "split"), ("exception_backlog", "ages")):
        yield Page(f"KPI picture, {chart} of a year", f"/kpis/{name}/{chart}.svg?{year}&by=source")
    for name in DEFINITIONS:
        yield Page(f"KPI {name}", f"/kpis/{name}/")
        yield Page(f"KPI {name}, a year by source", f"/kpis/{name}/?{year}&by=source")
        yield Page(f"behind {name}", f"/kpis/{name}/behind/")
        yield Page(f"behind {name}, a rare source in a year", f"/kpis/{name}/behind/?{year}&source=US1_LAKE")
    yield Page("behind mismatch_rate, those of a year", f"/kpis/mismatch_rate/behind/?{year}&counted=numerator")
    yield Page("behind order_to_worklist, the slow of a year", f"/kpis/order_to_worklist/behind/?{year}&counted=rest")
    yield Page("behind exception_backlog, settled in a year", f"/kpis/exception_backlog/behind/?{year}&counted=settled")
    before = today - dt.timedelta(days=200)
    yield Page("behind exception_backlog, long ago", f"/kpis/exception_backlog/behind/?{year}&day={before}")


def _rest() -> Iterator[Page]:
    from orchestrator.models import ImagingServiceRequest, Study

    order, study = ImagingServiceRequest.objects.order_by("-pk")[20], Study.objects.order_by("-pk")[20]
    for path in (
        "patients/", "patients/?name=smith", "patients/?name=maria%20smith", "orders/",
        f"orders/?accession_number={order.accession_number}", f"orders/?patient={order.patient_id}", "studies/",
        "studies/?identity=held", "studies/?custody=received", f"studies/?accession_number={order.accession_number}",
        f"studies/{study.study_instance_uid}/", f"studies/{study.study_instance_uid}/timeline/", "exceptions/",
        "exceptions/?status=open", "exceptions/?status=open&kind=no_route", "exceptions/?owner=mara", "messages/",
        "messages/?status=quarantined", "messages/?type=ADT%5EA04", "deliveries/", "deliveries/?status=failed",
        "destinations/", "audit/", "audit/?action=audit.view", "jobs/", "interfaces/", "application-entities/",
        "kpis/",
    ):  # fmt: skip
        said = path.replace(study.study_instance_uid, "UID").replace(order.accession_number, "A")
        yield Page(f"REST {said.replace(str(order.patient_id), 'ID')}", f"/api/v1/{path}")
