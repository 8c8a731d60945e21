"""Whether images belong to an order: claim and candidates in, scores with reasons out. Pure.

Promise 7: an automatic match needs one order factor (study UID, accession number, step) and two patient factors
(issuer with id; name with birth date), none conflicting. Missing is not agreement.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rapidfuzz.distance import JaroWinkler


class Verdict(StrEnum):
    AGREE = "agree"
    CLOSE = "close"
    DIFFER = "differ"
    MISSING = "missing"


@dataclass(frozen=True)
class Identifier:
    """An id under its issuer; issuer empty: none was given and no default applies."""

    issuer: str
    value: str


@dataclass(frozen=True)
class Claim:
    """What images say of themselves; dates as YYYYMMDD, empty when absent."""

    identifier: Identifier
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    accession_number: str = ""
    study_instance_uid: str = ""
    requested_procedure_id: str = ""
    sps_id: str = ""
    modality: str = ""
    station: str = ""
    study_date: str = ""


@dataclass(frozen=True)
class Candidate:
    """One scheduled step with its order and patient; `procedure`: the key of its requested procedure."""

    key: int
    identifiers: frozenset[Identifier]
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""
    accession_number: str = ""
    study_instance_uid: str = ""
    requested_procedure_id: str = ""
    sps_id: str = ""
    modality: str = ""
    stations: tuple[str, ...] = ()
    start_date: str = ""
    # Another study has satisfied the step already, or the step was canceled.
    satisfied: bool = False
    procedure: int | None = None


@dataclass(frozen=True)
class Evidence:
    """One field's verdict, with what it counts."""

    field: str
    verdict: Verdict
    received: str
    expected: str
    points: float
    possible: int


@dataclass(frozen=True)
class Scored:
    candidate: Candidate
    score: int
    evidence: tuple[Evidence, ...]
    qualifies: bool


@dataclass(frozen=True)
class Outcome:
    """`match` is the one candidate that qualifies; otherwise `reason_code` says why there is none.

    `speaks_for`: the match, or the one that would be it, were the Study Instance UID not another order's.
    """

    ranked: tuple[Scored, ...]
    match: Scored | None
    reason_code: str
    speaks_for: Scored | None = None


WEIGHTS = {
    "patient_id": 25,
    "patient_name": 20,
    "birth_date": 15,
    "sex": 3,
    "accession_number": 20,
    "study_instance_uid": 20,
    "step": 10,
    "modality": 5,
    "station": 4,
    "day": 8,
    "satisfied": 5,
}
_CLOSE_NAME = 0.90
_ORDER_FACTORS = ("study_instance_uid", "accession_number", "step")
# Fields that may not conflict, whatever else agrees.
_CONFLICTS = (
    "patient_id", "patient_name", "birth_date", "sex", "accession_number", "study_instance_uid", "modality", "station",
    "day", "satisfied",
)  # fmt: skip


def fold(name: str) -> tuple[str, ...]:
    """A person name's parts, sorted, without case and accents; of the first component group that has letters."""
    group = next((each for each in name.split("=") if each.strip("^ ")), "")
    plain = unicodedata.normalize("NFKD", group.upper())
    letters = "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c))
    return tuple(sorted(letters.split()))


def match(claim: Claim, candidates: Sequence[Candidate]) -> Outcome:
    """Rank the candidates and name the one that fits by promise 7, if there is exactly one."""
    named = any(each.study_instance_uid == claim.study_instance_uid for each in candidates)
    scored = sorted(
        (score(claim, each, uid_is_ours=named) for each in candidates), key=lambda s: (-s.score, s.candidate.key)
    )
    fitting = _procedures([each for each in scored if each.qualifies])
    if len(fitting) == 1:
        return Outcome(tuple(scored), fitting[0], "MATCHED", fitting[0])
    if fitting:
        return Outcome(tuple(scored), None, "TWO_ORDERS_FIT")
    nearly = [each for each in scored if _qualifies(each.evidence, besides="study_instance_uid")]
    return Outcome(tuple(scored), None, _reason(claim, scored), nearly[0] if len(nearly) == 1 else None)


def _procedures(fitting: Sequence[Scored]) -> list[Scored]:
    """Of the steps of one requested procedure only one, the one that is named: they share patient, order and study."""
    by_procedure: dict[tuple[str, int], Scored] = {}
    for each in sorted(fitting, key=lambda scored: not _names_step(scored)):
        procedure = each.candidate.procedure
        key = ("step", each.candidate.key) if procedure is None else ("procedure", procedure)
        by_procedure.setdefault(key, each)
    return list(by_procedure.values())


def _names_step(scored: Scored) -> bool:
    return any(each.field == "step" and each.verdict == Verdict.AGREE for each in scored.evidence)


