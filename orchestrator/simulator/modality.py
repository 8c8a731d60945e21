"""One modality on the wire: its worklist queries, its performed procedure steps, its images."""

from collections.abc import Callable
from datetime import date, datetime
from threading import Lock

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from orchestrator.simulator.console import Identity
from orchestrator.simulator.images import MPPS_CLASS
from orchestrator.simulator.orders import Procedure
from orchestrator.simulator.peer import Peer, status_of
from orchestrator.simulator.sending import Stored, is_done, store
from orchestrator.simulator.sites import Station
from orchestrator.simulator.steps import step_begun, step_finished, worklist_keys
from orchestrator.simulator.waiting import Refused, attempts

WORKLIST_CLASS = "1.2.840.10008.5.1.4.31"
_PENDING = (0xFF00, 0xFF01)
_DUPLICATE, _PROCESSING_FAILURE = 0x0111, 0x0110


class Modality:
    """One console with one patient on the table: `busy` is held during an exam."""

    def __init__(self, station: Station, peer: Peer) -> None:
        self.station, self._peer, self.name = station, peer, station.ae_title
        self.busy = Lock()

    def restart(self, seconds: float) -> None:
        """The console is down for so long, between two patients."""
        with self.busy:
            self._peer.stop.wait(seconds)

    def worklist(self, day: date) -> list[Dataset]:
        """This station's steps of a day (PS3.4 K.6.1.2). Raises Refused on a failure status."""
        keys = worklist_keys(self.station, day)

        def question(association: Association) -> list[Dataset]:
            entries: list[Dataset] = []
            for answer, entry in association.send_c_find(keys, WORKLIST_CLASS):
                status = status_of(answer)
                if status in _PENDING and entry is not None:
                    entries.append(entry)
                elif status != 0 and status not in _PENDING:
                    raise Refused(f"the worklist query failed with status {status:04X}")
            return entries

        return self._peer.ask([WORKLIST_CLASS], question)

    def find(self, day: date, wanted: Callable[[Dataset], bool]) -> Dataset | None:
        """Ask again and again until the wanted entry is on the worklist; None when the patience is used up."""
        for _ in attempts(self._peer.stop, self._peer.patience, longest=4):
            entry = next(filter(wanted, self.worklist(day)), None)
            if entry is not None:
                return entry
        return None

    def loses(self, day: date, unwanted: Callable[[Dataset], bool]) -> bool:
        """Ask again and again until no such entry is on the worklist; False when it stays."""
        return any(
            not any(map(unwanted, self.worklist(day)))
            for _ in attempts(self._peer.stop, self._peer.patience, longest=4)
        )

    def begin(self, mpps_uid: str, identity: Identity, procedure: Procedure, at: datetime) -> None:
        """MPPS N-CREATE, IN PROGRESS (PS3.4 F.7.2.1). Raises Refused."""
        ds = step_begun(self.station, identity, procedure, at)

        def question(association: Association) -> int:
            return status_of(association.send_n_create(ds, MPPS_CLASS, mpps_uid)[0])

        status = self._peer.ask([MPPS_CLASS], question)
        # A duplicate is our own first try, whose answer was lost: the UID is ours alone.
        if not is_done(status) and status != _DUPLICATE:
            raise Refused(f"the MPPS N-CREATE failed with status {status:04X}")

    def finish(
        self, mpps_uid: str, identity: Identity, series: list[list[Dataset]], at: datetime, *, wrong_entry: bool
    ) -> None:
        """MPPS N-SET, COMPLETED or, for a wrong worklist entry, DISCONTINUED (PS3.4 F.7.2.2). Raises Refused."""
        ds = step_finished(identity, series, at, wrong_entry=wrong_entry)
        tries = 0

        def question(association: Association) -> int:
            nonlocal tries
            tries += 1
            return status_of(association.send_n_set(ds, MPPS_CLASS, mpps_uid)[0])

        status = self._peer.ask([MPPS_CLASS], question)
        # After a lost answer the step is final already, and the second try is told so.
        if not is_done(status) and not (tries > 1 and status == _PROCESSING_FAILURE):
            raise Refused(f"the MPPS N-SET failed with status {status:04X}")

    def send(self, objects: list[Dataset]) -> Stored:
        """C-STORE every object; one without a clear answer, or refused for want of resources, goes again."""
        return store(self._peer, objects)
