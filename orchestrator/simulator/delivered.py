"""What the hospital's archives hold of a study, against what they should hold, and under whom."""

from collections.abc import Iterator, Mapping

from orchestrator.simulator.archive import Kept
from orchestrator.simulator.orders import Exam
from orchestrator.simulator.people import Person
from orchestrator.simulator.rest import Json
from orchestrator.simulator.truth import (
    UNMATCHED_AFTER_DELIVERY,
    Found,
    Judgement,
    Sent,
    Verdict,
    identifier_of,
    identifiers,
    number_of,
)


def at_the_archives(sent: Sent, found: Found) -> Iterator[Judgement]:
    """Matched images are where the rules send everything, under the true patient and order. Held ones are nowhere,
    and nothing else is of a study of which nothing is matched, unless a case says of their claim that they left before.
    """
    told = {case.get("claim") for case in found.cases if case["reason_code"] == UNMATCHED_AFTER_DELIVERY}
    for owner, objects in _by_owner(sent):
        made = {uid for uid, source in sent.derived.items() if source in objects}
        claims = _claims_of(owner, sent, found)
        if claims and all(claim["identity"] == "MATCHED" for claim in claims):
            yield from _arrived(owner, objects, made, found)
        elif not told & {claim["id"] for claim in claims}:
            yield from _leaked(objects | made, found)
    if not told and all(claim["identity"] != "MATCHED" for claim in found.claims):
        known = sent.own | sent.others | sent.derived.keys()
        yield from _leaked({uid for kept in found.kept.values() for uid in kept} - known, found)


def _by_owner(sent: Sent) -> Iterator[tuple[Exam, set[str]]]:
    yield sent.exam, sent.own
    if sent.exam.neighbour is not None and sent.others:
        yield sent.exam.neighbour, sent.others


def _claims_of(owner: Exam, sent: Sent, found: Found) -> list[Json]:
    """Those about a person's images."""
    return [each for each in found.claims if not sent.others or each.get("patient_id") == owner.person.patient_id]


def _arrived(owner: Exam, objects: set[str], made: set[str], found: Found) -> Iterator[Judgement]:
    for archive, kept in found.kept.items():
        if archive == found.all_to and (missing := objects - kept.keys()):
            reason = f"{len(missing)} of {len(objects)} objects are not at {archive}"
            yield Judgement(Verdict.UNEXPLAINED, reason, awaits_archive=True)
        yield from _filed(owner, archive, {uid: kept[uid] for uid in (objects | made) & kept.keys()}, found)


def _filed(owner: Exam, archive: str, kept: Mapping[str, Kept], found: Found) -> Iterator[Judgement]:
    """Under whom and what they are there."""
    person, accession_number = _recorded_as(owner, found), "" if owner.group else owner.order.accession_number
    others = [each for each in kept.values() if (each.patient_id, each.issuer) != identifier_of(person)]
    if others:
        yield Judgement(Verdict.WRONG, f"{len(others)} objects are at {archive} under another patient id or issuer")
    for field, true in (
        ("patient_name", person.dicom_name), ("birth_date", person.birth_date), ("sex", person.sex),
        ("accession_number", accession_number),
    ):  # fmt: skip
        if wrong := sum(str(getattr(each, field)).rstrip("^") != true for each in kept.values()):
            said = f"{wrong} objects are at {archive} with another {field.replace('_', ' ')}"
            yield Judgement(Verdict.UNEXPLAINED, said)


def _recorded_as(owner: Exam, found: Found) -> Person:
    """The record by which Fiducial knows the patient: as long as no A40 was applied, that of before."""
    order = found.orders.get(number_of(owner.order), {})
    is_theirs = identifier_of(owner.person) in identifiers(order.get("patient"))
    return owner.person if is_theirs else owner.known_as


def _leaked(objects: set[str], found: Found) -> Iterator[Judgement]:
    for archive, kept in found.kept.items():
        if there := objects & kept.keys():
            yield Judgement(Verdict.UNEXPLAINED, f"not matched, and {len(there)} of its objects are at {archive}")
