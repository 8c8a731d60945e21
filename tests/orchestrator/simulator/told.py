"""What Fiducial would tell of a study that was treated as it should be; a test tells one thing otherwise."""

from typing import Any

from orchestrator.simulator.archive import Kept
from orchestrator.simulator.mllp_out import Answer
from orchestrator.simulator.orders import Exam, Order
from orchestrator.simulator.people import Person
from orchestrator.simulator.truth import Found, Merge, Number, Sent, number_of

Told = dict[str, Any]
OBJECTS = {"1.1", "1.2", "1.3", "1.4"}
THEIRS = {"2.1", "2.2"}
STRANGER = {"value": "999999", "issuer": "SOUTH"}
FOREIGN = {"filler_order_number": "F-FOREIGN", "accession_number": "A-FOREIGN"}


def sent(exam: Exam, **more: Any) -> Sent:
    """Four objects of the exam's only step."""
    return Sent(exam, **{"study_instance_uid": "1.2.3", "steps": [exam.order], "own": OBJECTS, **more})


def refused(exam: Exam) -> Merge:
    assert exam.subsumed is not None
    return Merge(exam.subsumed, Answer("AR", "no handler", "1"))


def identifier(person: Person) -> Told:
    return {"value": person.patient_id, "issuer": person.issuer}


def record(person: Person, **otherwise: Any) -> Told:
    """A patient as the API shows one."""
    born = f"{person.birth_date[:4]}-{person.birth_date[4:6]}-{person.birth_date[6:]}"
    told = {"name": person.dicom_name, "birth_date": born, "sex": person.sex}
    return {"identifiers": [identifier(person)], **told, **otherwise}


def brief(order: Order) -> Told:
    return dict(zip(("filler_order_number", "accession_number"), number_of(order), strict=True))


def order(exam: Exam, order: Order | None = None, *, status: str = "COMPLETED", **otherwise: Any) -> Told:
    """An order of one step, with its patient."""
    order = order or exam.order
    procedure = {
        "requested_procedure_id": order.requested_procedure_id,
        "study_instance_uid": order.study_instance_uid or "1.2.3",
        "steps": [{"sps_id": order.sps_id, "status": status}],
    }
    return {**brief(order), "patient": record(exam.known_as), "requested_procedures": [procedure], **otherwise}


def by_number(*orders: Told) -> dict[Number, Told]:
    return {number_of(each): each for each in orders}


def claim(exam: Exam, by: str = "auto", **otherwise: Any) -> Told:
    """Matched to the exam's order; by nobody: held."""
    told = {"id": 1, "patient_id": exam.known_as.patient_id, "number_of_instances": 4, "purpose": "ACQUIRED"}
    if not by:
        return {**told, "identity": "HELD", "matched_by": "", "order": None, "step": None, **otherwise}
    step = {"sps_id": exam.order.sps_id, "requested_procedure_id": exam.order.requested_procedure_id}
    return {
        **told, "identity": "MATCHED", "matched_by": by, "order": brief(exam.order), "step": step, **otherwise,
    }  # fmt: skip


def study(exam: Exam, *claims: Told, **otherwise: Any) -> Told:
    claims = claims or (claim(exam),)
    held = any(each["identity"] == "HELD" for each in claims)
    told = {"identity": "HELD" if held else "MATCHED", "patient": None if held else record(exam.known_as)}
    return {**told, "claims": list(claims), "number_of_instances": 4, **otherwise}


def case(code: str, kind: str = "unmatched_study", claim: int | None = 1, number: int = 7) -> Told:
    return {"id": number, "kind": kind, "reason_code": code, "status": "OPEN", "claim": claim}


def found(exam: Exam, *claims: Told, **otherwise: Any) -> Found:
    """Matched by itself, or as these claims say; every case is offered the true order."""
    told: Told = {"study": study(exam, *claims), "orders": by_number(order(exam)), **otherwise}
    offered = {each["id"]: frozenset({number_of(exam.order)}) for each in told.get("cases", [])}
    return Found(**{"offered": offered, **told})


def kept(person: Person, number: str, objects: set[str] = OBJECTS, **otherwise: str) -> dict[str, Kept]:
    filed = {
        "patient_id": person.patient_id, "issuer": person.issuer, "patient_name": person.dicom_name,
        "birth_date": person.birth_date, "sex": person.sex, "accession_number": number, **otherwise,
    }  # fmt: skip
    return dict.fromkeys(objects, Kept(**filed))
