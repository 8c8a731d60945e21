"""Transports: one verb, one error type."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from orchestrator.states import DeliveryStatus


@dataclass(frozen=True)
class Item:
    """One file to send."""

    key: int
    path: Path
    sop_class_uid: str
    transfer_syntax_uid: str


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
    def send(self, items: Iterable[Item]) -> Iterator[Result]:
        """Send the items one by one, a result for each. Raises TransportError."""
        ...
