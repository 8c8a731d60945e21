"""Transports: one verb, one error type."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from orchestrator.states import DeliveryStatus


class Unsendable(Exception):
    """This object cannot be sent, now or later: its file is gone or cannot be corrected."""


@dataclass(frozen=True)
class Item:
    """One object to send. `file` gives its file, made when its turn comes; raises Unsendable."""

    key: int
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    file: Callable[[], AbstractContextManager[Path]]


@dataclass(frozen=True)
class Result:
    """What the peer said of one item: SENT, RETRYING (may be tried again), FAILED (never) or UNKNOWN."""

    key: int
    status: DeliveryStatus
    dimse_status: int | None = None
    error: str = ""


class TransportError(Exception):
    """The peer could not be talked to. `permanent`: trying again cannot help."""

    def __init__(self, text: str, *, permanent: bool = False) -> None:
        super().__init__(text)
        self.permanent = permanent


class Transport(Protocol):
    """The way to one peer, kept open from one `send` to the next until the block ends."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    @property
    def is_open(self) -> bool:
        """Whether another `send` would find the peer listening."""
        ...

    def send(self, items: Iterable[Item]) -> Iterator[Result]:
        """Send the items one by one, a result for each. Raises TransportError."""
        ...
