"""The DICOM listener: pynetdicom's negotiation and data path behind our own plain messages.

One listening socket, several pre-forked processes. Handlers are looked up in settings.DIMSE_HANDLERS.
"""

import logging
import socket
import ssl
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import close_old_connections, connection
from django.utils.module_loading import import_string
from pydicom.dataset import Dataset
from pynetdicom import AE, _config, dimse_messages, dsutils, evt, service_class
from pynetdicom.transport import AddressInformation, ThreadedAssociationServer

from orchestrator.dimse import store_scp
from orchestrator.dimse.arriving import ArrivingObject
from orchestrator.dimse.callers import Refused, identify
from orchestrator.dimse.connection import MAXIMUM_PDU_LENGTH, AssociationHandler, let_go
from orchestrator.dimse.messages import Handler, Peer, Request, Response

logger = logging.getLogger(__name__)

MAXIMUM_ASSOCIATIONS = 256
_CANNOT_UNDERSTAND, _PROCESSING_FAILURE = 0xC000, 0x0110
# A-ASSOCIATE-RJ (PS3.8 9.3.4): result, source, reason.
_CALLING_AE_NOT_RECOGNISED, _TEMPORARY_CONGESTION = (0x01, 0x01, 0x03), (0x02, 0x03, 0x01)
# How long a peer may stall in the middle of a PDU.
STALL_SECONDS = 60.0
_EXPLICIT, _IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
_VERIFICATION = "1.2.840.10008.1.1"
_SERVED = {
    _VERIFICATION: "Verification",
    "1.2.840.10008.5.1.4.31": "Modality Worklist",
    "1.2.840.10008.3.1.2.3.3": "MPPS",
    "1.2.840.10008.3.1.2.3.4": "MPPS Retrieve",
}

_config.STORE_RECV_CHUNKED_DATASET = True
_config.UNRESTRICTED_STORAGE_SERVICE = True
_config.LOG_HANDLER_LEVEL = "none"
# pynetdicom has no setting for where and how an arriving object is written.
dimse_messages.NamedTemporaryFile = ArrivingObject  # type: ignore[attr-defined,assignment]  # theirs


class _Encoded(Dataset):
    """A response's data set as its handler encoded it: pynetdicom wants a Dataset, to encode it itself."""

    def __init__(self, encoded: bytes) -> None:
        super().__init__()
        self.encoded = encoded

    def __bool__(self) -> bool:
        return True


def _encode(ds: Dataset, *syntax: bool) -> bytes | None:
    return ds.encoded if isinstance(ds, _Encoded) else dsutils.encode(ds, *syntax)


service_class.encode = _encode  # type: ignore[attr-defined,assignment]  # theirs


@cache
def handler_for(command: str, sop_class_uid: str) -> Handler | None:
    """The handler of a command for a SOP class, or for any class."""
    board = settings.DIMSE_HANDLERS
    name = board.get((command, sop_class_uid)) or board.get((command, "*"))
    return import_string(name) if name else None


