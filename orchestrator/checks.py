"""System checks: every dotted name on the bell boards and registries resolves."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.utils.module_loading import import_string

# What is registered here are tables, not functions.
_TABLES = ("CONFIG_SECTIONS", "CASE_KINDS", "DATED_ROWS", "LISTS", "COMMANDS")


def _registered_names() -> Iterator[tuple[str, str]]:
    for board in (
        "HL7_HANDLERS", "DIMSE_HANDLERS", "FACT_SOURCES", "CONFIG_SECTIONS", "LISTS", "RECENT", "GATHERED_SUBSCRIBERS",
    ):  # fmt: skip
        yield from ((board, name) for name in getattr(settings, board).values())
    boards = ("STEP_PROJECTIONS", "SWEEPS", "SEARCH_PROVIDERS", "CONSEQUENCES", "DOCTOR_CHECKS", "METRIC_SOURCES")
    for board in (*boards, "CASE_KINDS", "DATED_ROWS", "REBUILT_WHEN_DATED", "COMMANDS", "CHANGES"):
        yield from ((board, name) for name in getattr(settings, board))
    for names in settings.EVENT_SUBSCRIBERS.values():
        yield from (("EVENT_SUBSCRIBERS", name) for name in names)
    for entry in settings.CELERY_BEAT_SCHEDULE.values():
        yield "CELERY_BEAT_SCHEDULE", str(entry["task"])
    for name in settings.CELERY_TASK_ROUTES:
        if "*" not in name:
            yield "CELERY_TASK_ROUTES", name


@checks.register
def registries_resolve(**_: Any) -> Sequence[checks.CheckMessage]:
    """Every dotted name in settings resolves, or `check` fails."""
    errors: list[checks.CheckMessage] = []
    for board, name in _registered_names():
        try:
            found = import_string(name)
        except ImportError as error:
            errors.append(checks.Error(f"{board}: '{name}' does not resolve.", hint=str(error), id="fiducial.E001"))
        else:
            if board not in _TABLES and not callable(found):
                errors.append(checks.Error(f"{board}: '{name}' is nothing that can be called.", id="fiducial.E003"))
    return errors


@checks.register(checks.Tags.security, deploy=True)
def trust_is_narrow(**_: Any) -> Sequence[checks.CheckMessage]:
    """Loopback trust is for a machine that only its own programs can reach."""
    hosts = {settings.HTTP_HOST, settings.DICOM_HOST, settings.HL7_HOST}
    if settings.TRUST == "loopback" and (settings.BEHIND_PROXY or hosts - {"127.0.0.1", "::1", "localhost"}):
        return [
            checks.Error(
                "FIDUCIAL_TRUST=loopback with a binding that other machines reach, or behind a proxy.",
                hint="Set FIDUCIAL_TRUST=known and configure the peers.",
                id="fiducial.E002",
            )
        ]
    return []
