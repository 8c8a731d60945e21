"""What the KPIs count of these rows: a fact for each study, order and move of a case; and how many there are."""

from collections.abc import Iterable

from django.db import connection

from benchmarks.population.bulk import Table
from benchmarks.population.exams import moment
from orchestrator.kpis.counting import Fact
from orchestrator.models import WHOLE_DAY, KpiFact, KpiSubject, KpiTally

_REST = "subject, day, site_id, modality, source, outcome, reason"


def add_facts(to: Table, subject: KpiSubject, subject_id: int, facts: Iterable[Fact]) -> None:
    """The clock of all sites shows UTC."""
    for number, fact in enumerate(facts):
        until = moment(fact.until) if fact.until else None
        to.add(
            str(subject), subject_id, number, str(fact.at.date()), fact.at.hour, fact.site_id, fact.modality,
            fact.source, str(fact.outcome), fact.reason, moment(fact.at), until, fact.seconds,
        )  # fmt: skip


def tally() -> None:
    """Count the facts, by the hour and by the day."""
    with connection.cursor() as cursor:
        for hour in ("hour", str(WHOLE_DAY)):
            cursor.execute(
                f"INSERT INTO {KpiTally._meta.db_table} ({_REST}, hour, count) "  # noqa: S608  names of ours
                f"SELECT {_REST}, {hour}, count(*) FROM {KpiFact._meta.db_table} GROUP BY {_REST}"
                + (", hour" if hour == "hour" else "")
            )