class _Server(ThreadedAssociationServer):
    """pynetdicom's server on a socket that was opened before the fork."""

    def __init__(self, listening: socket.socket, **words: Any) -> None:
        self._listening = listening
        super().__init__(**words)

    def server_bind(self) -> None:
        if self.socket is not None:
            self.socket.close()
        self.socket = self._listening
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """It listens already."""

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection. Nothing here may wait for the peer: all others would wait behind it."""
        client, address = self._listening.accept()
        client.settimeout(STALL_SECONDS)
        # One write per PDU: without this the peer waits for its delayed acknowledgement, 40 ms an object.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.ssl_context:
            client = self.ssl_context.wrap_socket(client, server_side=True, do_handshake_on_connect=False)
        return client, address


def serve(listening: socket.socket) -> _Server:
    """A server in this process on a listening socket; the caller runs `serve_forever()`."""
    ae = AE(ae_title=settings.AE_TITLE)
    ae.require_called_aet = True
    ae.maximum_pdu_size = MAXIMUM_PDU_LENGTH
    ae.maximum_associations = MAXIMUM_ASSOCIATIONS
    ae.network_timeout, ae.acse_timeout, ae.dimse_timeout = 120, 30, 120
    # Storage is unrestricted: every class in the first transfer syntax that is proposed.
    for sop_class_uid in _SERVED:
        ae.add_supported_context(sop_class_uid, [_EXPLICIT, _IMPLICIT])
    return _Server(
        listening,
        ae=ae,
        address=AddressInformation.from_tuple(listening.getsockname()).as_tuple,
        ae_title=settings.AE_TITLE,
        contexts=ae.supported_contexts,
        ssl_context=_tls(),
        evt_handlers=_HANDLERS,
        request_handler=AssociationHandler,
    )


def _tls() -> ssl.SSLContext | None:
    if settings.TLS_CERT is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.TLS_CERT, settings.TLS_KEY)
    if settings.TLS_CA is not None:
        context.load_verify_locations(settings.TLS_CA)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _on_requested(event: evt.Event) -> None:
    """Let a known caller in; refuse others with the reason that PS3.8 has for it."""
    assoc: Any = event.assoc
    ae_title = assoc.requestor.primitive.calling_ae_title.strip()
    close_old_connections()
    try:
        caller = identify(ae_title, assoc.requestor.address)
    except Refused as refusal:
        logger.warning("%s", refusal)
        _reject(assoc, _CALLING_AE_NOT_RECOGNISED)
        return
    except Exception:
        # Who cannot be looked up now may be anybody; the peer tries again.
        logger.exception("A caller at %s cannot be looked up and is turned away for now", assoc.requestor.address)
        _reject(assoc, _TEMPORARY_CONGESTION)
        return
    finally:
        # An association may last for hours; the database has no connection for each.
        connection.close()
    assoc.fiducial_peer = Peer(
        ae_title=ae_title,
        called_ae_title=settings.AE_TITLE,
        address=assoc.requestor.address,
        association_id=uuid.uuid4().hex,
        application_entity_id=caller.application_entity_id,
        site_id=caller.site_id,
        default_character_set=caller.default_character_set,
    )


def _reject(assoc: Any, why: tuple[int, int, int]) -> None:
    assoc.acse.send_reject(*why)
    assoc.kill()


def _on_rejected(event: evt.Event) -> None:
    """What pynetdicom itself turns away: the wrong called AE title, or too many associations."""
    assoc: Any = event.assoc
    called = assoc.requestor.primitive.called_ae_title.strip()
    if called != settings.AE_TITLE:
        logger.warning("%s was called for %r and is %s", assoc.requestor.address, called, settings.AE_TITLE)
    else:
        logger.warning("%s was turned away: %d associations are open", assoc.requestor.address, MAXIMUM_ASSOCIATIONS)


def _on_ended(event: evt.Event) -> None:
    peer: Peer | None = getattr(event.assoc, "fiducial_peer", None)
    if peer is not None:
        store_scp.registrar.association_ended(peer.association_id)
    _drop_half_an_object(event)
    connection.close()


def _drop_half_an_object(event: evt.Event) -> None:
    """An object that broke off in the middle was never answered: its sender sends it again."""
    message: Any = event.assoc.dimse.message
    arriving = getattr(message, "_data_set_file", None)
    if arriving is not None:
        arriving.close()
        Path(arriving.name).unlink(missing_ok=True)


def _on_aborted(event: evt.Event) -> None:
    peer: Peer | None = getattr(event.assoc, "fiducial_peer", None)
    if peer is not None:
        logger.warning("An association of %s at %s was aborted", peer.ae_title, peer.address)
    _on_ended(event)


def _on_closed(event: evt.Event) -> None:
    """A connection that never became an association: a scan, a browser, another protocol, or a caller that gave up."""
    assoc: Any = event.assoc
    if getattr(assoc, "fiducial_peer", None) is None and not assoc.is_rejected:
        logger.warning("A connection from %s ended without a DICOM association", assoc.requestor.address)
    let_go(assoc)
    _on_ended(event)


def _respond(request: Request) -> Iterator[Response]:
    """The handler's responses. A defect of ours is answered, logged and does not end the association."""
    handler = handler_for(request.command, request.sop_class_uid)
    if handler is None:
        yield Response(0x0211, error_comment="This operation is not offered")
        return
    try:
        yield from handler(request)
    except Exception:
        logger.exception("%s failed (association %s)", request.command, request.peer.association_id)
        status = _PROCESSING_FAILURE if request.command.startswith("N-") else _CANNOT_UNDERSTAND
        yield Response(status, error_comment="Internal error")
    finally:
        connection.close()


