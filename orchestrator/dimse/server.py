"""The DICOM listener: pynetdicom's negotiation and data path behind our own plain messages.

One listening socket, several pre-forked processes. Handlers are looked up in settings.DIMSE_HANDLERS.
"""

import logging
import socket
import ssl
import tempfile
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import close_old_connections, connection
from django.utils.module_loading import import_string
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, _config, evt
from pynetdicom.transport import AddressInformation, ThreadedAssociationServer

from orchestrator import datasets, storage
from orchestrator.dimse import store_scp
from orchestrator.dimse.callers import Refused, identify
from orchestrator.dimse.messages import Handler, Peer, Request, Response

logger = logging.getLogger(__name__)

MAXIMUM_ASSOCIATIONS = 256
_CANNOT_UNDERSTAND, _PROCESSING_FAILURE = 0xC000, 0x0110
_CALLING_AE_NOT_RECOGNISED = 0x03  # PS3.8 9.3.4, service-user
_EXPLICIT, _IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
_VERIFICATION = "1.2.840.10008.1.1"
_SERVED = {
    _VERIFICATION: "Verification",
    "1.2.840.10008.5.1.4.31": "Modality Worklist",
    "1.2.840.10008.3.1.2.3.3": "MPPS",
}

_config.STORE_RECV_CHUNKED_DATASET = True
_config.UNRESTRICTED_STORAGE_SERVICE = True
_config.LOG_HANDLER_LEVEL = "none"


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
        client, address = super().get_request()
        # One write per PDU: without this the peer waits for its delayed acknowledgement, 40 ms an object.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client, address


def serve(listening: socket.socket) -> _Server:
    """A server in this process on a listening socket; the caller runs `serve_forever()`."""
    # pynetdicom writes an arriving object into the temporary folder: ours lies on the spool's file system.
    tempfile.tempdir = str(storage.incoming())
    ae = AE(ae_title=settings.AE_TITLE)
    ae.require_called_aet = True
    ae.maximum_pdu_size = 0
    ae.maximum_associations = MAXIMUM_ASSOCIATIONS
    ae.network_timeout, ae.acse_timeout, ae.dimse_timeout = 120, 30, 120
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
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
        entity_id, site_id = identify(ae_title, assoc.requestor.address)
    except Refused as refusal:
        logger.warning("%s", refusal)
        assoc.acse.send_reject(0x01, 0x01, _CALLING_AE_NOT_RECOGNISED)
        assoc.kill()
        return
    assoc.fiducial_peer = Peer(
        ae_title=ae_title,
        called_ae_title=settings.AE_TITLE,
        address=assoc.requestor.address,
        association_id=uuid.uuid4().hex,
        application_entity_id=entity_id,
        site_id=site_id,
    )


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
    return status


def _dataset(response: Response, syntax: UID) -> Dataset | None:
    return datasets.decode(response.dataset, syntax) if response.dataset else None


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
        yield _status(response), _dataset(response, UID(request.transfer_syntax_uid))


def _n_service(command: str, class_of: str, instance_of: str, data: str) -> Callable[[evt.Event], Any]:
    """A DIMSE-N service; the names are those of its request primitive."""

    def on(event: evt.Event) -> tuple[Dataset, Dataset | None]:
        received: Any = event.request
        encoded = getattr(received, data)
        request = _request(
            event,
            command,
            getattr(received, class_of),
            sop_instance_uid=str(getattr(received, instance_of) or ""),
            dataset=encoded.getvalue() if encoded else b"",
        )
        response = next(_respond(request))
        return _status(response), _dataset(response, UID(request.transfer_syntax_uid))

    return on


_HANDLERS: list[evt.EventHandlerType] = [
    (evt.EVT_REQUESTED, _on_requested),
    (evt.EVT_RELEASED, _on_ended),
    (evt.EVT_ABORTED, _on_aborted),
    (evt.EVT_CONN_CLOSE, _on_closed),
    (evt.EVT_C_ECHO, _on_echo),
    (evt.EVT_C_STORE, _on_store),
    (evt.EVT_C_FIND, _on_find),
    (evt.EVT_N_CREATE, _n_service("N-CREATE", "AffectedSOPClassUID", "AffectedSOPInstanceUID", "AttributeList")),
    (evt.EVT_N_SET, _n_service("N-SET", "RequestedSOPClassUID", "RequestedSOPInstanceUID", "ModificationList")),
]
