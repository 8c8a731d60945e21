"""What happened to studies, cases and orders, as the product's services write it, for tests of what the KPIs count."""

import datetime as dt
from typing import Any

from django.utils import timezone

from orchestrator.models import ExceptionCase, IdentityClaim, ImagingServiceRequest, Site, Study, WorkflowEvent
from orchestrator.services.exceptions import open_case
from orchestrator.services.workflow import record, transition
from tests.factories import make_claim, make_order, make_site, make_study

# 23:30 UTC on a Sunday: already Monday in Berlin.
AT = dt.datetime(2026, 7, 5, 23, 30, tzinfo=dt.UTC)


def date_back(subject: str, subject_id: int, at: dt.datetime) -> None:
    """All that has happened to it so far, at this moment."""
    WorkflowEvent.objects.filter(subject_type=subject, subject_id=subject_id).update(at=at)


def judge(claim: IdentityClaim, event: str, **detail: Any) -> None:
    """`matched`, `held` or `rejected`, where that may follow; the first hold opens the claim's case."""
    transition(claim, f"claim.{event}", detail=detail)
    if event == "held":
        open_case(
            "unmatched_study", about=claim, reason_code="NO_ORDER", summary="No order fits.", site=claim.study.site,
            study=claim.study, claim=claim, modality=claim.modality, source=claim.calling_ae_title,
        )  # fmt: skip


def judged_study(*events: str, at: dt.datetime = AT, site: Site | None = None, by: str = "auto", **claim: Any) -> Study:
    """A study whose one claim was judged so, at one moment."""
    study = make_study(site=site or make_site(), **{"modality": "CT", "calling_ae_title": "CT_NORTH", **claim})
    only = study.claims.get()
    for event in events:
        judge(only, event, **({"matched_by": by} if event == "matched" else {}))
    WorkflowEvent.objects.filter(study_id=study.pk).update(at=at)
    return study


def another_claim(study: Study, event: str, *, by: str = "auto") -> IdentityClaim:
    claim = make_claim(study, modality="SR", calling_ae_title="CAD")
    judge(claim, event, **({"matched_by": by} if event == "matched" else {}))
    return claim


def opened_case(
    *, at: dt.datetime | None = None, kind: str = "no_route", site: Site | None = None, **columns: Any
) -> ExceptionCase:
    """A case about a site of its own."""
    about = Site.objects.create(code=f"X{Site.objects.count()}", name="about")
    case = open_case(
        kind, about=about, reason_code="X", summary="X", site=site or make_site(),
        **{"modality": "CT", "source": "CT_NORTH", **columns},
    )  # fmt: skip
    date_back("exceptioncase", case.pk, at or timezone.now())
    return case


def move_case(case: ExceptionCase, event: str, *, at: dt.datetime) -> None:
    moved = transition(case, f"case.{event}")
    WorkflowEvent.objects.filter(pk=moved.pk).update(at=at)


def scheduled_order(
    seconds: float, *, at: dt.datetime = AT, site: Site | None = None, modality: str = "CT"
) -> ImagingServiceRequest:
    """An order that a message put on the worklist within that time."""
    order = make_order(site=site or make_site())
    detail = {"seconds_since_receipt": seconds, "modality": modality}
    event = record("order.scheduled", order, to_state="SCHEDULED", detail=detail)
    WorkflowEvent.objects.filter(pk=event.pk).update(at=at, actor_name="RIS")
    return order
