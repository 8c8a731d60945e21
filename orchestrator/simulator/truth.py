"""The judgement: what Fiducial made of a study, against what truly happened."""

from dataclasses import dataclass, field
from enum import StrEnum

from orchestrator.simulator.faults import Hold
from orchestrator.simulator.mllp_out import Answer
from orchestrator.simulator.orders import Exam
from orchestrator.simulator.people import Person
from orchestrator.simulator.rest import Json


class Verdict(StrEnum):
    """RIGHT: matched to the true patient and order. HELD: a person is asked, and a fault explains why.

    WRONG: matched to anybody or anything else, or by a guess. UNEXPLAINED: all the rest, a defect until shown
    otherwise.
    """

    RIGHT = "right"
    HELD = "held"
    WRONG = "wrong"
    UNEXPLAINED = "unexplained"
    NOT_JUDGED = "not judged"


ABOUT_IMAGES = frozenset(
    {"unmatched_study", "patient_conflict", "ambiguous_match", "study_uid_conflict", "wrong_worklist_entry"}
)
"""Kinds of cases that ask whose images these are. Others may be open beside them, and ask something else."""


@dataclass(frozen=True)
class Judgement:
    verdict: Verdict
    reason: str

    @property
    def settled(self) -> bool:
        """Otherwise more time may still change it for the better."""
        return self.verdict in (Verdict.RIGHT, Verdict.HELD)


@dataclass(frozen=True)
class Merge:
    """An A40 that was sent, and what was answered."""

    subsumed: Person
    answer: Answer


@dataclass(frozen=True)
class Found:
    """What the API tells of a study and of the story around it."""

    study: Json | None
    cases: list[Json] = field(default_factory=list)
    """Cases about the study that are not settled."""
    merge_message: Json | None = None
    """The A40 as it was received."""
    merge_cases: list[Json] = field(default_factory=list)
    """Cases about the A40 that are not settled."""


def judge(exam: Exam, instances: int, merge: Merge | None, found: Found) -> Judgement:
    """Judge one study of an exam, of which `instances` objects were sent."""
    if found.study is None:
        return Judgement(Verdict.UNEXPLAINED, "Fiducial does not know the study")
    judgement, there = _judge_identity(exam, merge, found, found.study), found.study.get("number_of_instances")
    # Whatever else is fine: an object that is lost is not. Only a wrong match is worse.
    if judgement.settled and there != instances:
        return Judgement(Verdict.UNEXPLAINED, f"{there} objects are there, {instances} were sent")
    return judgement


def _judge_identity(exam: Exam, merge: Merge | None, found: Found, study: Json) -> Judgement:
    identity = str(study.get("identity", "")).upper()
    if identity == "MATCHED" and _is_guessed(exam, study):
        return Judgement(Verdict.WRONG, f"matched by a guess: {exam.fault.label}")
    if others := _told_orders(study) - _true_orders(exam) - _orders_beside(exam):
        named = " and ".join(f"{filler} with accession number {number}" for filler, number in sorted(others, key=str))
        return Judgement(Verdict.WRONG, f"matched to order {named}")
    if identity == "HELD":
        return _held(exam, merge, found)
    if identity != "MATCHED":
        return Judgement(Verdict.UNEXPLAINED, f"identity is {identity or 'missing'}")
    return _matched(exam, merge, found, study)


def _is_guessed(exam: Exam, study: Json) -> bool:
    """Whether it was matched without a person who was needed."""
    by_itself = [str(each.get("matched_by", "")).lower() == "auto" for each in study.get("claims", [study])]
    # Of a study of two people the images of one may be beyond doubt.
    guessed = all(by_itself) if exam.fault.mixes else any(by_itself)
    return guessed and exam.fault.hold is Hold.NEEDED


def _held(exam: Exam, merge: Merge | None, found: Found) -> Judgement:
    fault = exam.fault
    asking = [case for case in found.cases if case.get("kind") in ABOUT_IMAGES]
    if not asking:
        return Judgement(Verdict.UNEXPLAINED, "held, and no open case asks anybody")
    asked = ", ".join(f"case {case.get('id')} {case.get('reason_code')}" for case in asking)
    if not fault.happens:
        return Judgement(Verdict.UNEXPLAINED, f"held although nothing was wrong ({asked})")
    if fault.holding_is_fair:
        return Judgement(Verdict.HELD, f"{fault.label}: {fault.hold.value} ({asked})")
    if merge is not None and not _is_merged(found):
        return _not_merged(merge, found)
    return Judgement(Verdict.UNEXPLAINED, f"held although it can be matched: {fault.label} ({asked})")


def _matched(exam: Exam, merge: Merge | None, found: Found, study: Json) -> Judgement:
    if not _is_of(exam.person, study):
        if merge is not None and _is_of(merge.subsumed, study):
            return _not_merged(merge, found)
        return Judgement(Verdict.WRONG, "matched to another patient")
    if _identifiers(study) - {_known(exam.person), *([_known(exam.subsumed)] if exam.subsumed else [])}:
        return Judgement(Verdict.WRONG, "the patient's record is another one's too")
    if exam.fault.is_ordered and (missing := _true_orders(exam) - _told_orders(study)):
        named = " and ".join(number for _, number in sorted(missing))
        return Judgement(Verdict.UNEXPLAINED, f"not matched to its order {named}")
    return Judgement(Verdict.RIGHT, "")


def _is_of(person: Person, study: Json) -> bool:
    return _known(person) in _identifiers(study)


def _known(person: Person) -> tuple[str, str]:
    return person.patient_id, person.issuer


def _identifiers(study: Json) -> set[tuple[str, str]]:
    """Those of the record that the study is matched to, with their issuers."""
    return {(each.get("value"), each.get("issuer")) for each in (study.get("patient") or {}).get("identifiers", [])}


def _true_orders(exam: Exam) -> set[tuple[str, str]]:
    """Filler order number and accession number of the orders that the study satisfies."""
    return {(each.filler_order_number, each.accession_number) for each in (exam.order, *exam.group)}


def _orders_beside(exam: Exam) -> set[tuple[str, str]]:
    """Those of the other patient who is in the study too."""
    return _true_orders(exam.neighbour) if exam.fault.mixes and exam.neighbour else set()


def _told_orders(study: Json) -> set[tuple[str, str]]:
    """The orders that a study is matched to."""
    orders = study.get("orders") or ([study["order"]] if study.get("order") else [])
    return {(str(each.get("filler_order_number")), str(each.get("accession_number"))) for each in orders}


def _is_merged(found: Found) -> bool:
    return (found.merge_message or {}).get("status") == "APPLIED"


def _not_merged(merge: Merge, found: Found) -> Judgement:
    """The records are still two. That is fair only where somebody was told: the sender by its answer, or a person."""
    message, cases = found.merge_message or {}, found.merge_cases
    in_case = f" in case {cases[0].get('id')}" if cases else ""
    if not merge.answer.accepted:
        answer = f"{merge.answer.code} {merge.answer.text}".rstrip()
        return Judgement(Verdict.HELD, f"merge not applied: message refused ({answer}){in_case}")
    if cases:
        return Judgement(Verdict.HELD, f"merge not applied: message set aside{in_case}")
    status = str(message.get("status", "unknown")).lower()
    return Judgement(Verdict.UNEXPLAINED, f"merge accepted, without effect and without a case (message {status})")
