"""C-STORE SCU: from the file, without decoding it, in the transfer syntax it has wherever the peer takes it."""

import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from django.conf import settings
from pydicom import dcmread

from orchestrator.datasets import encode, end_of_file_meta
from orchestrator.dimse.requestor import (
    MOST_CONTEXTS,
    Pair,
    Rejected,
    Requestor,
    StoreRequest,
    UnknownHost,
    Unreachable,
)
from orchestrator.states import DeliveryStatus
from routing.transports.base import Item, Result, TransportError, Unsendable

# No answer after this time (and the time that the object needs on a slow line, bytes per second) means unknown, never
# sent or failed.
RESPONSE_SECONDS = 30.0
ASSOCIATION_SECONDS = 10.0
SLOWEST_LINE = 250_000
# A conversion is made in memory.
_LARGEST_CONVERSION = 1 << 29
# Explicit and Implicit VR Little Endian: one is made of the other without touching a pixel.
_CONVERTIBLE = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
# PS3.7 C: failures that pass. 0110 processing failure, 0213 resource limitation.
_PASSING = (0x0110, 0x0213)
# PS3.7 C: warnings besides Bxxx. The object is stored.
_WARNINGS = (0x0001, 0x0107, 0x0116)


class CStore:
    """Sends to one peer, over one association as long as its presentation contexts suffice."""

    def __init__(self, *, ae_title: str, host: str, port: int) -> None:
        self._peer = (host, port)
        self._ae_title = ae_title
        self._association: Requestor | None = None
        self._offered: frozenset[Pair] = frozenset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._association is not None:
            self._association.release()
        self._association = None

    @property
    def is_open(self) -> bool:
        return self._association is not None and self._association.is_alive

    def send(self, items: Iterable[Item]) -> Iterator[Result]:
        for group, pairs in _groups(list(items)):
            association = self._associate(pairs)
            for item in group:
                yield _send(item, association)

    def _associate(self, pairs: frozenset[Pair]) -> Requestor:
        """An association that these were offered on. Raises TransportError."""
        if self._association is None or not self.is_open or not pairs <= self._offered:
            self.__exit__()
            self._association, self._offered = self._request(pairs), pairs
        return self._association

    def _request(self, pairs: frozenset[Pair]) -> Requestor:
        try:
            return Requestor(
                self._peer, called=self._ae_title, calling=settings.AE_TITLE, pairs=sorted(pairs),
                seconds=ASSOCIATION_SECONDS,
            )  # fmt: skip
        except UnknownHost as error:
            raise TransportError("The host's name is not known.") from error
        except Unreachable as error:
            raise TransportError("The peer could not be reached, or ended the association at once.") from error
        except Rejected as error:
            raise TransportError(f"The peer rejected the association: {error}.", permanent=error.permanent) from error


def _send(item: Item, association: Requestor) -> Result:
    syntax = next((each for each in _syntaxes(item) if (item.sop_class_uid, each) in association.accepted), None)
    if syntax is None:
        return Result(item.key, DeliveryStatus.FAILED, None, _not_taken(item, association.accepted))
    if not association.is_alive:
        return Result(item.key, DeliveryStatus.RETRYING, None, "The association ended before this object.")
    try:
        with item.file() as path, path.open("rb") as file:
            size = path.stat().st_size
            is_converted = syntax != item.transfer_syntax_uid
            if is_converted and size > _LARGEST_CONVERSION:
                return Result(item.key, DeliveryStatus.FAILED, None, _not_taken(item, association.accepted))
            _go_to_data_set(file, size)
            request = StoreRequest(
                item.sop_class_uid, item.sop_instance_uid, syntax, _converted(path, syntax) if is_converted else file
            )
            answer = association.store(
                request, seconds=RESPONSE_SECONDS + size / SLOWEST_LINE, stall_seconds=RESPONSE_SECONDS
            )
    except Unsendable as error:
        return Result(item.key, DeliveryStatus.FAILED, None, str(error)[:200])
    except (ValueError, OSError) as error:
        return Result(item.key, DeliveryStatus.RETRYING, None, f"{type(error).__name__}: {error}"[:200])
    if answer is None:
        return Result(item.key, DeliveryStatus.UNKNOWN, None, "The peer gave no answer.")
    return _result(item.key, answer.status, answer.error_comment)


def _go_to_data_set(file: BinaryIO, size: int) -> None:
    """Raises Unsendable: a file that is cut off or overwritten is not the peer's fault."""
    start = end_of_file_meta(file)
    file.seek(128)
    if file.read(4) != b"DICM" or start >= size:
        raise Unsendable("The file of this object in the spool is damaged.")
    file.seek(start)


def _converted(path: Path, syntax: str) -> BinaryIO:
    """The data set in another uncompressed transfer syntax. Raises ValueError when it cannot be written so."""
    try:
        return io.BytesIO(encode(dcmread(path), syntax))
    except Exception as error:
        raise ValueError(f"not to be written in {syntax} ({type(error).__name__})") from error


def _syntaxes(item: Item) -> tuple[str, ...]:
    """The transfer syntaxes that an item may be sent in, its own first. Compressed pixels are never decoded."""
    own = item.transfer_syntax_uid
    return (own, *(each for each in _CONVERTIBLE if each != own)) if own in _CONVERTIBLE else (own,)


def _groups(items: Sequence[Item]) -> Iterator[tuple[list[Item], frozenset[Pair]]]:
    """The items in portions, each with what must be offered for it: an association has at most 128 contexts."""
    pairs: set[Pair] = set()
    group: list[Item] = []
    for item in sorted(items, key=lambda each: each.sop_class_uid):
        more = {(item.sop_class_uid, each) for each in _syntaxes(item)}
        if len(pairs | more) > MOST_CONTEXTS:
            yield group, frozenset(pairs)
            pairs, group = set(), []
        pairs |= more
        group.append(item)
    if group:
        yield group, frozenset(pairs)


def _not_taken(item: Item, accepted: frozenset[Pair]) -> str:
    if any(sop_class == item.sop_class_uid for sop_class, _ in accepted):
        return f"The peer does not take transfer syntax {item.transfer_syntax_uid} for this object."
    return f"The peer does not take SOP class {item.sop_class_uid}."


def _result(key: int, status: int, comment: str) -> Result:
    """A C-STORE status (PS3.4 B.2.3, PS3.7 C) as an outcome."""
    text = f"status {status:04X}{f': {comment}' if comment else ''}"[:200]
    if status == 0x0000:
        return Result(key, DeliveryStatus.SENT, status)
    if status & 0xF000 == 0xB000 or status in _WARNINGS:
        return Result(key, DeliveryStatus.SENT, status, text)
    if status & 0xFF00 == 0xA700 or status & 0xF000 == 0xC000 or status in _PASSING:
        return Result(key, DeliveryStatus.RETRYING, status, text)
    return Result(key, DeliveryStatus.FAILED, status, text)