def stands(scored: Scored) -> bool:
    """Whether an automatic match still stands, though its order has changed since.

    That the patient's name was corrected, or when and where the exam was to be, does not undo it; that the order is
    another patient's now, or no longer the one that the images name, does.
    """
    verdicts = {each.field: each.verdict for each in scored.evidence}
    moved = any(verdicts[field] in (Verdict.DIFFER, Verdict.CLOSE) for field in ("patient_id", "accession_number"))
    return not moved and any(verdicts[field] == Verdict.AGREE for field in _ORDER_FACTORS)


def score(claim: Claim, candidate: Candidate, *, uid_is_ours: bool = False) -> Scored:
    """All the evidence for and against one candidate.

    `uid_is_ours`: the claim's Study Instance UID was given to some order, whether this one or another.
    """
    evidence = (
        _patient_id(claim, candidate),
        _patient_name(claim, candidate),
        _equal("birth_date", claim.birth_date, candidate.birth_date),
        _equal("sex", claim.sex, candidate.sex),
        _equal("accession_number", claim.accession_number, candidate.accession_number),
        _study_uid(claim, candidate, uid_is_ours),
        _step(claim, candidate),
        _equal("modality", claim.modality, candidate.modality),
        _station(claim, candidate),
        _equal("day", claim.study_date, candidate.start_date),
        _evidence("satisfied", Verdict.DIFFER if candidate.satisfied else Verdict.AGREE, "", ""),
    )
    counted = [each for each in evidence if each.verdict != Verdict.MISSING]
    possible = sum(each.possible for each in counted)
    points = sum(each.points for each in counted)
    # What is missing proves nothing: with little to compare, the score stays low.
    breadth = min(1.0, possible / (sum(WEIGHTS.values()) * 0.6))
    total = round(100 * points / possible * breadth) if possible else 0
    return Scored(candidate, total, evidence, _qualifies(evidence))


def _qualifies(evidence: Sequence[Evidence], *, besides: str = "") -> bool:
    """Promise 7; `besides`: a field whose conflict is not looked at."""
    verdicts = {each.field: each.verdict for each in evidence}
    order = any(verdicts[f] == Verdict.AGREE for f in _ORDER_FACTORS)
    identified = verdicts["patient_id"] == Verdict.AGREE
    named = verdicts["patient_name"] == Verdict.AGREE and verdicts["birth_date"] == Verdict.AGREE
    conflict = any(verdicts[f] in (Verdict.DIFFER, Verdict.CLOSE) for f in _CONFLICTS if f != besides)
    return order and identified and named and not conflict


def _evidence(field: str, verdict: Verdict, received: str, expected: str) -> Evidence:
    weight = WEIGHTS[field]
    share = {Verdict.AGREE: 1.0, Verdict.CLOSE: 0.6}.get(verdict, 0.0)
    return Evidence(field, verdict, received, expected, round(weight * share, 1), weight)


def _equal(field: str, received: str, expected: str) -> Evidence:
    if not received or not expected:
        return _evidence(field, Verdict.MISSING, received, expected)
    return _evidence(field, Verdict.AGREE if received == expected else Verdict.DIFFER, received, expected)


def _patient_id(claim: Claim, candidate: Candidate) -> Evidence:
    received, known = claim.identifier, candidate.identifiers
    best = min(known, key=lambda each: (each.issuer != received.issuer, each.value != received.value), default=None)
    expected = best.value if best else ""
    if not received.value or not received.issuer or best is None:
        return _evidence("patient_id", Verdict.MISSING, received.value, expected)
    if received in known:
        return _evidence("patient_id", Verdict.AGREE, received.value, expected)
    near = any(_near_id(received.value, each.value) for each in known)
    return _evidence("patient_id", Verdict.CLOSE if near else Verdict.DIFFER, received.value, expected)


def _near_id(a: str, b: str) -> bool:
    """Leading zeros, or two swapped characters: a suggestion for a person, never a match."""
    return a.lstrip("0") == b.lstrip("0") or (len(a) == len(b) > 3 and sorted(a) == sorted(b))


def _patient_name(claim: Claim, candidate: Candidate) -> Evidence:
    received, expected = fold(claim.patient_name), fold(candidate.patient_name)
    if not received or not expected:
        verdict = Verdict.MISSING
    elif received == expected:
        verdict = Verdict.AGREE
    else:
        fewer, more = sorted((set(received), set(expected)), key=len)
        near = fewer <= more or JaroWinkler.similarity(" ".join(received), " ".join(expected)) >= _CLOSE_NAME
        verdict = Verdict.CLOSE if near else Verdict.DIFFER
    return _evidence("patient_name", verdict, claim.patient_name, candidate.patient_name)


