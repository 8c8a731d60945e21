"""One reading of the outcome: all that is asked of Fiducial, and looked up in the archives, to judge studies."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from orchestrator.simulator.archive import Kept
from orchestrator.simulator.archives import Archives
from orchestrator.simulator.faults.expected import ABOUT_IMAGES
from orchestrator.simulator.orders import Exam
from orchestrator.simulator.rest import Api, Json
from orchestrator.simulator.truth import Found, Number, Sent, number_of, planned_orders

_ABOUT_MESSAGES = {"hl7_quarantine": "QUARANTINED", "hl7_rejected": "REJECTED"}
"""Kinds of cases, each with what became of the message."""


class Reading:
    """Through the REST API. Every method raises OSError."""

    def __init__(self, api: Api, archives: Archives | None) -> None:
        self._api, self._archives = api, archives
        self._all_to = archives.all_to(api) if archives is not None else ""
        # About performed steps, not about studies: these may never come.
        self._step_cases = defaultdict[str, list[Json]](list)
        for case in api.all("exceptions/?status=open&kind=mpps_conflict"):
            self._step_cases[case["study_instance_uid"]].append(case)
        self._message_cases = self._about_messages()

    def look(self, sent: Sent) -> Found:
        """What became of a study."""
        study = self._api.study(sent.study_instance_uid)
        if study is None:
            return Found(None)
        about = self._api.open_cases(study_instance_uid=sent.study_instance_uid)
        message, merge_cases = self._merge(sent)
        return Found(
            study,
            cases=[*about, *self._step_cases[sent.study_instance_uid], *self._of_messages(sent)],
            offered={case["id"]: self.offered(case) for case in about if case["kind"] in ABOUT_IMAGES},
            orders=self._orders(sent.exam),
            merge_message=message,
            merge_cases=merge_cases,
            is_premature=self._is_premature(sent, message or {}),
            kept=self._kept(sent),
            all_to=self._all_to,
        )

    def offered(self, case: Json) -> frozenset[Number]:
        """The orders that a person is shown as candidates."""
        return frozenset(number_of(each["order"]) for each in self._api.rows(f"exceptions/{case['id']}/candidates/"))

    def _about_messages(self) -> Mapping[Number, list[Json]]:
        """The open cases about messages, by control id and type."""
        found = defaultdict[Number, list[Json]](list)
        for kind, status in _ABOUT_MESSAGES.items():
            cases = {each["message"]: each for each in self._api.all(f"exceptions/?status=open&kind={kind}")}
            for message in self._api.all(f"messages/?status={status}") if cases else ():
                if message["id"] in cases:
                    found[message["control_id"], message["type"]].append(cases[message["id"]])
        return found

    def _of_messages(self, sent: Sent) -> list[Json]:
        return [case for message in sorted(sent.messages) for case in self._message_cases.get(message, ())]

    def _orders(self, exam: Exam) -> dict[Number, Json]:
        fillers = dict.fromkeys(each.filler_order_number for each in planned_orders(exam))
        return {number_of(each): each for filler in fillers for each in self._api.orders(filler)}

    def _merge(self, sent: Sent) -> tuple[Json | None, list[Json]]:
        if sent.merge is None:
            return None, []
        message = self._api.message(sent.merge.answer.control_id, "ADT^A40")
        return message, self._api.rows(f"exceptions/?message={message['id']}") if message else []

    def _is_premature(self, sent: Sent, merge: Json) -> bool:
        """Whether what only the merge proves was matched by itself before."""
        if not sent.exam.fault.expected.needs_merge or not merge.get("applied_at"):
            return False
        applied = datetime.fromisoformat(merge["applied_at"])
        events = self._api.rows(f"studies/{sent.study_instance_uid}/timeline/")
        matched = [each["at"] for each in events if each["name"] == "claim.matched" and _is_automatic(each)]
        return any(datetime.fromisoformat(at) < applied for at in matched)

    def _kept(self, sent: Sent) -> Mapping[str, Mapping[str, Kept]]:
        return self._archives.of(sent.study_instance_uid) if self._archives is not None else {}


def _is_automatic(event: Json) -> bool:
    return (event["detail"] or {}).get("matched_by") == "auto"
