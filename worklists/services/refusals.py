"""What modalities reported and we refused: kept as sent, and shown to a person until it is reported again."""

from dataclasses import dataclass

from django.db import transaction
from django.db.models import F

from orchestrator.models import Site
from orchestrator.services.exceptions import open_case, resolve_about
from worklists.models import RefusedReport

_KIND = "mpps_conflict"


@dataclass(frozen=True, slots=True)
class Report:
    """An N-CREATE or N-SET as it came."""

    command: str
    sop_instance_uid: str
    ae_title: str
    site_id: int
    transfer_syntax_uid: str
    dataset: bytes


@transaction.atomic
def keep(report: Report, *, status: int, reason: str) -> None:
    """Keep a refused report and ask a person, who finds the step as it was."""
    kept, is_new = RefusedReport.objects.get_or_create(
        sop_instance_uid=report.sop_instance_uid[:64],
        command=report.command,
        ae_title=report.ae_title,
        defaults={
            "site_id": report.site_id,
            "status": status,
            "reason": reason[:64],
            "transfer_syntax_uid": report.transfer_syntax_uid,
            "dataset": report.dataset,
        },
    )
    if not is_new:
        RefusedReport.objects.filter(pk=kept.pk).update(count=F("count") + 1)
        kept.status, kept.reason, kept.dataset = status, reason[:64], report.dataset
        kept.save(update_fields=["status", "reason", "dataset", "last_at"])
    open_case(
        _KIND,
        about=kept,
        reason_code="report_refused",
        summary=f"{report.ae_title} reported a procedure step ({report.command}) and was refused: {reason}.",
        site=Site.objects.get(pk=report.site_id),
        source=report.ae_title,
        detail={
            "status": f"{status:04X}",
            "SOP_instance_UID": report.sop_instance_uid,
            "bytes_kept": len(report.dataset),
        },
    )


@transaction.atomic
def settle(report: Report) -> None:
    """The report was taken: what was refused of it before is settled."""
    before = RefusedReport.objects.filter(
        sop_instance_uid=report.sop_instance_uid, command=report.command, ae_title=report.ae_title
    ).first()
    if before is not None:
        resolve_about(_KIND, about=before, resolution="reported again and taken")
