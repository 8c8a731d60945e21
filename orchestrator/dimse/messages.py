"""What DIMSE handlers take and give: plain things, never pynetdicom's events (docs/adr/0004).

So the listener's data path can change without any handler noticing.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Peer:
    """Who called, as accepted by the listener."""

    ae_title: str
    called_ae_title: str
    address: str
    # Ours, unique per association.
    association_id: str
    # The configured ApplicationEntity; None for an unknown one that is served by loopback trust.
    application_entity_id: int | None
    site_id: int
    # DICOM character set of its data sets that name none (empty: the default repertoire).
    default_character_set: str = ""


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Request:
    """One DIMSE request (PS3.7). `dataset` is encoded in `transfer_syntax_uid`; empty when there is none."""

    peer: Peer
    # "C-ECHO", "C-STORE", "C-FIND", "N-CREATE", "N-SET", "N-GET", "N-ACTION", …
    command: str
    sop_class_uid: str
    message_id: int = 0
    sop_instance_uid: str = ""
    transfer_syntax_uid: str = "1.2.840.10008.1.2"
    dataset: bytes = b""
    # N-ACTION and N-EVENT-REPORT.
    type_id: int | None = None
    # N-GET: the attributes asked for, as tags; empty for all.
    attribute_identifiers: tuple[int, ...] = ()
    # C-STORE: the received object as a DICOM file in the spool's incoming folder, complete, not yet durable;
    # an empty file, or none, when there was no room for it.
    path: Path | None = None
    # C-FIND, C-MOVE, C-GET: whether the peer has sent a C-CANCEL.
    is_cancelled: Callable[[], bool] = _never


@dataclass(frozen=True, slots=True)
class Response:
    """One DIMSE response. `dataset` is encoded in the request's transfer syntax."""

    status: int
    dataset: bytes = b""
    # (0000,0902), at most 64 characters, no patient data.
    error_comment: str = ""
    # (0000,0903)
    error_id: int | None = None
    # N-CREATE: the instance UID that we gave when the peer gave none.
    sop_instance_uid: str = ""
    offending_elements: tuple[int, ...] = field(default=())


Handler = Callable[[Request], Iterable[Response]]
