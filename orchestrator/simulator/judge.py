"""The judgement: what Fiducial made of a study, against what truly happened. The worst of what is found counts."""

from collections.abc import Iterator

from orchestrator.simulator.delivered import at_the_archives
from orchestrator.simulator.faults import Hold
from orchestrator.simulator.faults.expected import ABOUT_IMAGES, Expected
from orchestrator.simulator.orders import Exam, Order
from orchestrator.simulator.people import Person
from orchestrator.simulator.rest import Json
from orchestrator.simulator.truth import (
    Found,
    Judgement,
    Sent,
    Verdict,
    identifier_of,
    identifiers,
    number_of,
)

_ABOUT_ROUTES = frozenset({"no_route", "rule_error", "delivery_failed", "destination_silent"})
"""Where rules and destinations are not the hospital's, it cannot tell whether these are right."""
_OPEN_STEP = frozenset({"SCHEDULED", "ARRIVED", "READY"})


def judge(sent: Sent, found: Found) -> Judgement:
    """Judge one study of an exam."""
    if found.study is None:
        return _unexplained("Fiducial does not know the study")
    expected = sent.expected(merged=found.is_merged)
    said = [
        *_claims(sent, found, expected, found.study),
        *_records(sent, found, found.study),
        *_objects(sent, found.study),
        *_other_cases(found, expected),
        *_steps(sent, found, expected),
        *at_the_archives(sent, found),
    ]
    # What only the archive lacks is said where nothing else is wrong.
    return max(said, key=lambda judgement: (judgement.verdict, not judgement.awaits_archive))


def _what_happened(sent: Sent) -> str:
    return sent.what_happened or "nothing was wrong"


def _unexplained(reason: str) -> Judgement:
    return Judgement(Verdict.UNEXPLAINED, reason)


# --- whose images ---------------------------------------------------------------------------------


def _claims(sent: Sent, found: Found, expected: Expected, study: Json) -> Iterator[Judgement]:
    claims, identity = found.claims, str(study.get("identity", "")).upper()
    if not claims:
        yield _unexplained("none of its images says whose it is")
    for claim in claims:
        owner = owner_of(sent, claim)
        if claim["identity"] == "MATCHED":
            yield _matched(sent, owner, claim, expected)
        elif claim["identity"] == "HELD":
            yield _held(sent, owner, claim, found, expected)
        else:
            yield _unexplained(f"identity is {claim['identity']}")
    if found.is_premature:
        yield Judgement(Verdict.WRONG, f"matched by a guess before the merge: {_what_happened(sent)}")
    if claims and identity not in {each["identity"] for each in claims}:
        yield _unexplained(f"the study is {identity or 'nothing'}, and none of its images is")
    if all(each["identity"] == "MATCHED" for each in claims):
        told = {number_of(each["order"]) for each in claims}
        if missing := [each.accession_number for each in sent.exam.group if number_of(each) not in told]:
            yield _unexplained(f"not matched to its order {' and '.join(missing)}")


def owner_of(sent: Sent, claim: Json) -> Exam:
    """Of whose exam these images are: in a study of two people some are the other one's."""
    other = sent.exam.neighbour
    if sent.exam.fault.mixes and other is not None and claim.get("patient_id") == other.person.patient_id:
        return other
    return sent.exam


def _matched(sent: Sent, owner: Exam, claim: Json, expected: Expected) -> Judgement:
    by, order = str(claim.get("matched_by")).lower(), number_of(claim["order"])
    if by == "auto" and expected.hold is Hold.NEEDED:
        return Judgement(Verdict.WRONG, f"matched by a guess: {_what_happened(sent)}")
    if order not in {number_of(each) for each in (owner.order, *owner.group)}:
        return Judgement(Verdict.WRONG, f"matched to order {order[0]} with accession number {order[1]}")
    steps = (*sent.steps, *owner.group) if owner is sent.exam else (owner.order,)
    step, performed = claim.get("step") or {}, {each.requested_procedure_id for each in steps}
    if step.get("requested_procedure_id") not in performed:
        return Judgement(Verdict.WRONG, f"matched to another procedure of its order ({step.get('sps_id')})")
    if by != "auto" and not expected.holding_is_fair:
        return _unexplained(f"a person had to settle it: {_what_happened(sent)}")
    return Judgement(Verdict.RIGHT, f"matched to its order, by {by}")


def _held(sent: Sent, owner: Exam, claim: Json, found: Found, expected: Expected) -> Judgement:
    asking = [case for case in found.cases if case["kind"] in ABOUT_IMAGES and case.get("claim") == claim["id"]]
    if not asking:
        return _unexplained("held, and no open case asks anybody")
    asked, what = ", ".join(f"case {each['id']} {each['reason_code']}" for each in asking), _what_happened(sent)
    if not expected.holding_is_fair:
        return _unexplained(f"held although it can be matched: {what} ({asked})")
    if not all(expected.explains(each["kind"], each["reason_code"]) for each in asking):
        return _unexplained(f"held for a reason that is not the true one: {what} ({asked})")
    is_known, true = number_of(owner.order) in found.orders, number_of(owner.order)
    if is_known and not all(true in found.offered.get(each["id"], ()) for each in asking):
        return _unexplained(f"the true order is not among the candidates: {what} ({asked})")
    if expected.needs_merge:
        return _not_merged(sent, found)
    return Judgement(Verdict.HELD, f"{what}: {expected.hold.value} ({asked})")


