"""C-STORE as an SCU: what is not answered, or refused for want of room, goes again."""

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from orchestrator.simulator.peer import Peer, Unanswered, status_of


def is_done(status: int) -> bool:
    """Success, or a warning: MPPS's two (PS3.7 C.4), storage's Bxxx (PS3.4 B.2.3)."""
    return status in (0x0000, 0x0107, 0x0116) or status & 0xF000 == 0xB000


@dataclass
class Stored:
    """What became of the objects of one study."""

    accepted: int = 0
    refused: int = 0


def store(peer: Peer, objects: list[Dataset]) -> Stored:
    """Send every object. Raises GaveUp, Stopped."""
    stored, waiting = Stored(), list(objects)

    def question(association: Association) -> None:
        for message_id, ds in enumerate(list(waiting), start=1):
            status = status_of(association.send_c_store(ds, msg_id=message_id))
            if status & 0xFF00 == 0xA700:
                raise Unanswered(f"out of resources ({status:04X})")
            waiting.remove(ds)
            stored.accepted += is_done(status)
            stored.refused += not is_done(status)

    peer.ask(sorted({ds.SOPClassUID for ds in objects}), question)
    return stored
