"""The front desk and the order entry of one exam: everything that is said in HL7."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orchestrator.simulator import hl7_out
from orchestrator.simulator.mllp_out import Answer, Sender
from orchestrator.simulator.orders import Exam, Order
from orchestrator.simulator.people import Person
from orchestrator.simulator.waiting import Refused


@dataclass(frozen=True)
class FrontDesk:
    """Speaks as HIS (patients, visits) and as RIS (orders). Every method raises Refused, GaveUp or Stopped."""

    his: Sender
    ris: Sender
    say: Callable[[str], None]
    times: int = 1
    """How often each message is sent."""
    anew: bool = False
    """Each message once more under another control id, as after a restart of the sender."""
    told: set[tuple[str, str]] = field(default_factory=set)
    """Control id and type of every registration and order that was sent."""

    def register(self, exam: Exam, person: Person, *, encoding: str = "utf-8") -> None:
        """Admit or register: the person and the visit."""
        event = "ADT^A01^ADT_A01" if exam.arrival.patient_class == "I" else "ADT^A04^ADT_A01"
        self._adt(event, exam, person, encoding=encoding)

    def correct(self, exam: Exam, person: Person, *, ago: float = 0.0) -> None:
        """A08: the person as they really are; `ago` seconds before now it says it was written."""
        self._adt("ADT^A08^ADT_A01", exam, person, ago=ago)

    def merge(self, surviving: Person, subsumed: Person) -> Answer:
        """A40. Whether it was taken the answer says: a refusal is an answer too."""
        answer = self.his.send("ADT^A40^ADT_A39", lambda header: hl7_out.merge(header, surviving, subsumed))
        self.say(f"ADT^A40 answered {answer.code} {answer.text}".rstrip())
        return answer

    def order(
        self, exam: Exam, person: Person, steps: Sequence[Order], control: str = "NW", *, ago: float = 0.0
    ) -> None:
        """NW places, XO changes, CA cancels all these steps of one order."""
        for _ in range(2 if self.anew else 1):
            answer = self.ris.send(
                "ORM^O01^ORM_O01", lambda header: hl7_out.order(header, exam, person, steps, control),
                times=self.times, ago=ago,
            )  # fmt: skip
            self._expect(answer, f"ORM^O01 {control}")

    def report(self, exam: Exam, study_instance_uid: str, *, status: str, text: str) -> None:
        """ORU^R01, as the report system says it through the RIS. A refusal is said; the exam does not depend on it."""
        answer = self.ris.send(
            "ORU^R01^ORU_R01",
            lambda header: hl7_out.report(header, exam, exam.person, study_instance_uid, status=status, text=text),
        )
        self.say(f"ORU^R01 {status} answered {answer.code} {answer.text}".rstrip())

    def _adt(self, message_type: str, exam: Exam, person: Person, *, ago: float = 0.0, encoding: str = "utf-8") -> None:
        for _ in range(2 if self.anew else 1):
            answer = self.his.send(
                message_type, lambda header: hl7_out.registration(header, exam, person), times=self.times, ago=ago,
                encoding=encoding,
            )  # fmt: skip
            self._expect(answer, message_type.rpartition("^")[0])

    def _expect(self, answer: Answer, what: str) -> None:
        self.told.add((answer.control_id, what.partition(" ")[0]))
        if not answer.accepted:
            raise Refused(f"{what} was answered {answer.code} {answer.text}".rstrip())
        self.say(f"{what} accepted{' twice' if self.times == 2 or self.anew else ''}")