def _not_merged(sent: Sent, found: Found) -> Judgement:
    """The records are still two. That is fair only where a person is asked."""
    if sent.merge is None:
        return _unexplained("the records were never merged")
    if found.is_merged:
        return _unexplained("merge applied, without effect")
    answer, cases = sent.merge.answer, [case["id"] for case in found.merge_cases]
    became = "set aside" if answer.accepted else f"refused ({answer.code} {answer.text})".replace(" )", ")")
    if not cases:
        return _unexplained(f"merge not applied: message {became}, and nobody is asked")
    return Judgement(Verdict.HELD, f"merge not applied: message {became} in case {cases[0]}")


# --- the records behind the match -----------------------------------------------------------------


def _records(sent: Sent, found: Found, study: Json) -> Iterator[Judgement]:
    matched = [(owner_of(sent, each), each) for each in found.claims if each["identity"] == "MATCHED"]
    for owner, claim in matched:
        order = found.orders.get(number_of(claim["order"]))
        if order is not None:
            yield from _record(sent, owner, order["patient"], found)
    if study.get("identity") == "MATCHED" and len({owner.person for owner, _ in matched}) == 1:
        told = identifiers(study.get("patient"))
        if not told & {identifier_of(matched[0][0].person), identifier_of(matched[0][0].known_as)}:
            yield Judgement(Verdict.WRONG, "matched to another patient")


def _record(sent: Sent, owner: Exam, patient: Json, found: Found) -> Iterator[Judgement]:
    theirs, told = {identifier_of(owner.person), identifier_of(owner.known_as)}, identifiers(patient)
    if not told & theirs:
        yield Judgement(Verdict.WRONG, "its order is another patient's")
    elif told - theirs:
        yield Judgement(Verdict.WRONG, "the patient's record is another one's too")
    elif identifier_of(owner.person) not in told:
        yield _not_merged(sent, found)
    elif wrong := differences(owner.person, patient):
        yield _unexplained(f"the patient's record says another {wrong}")


def differences(person: Person, patient: Json) -> str:
    """What a record says otherwise of a person: names of fields, since the reason is a line that everybody reads."""
    told = {
        "name": (str(patient.get("name")).rstrip("^"), person.dicom_name),
        "birth date": (str(patient.get("birth_date")).replace("-", ""), person.birth_date),
        "sex": (patient.get("sex"), person.sex),
    }
    return " and ".join(field for field, (said, true) in told.items() if said != true)


# --- everything else ------------------------------------------------------------------------------


def _objects(sent: Sent, study: Json) -> Iterator[Judgement]:
    there = study.get("number_of_instances")
    if there != sent.instances:
        yield _unexplained(f"{there} objects are there, {sent.instances} were sent")


def _other_cases(found: Found, expected: Expected) -> Iterator[Judgement]:
    """Cases that are open beside, and those about images that are matched."""
    held = {claim["id"] for claim in found.claims if claim["identity"] == "HELD"}
    for case in found.cases:
        kind, code = case["kind"], case["reason_code"]
        if kind in ABOUT_IMAGES and case.get("claim") in held:
            continue
        if kind in _ABOUT_ROUTES and not found.all_to:
            continue
        if kind in ABOUT_IMAGES or not expected.explains(kind, code):
            yield _unexplained(f"case {case['id']} is open, and nothing explains it: {kind} {code}")


def _steps(sent: Sent, found: Found, expected: Expected) -> Iterator[Judgement]:
    """What was performed is done, what was canceled is canceled, and what was not performed waits."""
    exam = sent.exam
    if all(each["identity"] == "MATCHED" for each in found.claims):
        for step in sent.steps:
            yield from _step(step, found, expected.steps)
    if exam.canceled is not None:
        yield from _step(exam.canceled, found, frozenset({"CANCELED"}))
    if exam.neighbour is not None:
        theirs = {each["identity"] for each in found.claims if owner_of(sent, each) is exam.neighbour}
        performed = frozenset({"COMPLETED"}) if theirs == {"MATCHED"} else _OPEN_STEP
        yield from _step(exam.neighbour.order, found, performed)


def _step(step: Order, found: Found, allowed: frozenset[str]) -> Iterator[Judgement]:
    order = found.orders.get(number_of(step), {})
    for procedure in order.get("requested_procedures", []):
        if procedure["requested_procedure_id"] != step.requested_procedure_id:
            continue
        if step.study_instance_uid not in ("", procedure["study_instance_uid"]):
            yield _unexplained("its procedure has another Study Instance UID than was ordered")
        for told in procedure["steps"]:
            if told["sps_id"] == step.sps_id:
                if told["status"] not in allowed:
                    yield _unexplained(f"step {step.sps_id} is {told['status']}, not {' or '.join(sorted(allowed))}")
                return
    yield _unexplained(f"Fiducial does not know step {step.sps_id} of order {step.accession_number}")
