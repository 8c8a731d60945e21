"""The front desk and the order entry of one exam: everything that is said in HL7."""

from collections.abc import Callable
from dataclasses import dataclass

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

    def register(self, exam: Exam, person: Person) -> None:
        """Admit or register: the person and the visit."""
        self._adt("ADT^A01^ADT_A01" if exam.inpatient else "ADT^A04^ADT_A01", exam, person)

    def correct(self, exam: Exam, person: Person) -> None:
        """A08: the person as they really are."""
        self._adt("ADT^A08^ADT_A01", exam, person)

    def order(self, exam: Exam, person: Person, order: Order, control: str = "NW") -> None:
        """NW places, XO changes, CA cancels."""
        answer = self.ris.send(
            "ORM^O01^ORM_O01", lambda header: hl7_out.order(header, exam, person, order, control), times=self.times
        )
        self._expect(answer, f"ORM^O01 {control}")

    def _adt(self, message_type: str, exam: Exam, person: Person) -> None:
        answer = self.his.send(
            message_type, lambda header: hl7_out.registration(header, exam, person), times=self.times
        )
        self._expect(answer, message_type.rpartition("^")[0])

    def _expect(self, answer: Answer, what: str) -> None:
        if not answer.accepted:
            raise Refused(f"{what} was answered {answer.code} {answer.text}".rstrip())
        self.say(f"{what} accepted{' twice' if self.times == 2 else ''}")
