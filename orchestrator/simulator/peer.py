"""Associations with Fiducial, as the modalities make them: patient, and suspicious of answers that say nothing."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from socket import IPPROTO_TCP, TCP_NODELAY
from threading import Event
from typing import TypeVar

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association

from orchestrator.simulator.waiting import GaveUp, attempts

_Result = TypeVar("_Result")


class Unanswered(Exception):
    """The association broke, or an answer came without a status: nothing is known about what was asked."""


def no_delay(event: evt.Event) -> None:
    """Bound to EVT_CONN_OPEN on both sides: Nagle and delayed acknowledgements cost 40 ms per message."""
    transport = event.assoc.dul.socket
    if transport is not None and transport.socket is not None:
        transport.socket.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)


def status_of(answer: Dataset) -> int:
    """The status of a response. pynetdicom gives an empty data set when none came: that is neither yes nor no."""
    if "Status" not in answer:
        raise Unanswered("no answer")
    return int(answer.Status)


@dataclass(frozen=True)
class Peer:
    """Fiducial's AE as one modality sees it."""

    host: str
    port: int
    called: str
    calling: str
    stop: Event
    patience: float

    def ask(self, contexts: Iterable[str], question: Callable[[Association], _Result]) -> _Result:
        """Open an association, put the question, release; again from the start while nothing is known.

        A question must therefore be safe to put twice. Raises GaveUp after the patience, Stopped on closing.
        """
        trouble = ""
        for _ in attempts(self.stop, self.patience):
            association = self._open(contexts)
            if not association.is_established:
                trouble = "rejected" if association.is_rejected else "no connection"
                continue
            try:
                return question(association)
            except (Unanswered, RuntimeError, ValueError) as error:
                # pynetdicom: RuntimeError without an established association, ValueError without an accepted context.
                trouble = str(error)
            finally:
                if association.is_established:
                    association.release()
        raise GaveUp(f"DICOM {self.called} at {self.host}:{self.port} did not answer {self.calling}: {trouble}")

    def _open(self, contexts: Iterable[str]) -> Association:
        ae = AE(ae_title=self.calling)
        ae.connection_timeout, ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = 5, 10, 15, 30
        for context in contexts:
            ae.add_requested_context(context)
        handlers: list[evt.EventHandlerType] = [(evt.EVT_CONN_OPEN, no_delay)]
        return ae.associate(self.host, self.port, ae_title=self.called, evt_handlers=handlers)
