"""The judgement: what Fiducial made of a study, against what truly happened."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.simulator.orders import Exam

Json = dict[str, Any]


class Verdict(StrEnum):
    """RIGHT: matched to the true patient and order. HELD: a person is asked, and a fault explains why.

    WRONG: matched to anybody or anything else. UNEXPLAINED: all the rest, a defect until shown otherwise.
    """

    RIGHT = "right"
    HELD = "held"
    WRONG = "wrong"
    UNEXPLAINED = "unexplained"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Judgement:
    verdict: Verdict
    reason: str

    @property
    def settled(self) -> bool:
        """Otherwise more time may still change it for the better."""
        return self.verdict in (Verdict.RIGHT, Verdict.HELD)


def judge(exam: Exam, found: Json | None) -> Judgement:
    """Judge an exam by Fiducial's study resource (None: unknown there)."""
    if found is None:
        return Judgement(Verdict.UNEXPLAINED, "Fiducial does not know the study")
    identity = str(found.get("identity", "")).upper()
    if identity == "HELD":
        return _held(exam)
    if identity != "MATCHED":
        return Judgement(Verdict.UNEXPLAINED, f"identity is {identity or 'missing'}")
    if difference := "; ".join(_differences(exam, found)):
        return Judgement(Verdict.WRONG, difference)
    return Judgement(Verdict.RIGHT, "")


def _held(exam: Exam) -> Judgement:
    if exam.fault is None:
        return Judgement(Verdict.UNEXPLAINED, "held although nothing was wrong")
    if not exam.fault.holding_is_fair:
        return Judgement(Verdict.UNEXPLAINED, f"held although it can be matched: {exam.fault.label}")
    return Judgement(Verdict.HELD, exam.fault.label)


def _differences(exam: Exam, found: Json) -> Iterator[str]:
    """Everything in a MATCHED study that contradicts the truth."""
    person, order = exam.person, exam.order
    identifiers = (found.get("patient") or {}).get("identifiers", [])
    if not any((of.get("value"), of.get("issuer")) == (person.patient_id, person.issuer) for of in identifiers):
        yield "matched to another patient"
    if not exam.has_order:
        # Nobody ordered this: only a person may have made an order for it afterwards.
        if str(found.get("matched_by", "")).lower() == "auto":
            yield "matched by itself although nothing was ever ordered"
        return
    orders = found.get("orders") or ([found["order"]] if found.get("order") else [])
    if not orders:
        yield "matched to no order"
    for matched in orders:
        told = (matched.get("filler_order_number"), matched.get("accession_number"))
        if told != (order.filler_order_number, order.accession_number):
            yield f"matched to order {told[0]} with accession number {told[1]}"
