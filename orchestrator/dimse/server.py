"""The DICOM listener: one listening socket, several pre-forked processes, a thread for each association.

Handlers are looked up in settings.DIMSE_HANDLERS.
"""

import logging
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from functools import cache

from django.conf import settings
from django.utils.module_loading import import_string

from orchestrator.dimse import association, store_scp
from orchestrator.dimse.association import Association, Rejected
from orchestrator.dimse.callers import Caller, Refused, identify
from orchestrator.dimse.databases import databases
from orchestrator.dimse.messages import Handler, Request, Response
from orchestrator.dimse.negotiation import AssociateRequest

logger = logging.getLogger(__name__)

# Of a process: associations, and connections, those without one (yet) counted in.
MAXIMUM_ASSOCIATIONS, MAXIMUM_CONNECTIONS = 256, 512
_CANNOT_UNDERSTAND, _PROCESSING_FAILURE, _NOT_OFFERED = 0xC000, 0x0110, 0x0211
# How soon a stop is noticed; how long a process waits that has no descriptors left, or no room while others may have.
_LOOK_MILLISECONDS, _PAUSE_SECONDS = 200, 0.1


def handler_for(command: str, sop_class_uid: str) -> Handler | None:
    """The handler of a command for a SOP class, or for any class."""
    board = settings.DIMSE_HANDLERS
    name = board.get((command, sop_class_uid)) or board.get((command, "*"))
    return _imported(name) if name else None


@cache
def _imported(name: str) -> Handler:
    handler: Handler = import_string(name)
    return handler


class Listener:
    """Serves associations on a listening socket that several processes may share."""

    def __init__(self, listening: socket.socket) -> None:
        # All processes wake for one connection and one gets it: the others must not wait in accept().
        listening.setblocking(False)
        self._listening = listening
        self._tls = _tls()
        self._stopping = threading.Event()
        self._connections: dict[threading.Thread, Association] = {}
        self._admitted: set[threading.Thread] = set()
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Accept connections until `stop`."""
        looking = select.poll()
        looking.register(self._listening, select.POLLIN)
        while not self._stopping.is_set():
            if looking.poll(_LOOK_MILLISECONDS):
                if len(self._admitted) >= MAXIMUM_ASSOCIATIONS:
                    # Another process may have room. Who waits longer hears that none has.
                    self._stopping.wait(_PAUSE_SECONDS)
                self._accept()

    def stop(self, grace_seconds: float) -> None:
        """Accept no more; end idle associations at once, others behind the request that they are in."""
        self._stopping.set()
        with self._lock:
            running = list(self._connections.items())
        for _, each in running:
            each.stop()
        until = time.monotonic() + grace_seconds
        for thread, _ in running:
            thread.join(max(0.0, until - time.monotonic()))
        databases.close()

    def _accept(self) -> None:
        """Take a connection. Nothing here may wait for the peer: all others would wait behind it."""
        try:
            connection, address = self._listening.accept()
        except BlockingIOError:
            return
        except OSError:
            logger.exception("No connection can be taken now")
            self._stopping.wait(_PAUSE_SECONDS)
            return
        if len(self._connections) >= MAXIMUM_CONNECTIONS:
            logger.warning("A connection from %s was closed: %d are open", address[0], MAXIMUM_CONNECTIONS)
            connection.close()
            return
        try:
            self._begin(connection, address[0])
        except (OSError, RuntimeError):
            # It is reset already, or no thread can be started now.
            logger.exception("A connection from %s cannot be served", address[0])
            connection.close()

    def _begin(self, connection: socket.socket, address: str) -> None:
        # One write per message: without this the peer waits for its delayed acknowledgement, 40 ms an object.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        each = Association(connection, address, tls=self._tls, admit=self._admit, respond=_respond)
        thread = threading.Thread(target=self._run, args=(each,), name="association", daemon=True)
        with self._lock:
            self._connections[thread] = each
        try:
            thread.start()
        except RuntimeError:
            with self._lock:
                del self._connections[thread]
            raise

    def _run(self, each: Association) -> None:
        try:
            each.run()
        except Exception:
            logger.exception("An association ended by a defect of ours")
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]
                self._admitted.discard(threading.current_thread())
            if each.peer is not None:
                store_scp.registrar.association_ended(each.peer.association_id)

    def _admit(self, request: AssociateRequest, address: str) -> Caller:
        """Let a known caller in. Raises Rejected with the reason that PS3.8 has for it."""
        try:
            with databases.lent():
                caller = identify(request.calling_ae_title, address)
        except Refused as refusal:
            logger.warning("%s", refusal)
            raise Rejected(association.CALLING_AE_NOT_RECOGNISED) from refusal
        except Exception as error:
            # Who cannot be looked up now may be anybody; the peer tries again.
            logger.exception("A caller at %s cannot be looked up and is turned away for now", address)
            raise Rejected(association.TEMPORARY_CONGESTION) from error
        if request.called_ae_title != settings.AE_TITLE:
            logger.warning("%s was called for %r and is %s", address, request.called_ae_title, settings.AE_TITLE)
            raise Rejected(association.CALLED_AE_NOT_RECOGNISED)
        with self._lock:
            if len(self._admitted) >= MAXIMUM_ASSOCIATIONS:
                logger.warning("%s was turned away: %d associations are open", address, MAXIMUM_ASSOCIATIONS)
                raise Rejected(association.LOCAL_LIMIT_EXCEEDED)
            self._admitted.add(threading.current_thread())
        return caller


def _tls() -> ssl.SSLContext | None:
    if settings.TLS_CERT is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # A PDU has a length: nobody is deceived by an end without close_notify, and our last word still goes out.
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    context.load_cert_chain(settings.TLS_CERT, settings.TLS_KEY)
    if settings.TLS_CA is not None:
        context.load_verify_locations(settings.TLS_CA)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _respond(request: Request) -> Iterator[Response]:
    """The handler's responses. A defect of ours is answered, logged and does not end the association."""
    handler = handler_for(request.command, request.sop_class_uid)
    if handler is None:
        yield Response(_NOT_OFFERED, error_comment="This operation is not offered")
        return
    try:
        with databases.lent():
            yield from handler(request)
    except Exception:
        logger.exception("%s failed (association %s)", request.command, request.peer.association_id)
        status = _PROCESSING_FAILURE if request.command.startswith("N-") else _CANNOT_UNDERSTAND
        yield Response(status, error_comment="Internal error")