def _request(event: evt.Event, command: str, sop_class_uid: Any, **more: Any) -> Request:
    peer: Peer = event.assoc.fiducial_peer  # type: ignore[attr-defined]  # set when the association was accepted
    return Request(
        peer=peer,
        command=command,
        sop_class_uid=str(sop_class_uid),
        message_id=int(event.request.MessageID or 0),
        transfer_syntax_uid=str(event.context.transfer_syntax),
        **more,
    )


def _status(response: Response) -> Dataset:
    status = Dataset()
    status.Status = response.status
    if response.error_comment:
        status.ErrorComment = response.error_comment[:64]
    if response.error_id is not None:
        status.ErrorID = response.error_id
    if response.offending_elements:
        status.OffendingElement = list(response.offending_elements)
    return status


def _dataset(response: Response) -> Dataset | None:
    return _Encoded(response.dataset) if response.dataset else None


def _on_echo(event: evt.Event) -> Dataset:
    return _status(next(_respond(_request(event, "C-ECHO", _VERIFICATION))))


def _on_store(event: evt.Event) -> Dataset:
    received: Any = event.request
    path = Path(event.dataset_path)
    request = _request(
        event, "C-STORE", received.AffectedSOPClassUID, sop_instance_uid=str(received.AffectedSOPInstanceUID), path=path
    )
    return _status(next(_respond(request)))


def _on_find(event: evt.Event) -> Iterator[tuple[Dataset, Dataset | None]]:
    received: Any = event.request
    identifier = received.Identifier
    request = _request(
        event,
        "C-FIND",
        received.AffectedSOPClassUID,
        dataset=identifier.getvalue() if identifier else b"",
        is_cancelled=lambda: event.is_cancelled,
    )
    for response in _respond(request):
        yield _status(response), _dataset(response)


def _n_service(command: str, class_of: str, instance_of: str, data: str = "") -> Callable[[evt.Event], Any]:
    """A DIMSE-N service; the names are those of its request primitive, `data` is empty where it has no data set."""

    def on(event: evt.Event) -> tuple[Dataset, Dataset | None]:
        received: Any = event.request
        encoded = getattr(received, data) if data else None
        asked = getattr(received, "AttributeIdentifierList", None) or ()
        request = _request(
            event,
            command,
            getattr(received, class_of),
            sop_instance_uid=str(getattr(received, instance_of) or ""),
            dataset=encoded.getvalue() if encoded else b"",
            # A single one comes without its list.
            attribute_identifiers=(int(asked),) if isinstance(asked, int) else tuple(map(int, asked)),
        )
        response = next(_respond(request))
        return _status(response), _dataset(response)

    return on


_HANDLERS: list[evt.EventHandlerType] = [
    (evt.EVT_REQUESTED, _on_requested),
    (evt.EVT_REJECTED, _on_rejected),
    (evt.EVT_RELEASED, _on_ended),
    (evt.EVT_ABORTED, _on_aborted),
    (evt.EVT_CONN_CLOSE, _on_closed),
    (evt.EVT_C_ECHO, _on_echo),
    (evt.EVT_C_STORE, _on_store),
    (evt.EVT_C_FIND, _on_find),
    (evt.EVT_N_CREATE, _n_service("N-CREATE", "AffectedSOPClassUID", "AffectedSOPInstanceUID", "AttributeList")),
    (evt.EVT_N_SET, _n_service("N-SET", "RequestedSOPClassUID", "RequestedSOPInstanceUID", "ModificationList")),
    (evt.EVT_N_GET, _n_service("N-GET", "RequestedSOPClassUID", "RequestedSOPInstanceUID")),
]
