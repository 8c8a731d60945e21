"""The receiving archive: answers C-ECHO, takes every object, and remembers only what it was given."""

from collections.abc import Callable
from threading import Lock

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.transport import ThreadedAssociationServer

from orchestrator.simulator.peer import no_delay

VERIFICATION_CLASS = "1.2.840.10008.1.1"
_CANNOT_UNDERSTAND = 0xC000


class Archive:
    """A Storage SCP on its own port. `studies` counts the different objects received per Study Instance UID."""

    def __init__(self, ae_title: str, say: Callable[[str], None]) -> None:
        self.ae_title, self._say = ae_title, say
        self._objects: dict[str, set[str]] = {}
        self._lock = Lock()
        self._server: ThreadedAssociationServer | None = None

    def open(self, port: int) -> int:
        """Listen on 127.0.0.1; port 0 takes a free one. Returns the port. Raises OSError when it is taken."""
        ae = AE(ae_title=self.ae_title)
        ae.add_supported_context(VERIFICATION_CLASS)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        handlers: list[evt.EventHandlerType] = [
            (evt.EVT_CONN_OPEN, no_delay),
            (evt.EVT_C_ECHO, lambda event: 0x0000),
            (evt.EVT_C_STORE, self._receive),
        ]
        self._server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        if self._server is None:
            raise OSError("the archive did not start")
        return self.port

    @property
    def port(self) -> int:
        """Where it listens. Raises RuntimeError before it is open."""
        if self._server is None:
            raise RuntimeError("the archive is not open")
        return int(self._server.server_address[1])

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    @property
    def studies(self) -> dict[str, int]:
        with self._lock:
            return {study: len(objects) for study, objects in self._objects.items()}

    def _receive(self, event: evt.Event) -> int:
        try:
            ds = event.dataset
            study, instance = str(ds.StudyInstanceUID), str(ds.SOPInstanceUID)
        except Exception as error:
            self._say(f"{self.ae_title} refused an object: {error}")
            return _CANNOT_UNDERSTAND
        with self._lock:
            is_new = study not in self._objects
            self._objects.setdefault(study, set()).add(instance)
        if is_new:
            self._say(f"{self.ae_title} receives study {study} from {event.assoc.requestor.ae_title}")
        return 0x0000
