"""Setting back in time what a simulated hospital has played: for demonstration installations only.

The simulator speaks through sockets, and Fiducial's clock says now. What it played in minutes and what it meant to have
happened over weeks stands in its report, the *calendar*: for each exam its turns, the moments at which the time that
is played jumps on. Between two turns everything keeps its distance: latencies are the true ones.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Model
from django.utils.module_loading import import_string

from orchestrator.models import ImagingServiceRequest, Patient, Site, Study
from orchestrator.services.workflow import record

# The simulator's clock and the database's may differ by so much.
_SKEW = timedelta(seconds=5)
_ROWS_AT_ONCE = 500
Known = dict[type[Model], dict[Any, "Exam"]]


class Unfit(Exception):
    """Nothing was changed; the text says why, in one line."""


@dataclass(frozen=True)
class Exam:
    """One exam of the calendar: whom and what it is about, and its turns (when played, when it truly happened)."""

    patients: frozenset[tuple[str, str]]
    orders: frozenset[tuple[str, str]]
    studies: frozenset[str]
    turns: tuple[tuple[datetime, datetime], ...]

    def happened(self, played: datetime) -> datetime:
        """When it truly happened. What is from before this exam was played is where it belongs already."""
        if played < self.turns[0][0] - _SKEW:
            return played
        turn = max(bisect_right(self.turns, played, key=lambda each: each[0]) - 1, 0)
        return self.turns[turn][1] + (played - self.turns[turn][0])


@dataclass(frozen=True)
class Dated:
    """The rows of one model that belong to exams, and their moments."""

    model: type[Model]
    times: Sequence[str] = ()
    links: Mapping[type[Model], str] = field(default_factory=dict)
    """{model further up: path to its key}: the first that is an exam's says which exam's this row is."""
    follows: Mapping[str, str] = field(default_factory=dict)
    """{moment yet to come: the moment it was reckoned from, with which it moves}"""
    where: Mapping[str, Any] = field(default_factory=dict)
    with_the_one_before: bool = False
    """What names nobody goes with the row before it."""


@transaction.atomic
def date_back(calendar: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Set everything of these exams back to when it truly happened; how many rows of which kind were moved.

    All or nothing. Moved a second time, nothing changes. Raises Unfit when there is a patient, an order or a study
    here that is none of the calendar's.
    """
    exams = [_exam(each) for each in calendar]
    known = _known(exams)
    moved: Counter[str] = Counter()
    for name in settings.DATED_ROWS:
        for dated in import_string(name):
            moved[str(dated.model._meta.verbose_name_plural)] += _move(dated, known)
    moved = +moved
    if moved:
        record("history.dated_back", Site.objects.earliest("pk"), detail={"exams": len(exams), "rows": moved.total()})
    # Also when nothing was moved: the time before may have ended before all was reckoned anew.
    for name in settings.REBUILT_WHEN_DATED:
        transaction.on_commit(import_string(name))
    return dict(moved)


def _exam(told: Mapping[str, Any]) -> Exam:
    """An exam as the report tells it. Raises Unfit."""
    try:
        turns = [(datetime.fromisoformat(played), datetime.fromisoformat(truly)) for played, truly in told["turns"]]
        exam = Exam(
            patients=frozenset((each["value"], each["issuer"]) for each in told["patients"]),
            orders=frozenset((each["filler_order_number"], each["accession_number"]) for each in told["orders"]),
            studies=frozenset(told["studies"]),
            turns=tuple(turns),
        )
        apart = [(later[0] - turn[0], later[1] - turn[1]) for turn, later in pairwise(turns)]
    except (KeyError, TypeError, ValueError) as error:
        raise Unfit(f"The report has no calendar that can be read ({type(error).__name__}: {error}).") from error
    if not turns or any(truly < played or played < timedelta() for played, truly in apart):
        raise Unfit("An exam's turns go back in time: nothing can be ordered by them.")
    if any(truly > played for played, truly in turns):
        raise Unfit("The report is of no history: an exam happened after it was played.")
    return exam


