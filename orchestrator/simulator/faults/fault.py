"""What a fault is: the places of a course where life may go otherwise, each with the ordinary thing to do."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from pydicom.dataset import Dataset

from orchestrator.simulator.faults.expected import EXPECTED, NOTHING, Expected, Hold

if TYPE_CHECKING:
    from orchestrator.simulator.course import Course
    from orchestrator.simulator.orders import Exam, Order
    from orchestrator.simulator.people import Person
    from orchestrator.simulator.planner import Planner

TURNS = frozenset({"canceled", "rescheduled", "corrected", "appended", "two_procedures", "two_steps"})
"""What may happen to an exam beside a fault."""
OF_ONE_STEP = TURNS - {"two_procedures", "two_steps"}
"""Where nothing that arrives tells which step of an order was performed, the order has one."""


class Fault:
    """One thing that goes wrong in one exam. Subclasses say what, and do at one place what is not ordinary.

    `plan` may change the exam before it begins; what it leaves as `person` and `order` is the truth.
    """

    name: ClassVar[str] = ""
    label: ClassVar[str] = ""
    happens: ClassVar[bool] = True
    is_ordered: ClassVar[bool] = True
    """Whether the exam has an order at all."""
    turns: ClassVar[frozenset[str]] = TURNS
    """Those that may come beside it."""
    mixes: ClassVar[bool] = False
    """Whether the images of two people are in one study."""
    desk: ClassVar[Mapping[str, Any]] = {}
    """How the front desk speaks (FrontDesk)."""
    begins_mpps: ClassVar[bool] = True
    finishes_mpps: ClassVar[bool] = True
    wrong_entry: ClassVar[bool] = False
    """The performed step ends with "incorrect worklist entry selected" (110514)."""

    @property
    def expected(self) -> Expected:
        """What may come of it, by the table."""
        return EXPECTED[self.name] if self.happens else NOTHING

    @property
    def hold(self) -> Hold:
        return self.expected.hold

    def garbles(self, person: "Person") -> bool:
        """Whether it changes what is said of this person, where it is fair to stumble over that."""
        return True

    def plan(self, exam: "Exam", planner: "Planner") -> "Exam":
        """The exam as this fault needs it."""
        return exam

    def arrive(self, course: "Course") -> None:
        """At the front desk."""
        course.arrive()

    def examine(self, course: "Course", step: "Order") -> None:
        """At the console: who is taken for the patient, and what for the order; then the exam."""
        course.examine(step, course.chosen(step))

    def while_acquiring(self, course: "Course") -> None:
        """After MPPS IN PROGRESS, before the images."""

    def clock(self, course: "Course", now: datetime) -> datetime:
        """What the console's clock shows."""
        return now

    def send(self, course: "Course", objects: Sequence[Dataset]) -> None:
        """The images of one performed step."""
        course.send(objects)

    def afterwards(self, course: "Course") -> None:
        """When the patient has left."""


class Ordinary(Fault):
    """Nothing goes wrong."""

    happens = False
    turns = TURNS | {"group"}
