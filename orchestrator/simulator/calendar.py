"""The calendar of a history: whom and what each exam is about, and when what was played truly happened."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from orchestrator.simulator.ledger import Entry
from orchestrator.simulator.orders import Order
from orchestrator.simulator.people import Person


def calendar(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """All exams of a history, by number; nothing of exams that happened when they were played."""
    exams: dict[int, list[Entry]] = {}
    for entry in entries:
        if entry.clock.turns:
            exams.setdefault(entry.exam.number, []).append(entry)
    return [_page(exam) for _, exam in sorted(exams.items())]


def _page(studies: Sequence[Entry]) -> dict[str, Any]:
    """One exam. Everybody and every order that its plan names belongs to it."""
    planned = list(_parts(studies[0].exam))
    people = {(each.patient_id, each.issuer) for each in planned if isinstance(each, Person)}
    orders = {(each.filler_order_number, each.accession_number) for each in planned if isinstance(each, Order)}
    return {
        "exam": studies[0].exam.number,
        "patients": [{"value": value, "issuer": issuer} for value, issuer in sorted(people)],
        "orders": [{"filler_order_number": filler, "accession_number": number} for filler, number in sorted(orders)],
        "studies": [each.study_instance_uid for each in studies if each.study_instance_uid],
        "turns": [[played.isoformat(), truly.isoformat()] for played, truly in studies[0].clock.turns],
    }


def _parts(value: Any) -> Iterator[Any]:
    """A plan and all that it is made of."""
    yield value
    if is_dataclass(value):
        for each in fields(value):
            yield from _parts(getattr(value, each.name))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _parts(each)