def _study_uid(claim: Claim, candidate: Candidate, uid_is_ours: bool) -> Evidence:
    """An own study UID of the modality says nothing against an order; an order's says for which one it is."""
    verdict = Verdict.MISSING
    if claim.study_instance_uid and claim.study_instance_uid == candidate.study_instance_uid:
        verdict = Verdict.AGREE
    elif claim.study_instance_uid and uid_is_ours:
        verdict = Verdict.DIFFER
    return _evidence("study_instance_uid", verdict, claim.study_instance_uid, candidate.study_instance_uid)


def _step(claim: Claim, candidate: Candidate) -> Evidence:
    """Step and procedure ids are unique only within an order: both must be there and agree."""
    received = f"{claim.requested_procedure_id} {claim.sps_id}".strip()
    expected = f"{candidate.requested_procedure_id} {candidate.sps_id}".strip()
    if not claim.sps_id or not claim.requested_procedure_id or not candidate.sps_id:
        return _evidence("step", Verdict.MISSING, received, expected)
    return _evidence("step", Verdict.AGREE if received == expected else Verdict.MISSING, received, expected)


def _station(claim: Claim, candidate: Candidate) -> Evidence:
    expected = ", ".join(candidate.stations)
    if not claim.station or not candidate.stations:
        return _evidence("station", Verdict.MISSING, claim.station, expected)
    verdict = Verdict.AGREE if claim.station in candidate.stations else Verdict.DIFFER
    return _evidence("station", verdict, claim.station, expected)


_REASONS = (
    ("patient_id", "PATIENT_ID_CONFLICT"),
    ("birth_date", "BIRTH_DATE_DIFFERS"),
    ("patient_name", "NAME_DIFFERS"),
    ("sex", "SEX_DIFFERS"),
    ("satisfied", "STEP_ALREADY_SATISFIED"),
    ("modality", "OTHER_MODALITY"),
    ("station", "OTHER_STATION"),
    ("day", "OTHER_DAY"),
    ("accession_number", "ACCESSION_DIFFERS"),
    ("study_instance_uid", "OTHER_STUDY_UID"),
)
SENTENCES = {
    "TWO_ORDERS_FIT": "Two orders fit these images equally: choose one.",
    "NO_ORDER": "No order fits these images.",
    "NO_PATIENT_ID": "The images carry no patient ID that can be compared.",
    "NO_ORDER_FACTOR": "Nothing in the images names an order: no accession number, step or study UID of ours.",
    "PATIENT_ID_CONFLICT": "The patient ID in the images is not that of the best order's patient.",
    "BIRTH_DATE_DIFFERS": "The birth date in the images is not that of the best order's patient.",
    "NAME_DIFFERS": "The name in the images is not that of the best order's patient.",
    "SEX_DIFFERS": "The sex in the images is not that of the best order's patient.",
    "STEP_ALREADY_SATISFIED": "The order that fits has its images already, or was canceled.",
    "OTHER_MODALITY": "The order that fits is for another modality.",
    "OTHER_STATION": "The order that fits is for another station.",
    "OTHER_DAY": "The order that fits is for another day.",
    "ACCESSION_DIFFERS": "The accession number in the images is not that of the best order.",
    "OTHER_STUDY_UID": "The Study Instance UID of these images was given to another order than the best one.",
    "TOO_LITTLE": "Too little agrees to be sure: a person must decide.",
    "TWO_PATIENTS": "The images of this study name two patients.",
    "WRONG_WORKLIST_ENTRY": "The modality says that it used another patient's worklist entry: whose images are these?",
}


def _reason(claim: Claim, scored: Sequence[Scored]) -> str:
    found = ({each.field: each.verdict for each in one.evidence} for one in scored if one.score >= 20)
    verdicts = next(filter(_may_be_meant, found), None)
    if verdicts is None:
        return "NO_PATIENT_ID" if not claim.identifier.value else "NO_ORDER"
    for field, code in _REASONS:
        if verdicts[field] in (Verdict.DIFFER, Verdict.CLOSE):
            return code
    if not any(verdicts[f] == Verdict.AGREE for f in _ORDER_FACTORS):
        return "NO_ORDER_FACTOR"
    return "NO_PATIENT_ID" if verdicts["patient_id"] == Verdict.MISSING else "TOO_LITTLE"


def _may_be_meant(verdicts: Mapping[str, Verdict]) -> bool:
    """Whether order or patient speak for a candidate at all. What a stranger's order of that day and station, or one
    of who has a like number elsewhere, says otherwise is no conflict.
    """
    named = verdicts["patient_name"] in (Verdict.AGREE, Verdict.CLOSE)
    born = verdicts["birth_date"] == Verdict.AGREE and verdicts["patient_id"] == Verdict.CLOSE
    return named or born or any(verdicts[field] == Verdict.AGREE for field in (*_ORDER_FACTORS, "patient_id"))
