"""C-STORE SCU: from the file, without decoding it, in the transfer syntax it has."""

import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.presentation import PresentationContext

from orchestrator.states import DeliveryStatus
from routing.transports.base import Item, Result, TransportError

_config.STORE_SEND_CHUNKED_DATASET = True
# A lost response shows as an empty status after this time; it means unknown, never sent or failed.
_DIMSE_SECONDS = 30
_MOST_CONTEXTS = 128
_VERIFICATION = "1.2.840.10008.1.1"


def _no_delay(event: evt.Event) -> None:
    """One write per PDU: without this every object waits for the peer's delayed acknowledgement."""
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class CStore:
    """Sends to one peer over one association."""

    def __init__(self, *, ae_title: str, host: str, port: int) -> None:
        self._peer = (host, port)
        self._ae_title = ae_title

    def send(self, items: Iterable[Item]) -> Iterator[Result]:
        waiting = list(items)
        pairs = sorted({(item.sop_class_uid, item.transfer_syntax_uid) for item in waiting})
        for start in range(0, len(pairs), _MOST_CONTEXTS):
            part = pairs[start : start + _MOST_CONTEXTS]
            mine = [item for item in waiting if (item.sop_class_uid, item.transfer_syntax_uid) in part]
            yield from self._send_over_one_association(mine, part)

    def _send_over_one_association(self, items: Sequence[Item], pairs: Sequence[tuple[str, str]]) -> Iterator[Result]:
        ae = AE(ae_title=settings.AE_TITLE)
        ae.connection_timeout, ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = 10, 15, _DIMSE_SECONDS, 60
        ae.maximum_pdu_size = 0
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in pairs]
        assoc = _associate(ae, self._peer, contexts, self._ae_title)
        accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in assoc.accepted_contexts}
        try:
            for item in items:
                if (item.sop_class_uid, item.transfer_syntax_uid) not in accepted:
                    text = "The peer does not take this SOP class in this transfer syntax."
                    yield Result(item.key, DeliveryStatus.FAILED, None, text)
                    continue
                yield self._send_one(assoc, item)
        finally:
            if assoc.is_established:
                assoc.release()

    def _send_one(self, assoc: Any, item: Item) -> Result:
        if not assoc.is_established:
            return Result(item.key, DeliveryStatus.RETRYING, None, "The association ended before this object.")
        try:
            status = assoc.send_c_store(item.path)
        except (RuntimeError, ValueError) as error:
            return Result(item.key, DeliveryStatus.RETRYING, None, str(error)[:200])
        if "Status" not in status:
            assoc.abort()
            return Result(item.key, DeliveryStatus.UNKNOWN, None, "The peer gave no answer.")
        return _result(item.key, int(status.Status), str(status.get("ErrorComment", "")))


def _result(key: int, status: int, comment: str) -> Result:
    """A C-STORE status (PS3.4 B.2.3) as an outcome."""
    text = f"status {status:04X}{f': {comment}' if comment else ''}"[:200]
    if status == 0x0000 or status in (0xB000, 0xB006, 0xB007):
        return Result(key, DeliveryStatus.SENT, status, "" if status == 0 else text)
    if status & 0xFF00 == 0xA700 or status == 0x0213 or status & 0xF000 == 0xC000:
        return Result(key, DeliveryStatus.RETRYING, status, text)
    return Result(key, DeliveryStatus.FAILED, status, text)


def _associate(ae: AE, peer: tuple[str, int], contexts: list[PresentationContext], ae_title: str) -> Any:
    """An established association. Raises TransportError with the reason, also when the host's name is unknown."""
    try:
        assoc = ae.associate(*peer, contexts, ae_title=ae_title, evt_handlers=[(evt.EVT_CONN_OPEN, _no_delay)])
    # A name that cannot be looked up is an OSError; one that cannot be a name at all a ValueError.
    except (OSError, ValueError) as error:
        raise TransportError("The host's name is not known.") from error
    if not assoc.is_established:
        raise TransportError(_why_not(assoc))
    return assoc


def _why_not(assoc: Any) -> str:
    if assoc.is_rejected:
        answer = assoc.acceptor.primitive
        return f"The peer rejected the association: {answer.reason_str}."
    if assoc.rejected_contexts:
        return "The peer takes none of what was proposed."
    return "The peer could not be reached, or ended the association at once."


@dataclass(frozen=True)
class Heard:
    """What came of a C-ECHO."""

    ok: bool
    milliseconds: int
    error: str = ""


def echo(*, ae_title: str, host: str, port: int) -> Heard:
    """C-ECHO (PS3.7 9.1.5) over an association of its own; the time is that of the whole."""
    ae = AE(ae_title=settings.AE_TITLE)
    ae.connection_timeout, ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = 5, 5, 5, 5
    started = time.monotonic()
    try:
        assoc = _associate(ae, (host, port), [build_context(_VERIFICATION)], ae_title)
        error = _verify(assoc)
    except TransportError as problem:
        error = str(problem)
    return Heard(not error, round((time.monotonic() - started) * 1000), error)


def _verify(assoc: Any) -> str:
    """What is wrong with the peer's answer to C-ECHO; empty when nothing is."""
    try:
        status = assoc.send_c_echo()
    except RuntimeError:
        return "The peer ended the association before it answered."
    assoc.release()
    if "Status" not in status:
        return "The peer gave no answer."
    return "" if status.Status == 0x0000 else f"The peer answered status {status.Status:04X}."