def _known(exams: Sequence[Exam]) -> Known:
    """Which patient, order and study is which exam's. Raises Unfit when there is one that is none's."""
    by_study = {uid: exam for exam in exams for uid in exam.studies}
    by_order = {numbers: exam for exam in exams for numbers in exam.orders}
    by_patient: dict[tuple[str, str | None], Exam] = {}
    for exam in sorted(exams, key=lambda each: each.turns[0][1]):
        for identifier in exam.patients:
            by_patient.setdefault(identifier, exam)
    known: Known = defaultdict(dict)
    studies = Study.objects.values_list("pk", "study_instance_uid")
    known[Study] = {key: by_study[uid] for key, uid in studies if uid in by_study}
    orders = ImagingServiceRequest.objects.values_list("pk", "filler_order_number", "accession_number")
    known[ImagingServiceRequest] = {key: by_order[of] for key, *numbers in orders if (of := tuple(numbers)) in by_order}
    identifiers = Patient.objects.values_list("pk", "identifiers__value", "identifiers__issuer__namespace")
    for key, value, issuer in identifiers.order_by("pk", "-identifiers__primary"):
        if (value, issuer) in by_patient:
            known[Patient].setdefault(key, by_patient[value, issuer])
    # A merged record has given its identifiers away.
    for key, surviving in Patient.objects.exclude(merged_into=None).values_list("pk", "merged_into"):
        if surviving in known[Patient]:
            known[Patient].setdefault(key, known[Patient][surviving])
    for model in (Study, ImagingServiceRequest, Patient):
        if foreign := model._default_manager.count() - len(known[model]):
            name = model._meta.verbose_name_plural if foreign > 1 else model._meta.verbose_name
            raise Unfit(f"{foreign} {name} here belong{'s' * (foreign == 1)} to no exam of the report.")
    # Some name a study by its UID only.
    known[Study].update(by_study)
    return known


def _move(dated: Dated, known: Known) -> int:
    """Move the rows of one model, and what its history says was changed when; how many of its own rows."""
    model = dated.model
    moved = _move_rows(dated, known, model, "pk")
    if hasattr(model, "history"):
        # Its rows copy those of the model, and are left where one was deleted.
        kept: Any = model.history.model
        own = str(model._meta.pk.attname)
        _move_rows(replace(dated, times=("history_date", *dated.times)), known, kept, own)
    return moved


def _move_rows(dated: Dated, known: Known, table: type[Model], own: str) -> int:
    """Move the rows of one table, of which `own` names the row of the model that each is or copies."""
    columns = [*dated.times, *dated.follows]
    rows = table._default_manager.filter(**dated.where).order_by("pk")
    found = rows.values_list("pk", own, *columns, *dated.links.values())
    of, updates, exam = known[dated.model], list[tuple[Any, ...]](), None
    for key, row, *values in found.iterator(chunk_size=_ROWS_AT_ONCE):
        moments, keys = values[: len(columns)], values[len(columns) :]
        exam = of.get(row) or _named(dated, keys, known) or (exam if dated.with_the_one_before else None)
        if exam is None:
            continue
        of[row] = exam
        moved = _moved(dated, exam, dict(zip(columns, moments, strict=True)))
        if moved != moments:
            updates.append((key, *moved))
    _write(table, columns, updates)
    return len(updates)


def _named(dated: Dated, keys: Sequence[Any], known: Known) -> Exam | None:
    """The exam of the first link that leads to one; of a list of keys the last is the latest."""
    for target, key in zip(dated.links, keys, strict=True):
        for each in reversed(key) if isinstance(key, list) else (key,):
            if exam := known[target].get(each):
                return exam
    return None


def _moved(dated: Dated, exam: Exam, moments: Mapping[str, datetime | None]) -> list[datetime | None]:
    moved = [each and exam.happened(each) for each in (moments[name] for name in dated.times)]
    for name, leader in dated.follows.items():
        each, led = moments[name], moments[leader]
        moved.append(each + (exam.happened(led) - led) if each and led else each)
    return moved


def _write(table: type[Model], columns: Sequence[str], updates: Sequence[tuple[Any, ...]]) -> None:
    """Set these columns, row by key. Not by `save`: that a row is set back is no change of it.

    What was empty when it was read stays as it is: a worker may have filled it meanwhile.
    """
    quote, adapt = connection.ops.quote_name, connection.ops.adapt_datetimefield_value
    name, key = quote(table._meta.db_table), quote(str(table._meta.pk.column))
    fields: list[Any] = [table._meta.get_field(name) for name in columns]
    # Both databases call the columns of VALUES so; PostgreSQL has to be told what a NULL among them would be.
    value = "CAST(v.column{} AS {})" if connection.features.requires_casted_case_in_updates else "v.column{}"
    setting = ", ".join(
        f"{column} = COALESCE({value.format(number, each.db_type(connection))}, {name}.{column})"
        for number, each in enumerate(fields, start=2)
        for column in [quote(each.column)]
    )
    row = f"({', '.join(['%s'] * (len(columns) + 1))})"
    with connection.cursor() as cursor:
        for start in range(0, len(updates), _ROWS_AT_ONCE):
            portion = updates[start : start + _ROWS_AT_ONCE]
            given = [value for own, *moments in portion for value in (own, *(each and adapt(each) for each in moments))]
            cursor.execute(
                f"UPDATE {name} SET {setting} FROM (VALUES {', '.join([row] * len(portion))}) AS v"  # noqa: S608  names of ours, values apart
                f" WHERE {name}.{key} = v.column1",
                given,
            )


def span(calendar: Iterable[Mapping[str, Any]]) -> Iterator[datetime]:
    """All moments of a calendar at which something truly happened."""
    for exam in calendar:
        for _, truly in exam["turns"]:
            yield datetime.fromisoformat(truly)
