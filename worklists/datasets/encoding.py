"""Encoded data sets: read from peers, written for the worklist, cut to what was asked without being decoded.

An answer is stored in Explicit VR Little Endian with defined lengths. Cutting walks its element headers only, so
that a query costs microseconds per answer and no data set objects (PERFORMANCE: answers encoded once).
"""

import struct
import unicodedata
from collections.abc import Iterator, Mapping
from io import BytesIO

from pydicom import charset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import PersonName

# What is wanted of a data set: tag → None for the whole element, or what is wanted of its items.
Wanted = Mapping[int, "Wanted | None"]

SPECIFIC_CHARACTER_SET = 0x00080005
_AS_IT_IS: Mapping[int, str] = {}
_LONG_LENGTH = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM = b"\xfe\xff\x00\xe0"


class Unreadable(Exception):
    """The bytes are no data set, or in a transfer syntax that the presentation context cannot have."""


def decode(data: bytes, transfer_syntax_uid: str, *, default_character_set: str = "") -> Dataset:
    """A peer's data set, with sequences read and values still raw. Raises Unreadable.

    `default_character_set` (as (0008,0005)) reads data sets that name none.
    """
    if transfer_syntax_uid not in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
        raise Unreadable("transfer syntax")
    implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    try:
        ds = read_dataset(BytesIO(data), implicit, True, bytelength=len(data))
        if default_character_set and SPECIFIC_CHARACTER_SET not in ds:
            ds = read_dataset(
                BytesIO(data), implicit, True, bytelength=len(data), parent_encoding=_codecs(default_character_set)
            )
            ds.set_original_encoding(implicit, True, _codecs(default_character_set))
    # A hostile data set fails in more ways than can be named (struct.error, RecursionError, KeyError, …).
    except Exception as error:
        raise Unreadable(type(error).__name__) from error
    if any(_is_truncated(ds.get_item(tag)) for tag in ds.keys()):  # noqa: SIM118  iterating a Dataset decodes
        raise Unreadable("truncated")
    return ds


def _is_truncated(element: RawDataElement | DataElement | None) -> bool:
    return (
        isinstance(element, RawDataElement)
        and element.length != _UNDEFINED_LENGTH
        and len(element.value or b"") != element.length
    )


def encode(ds: Dataset) -> bytes:
    """Explicit VR Little Endian, defined lengths."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds)
    return buffer.getvalue()


def _elements(data: bytes, at: int, end: int) -> Iterator[tuple[int, bytes, int, int, int]]:
    """(tag, VR, where the header begins, where the value begins, where it ends) of each element."""
    while at < end:
        group, element = struct.unpack_from("<HH", data, at)
        vr = data[at + 4 : at + 6]
        if vr in _LONG_LENGTH:
            value, (length,) = at + 12, struct.unpack_from("<I", data, at + 8)
        else:
            value, (length,) = at + 8, struct.unpack_from("<H", data, at + 6)
        yield group << 16 | element, vr, at, value, value + length
        at = value + length


def cut(answer: bytes, wanted: Wanted, *, implicit: bool, instead: Mapping[int, str] = _AS_IT_IS) -> bytes:
    """The elements of an encoded answer that are wanted (its character set always), in the asked transfer syntax.

    `instead`: what stands where an element (of a VR with a short length, in ASCII) is empty.
    """
    given = {tag: (text + " " * (len(text) % 2)).encode("ascii", "replace") for tag, text in instead.items()}
    return _cut(answer, 0, len(answer), {**wanted, SPECIFIC_CHARACTER_SET: None}, implicit, given)


def _cut(data: bytes, at: int, end: int, wanted: Wanted | None, implicit: bool, given: Mapping[int, bytes]) -> bytes:
    parts: list[bytes] = []
    for tag, vr, header, value, after in _elements(data, at, end):
        if wanted is not None and tag not in wanted:
            continue
        of_items = wanted[tag] if wanted is not None else None
        body = given.get(tag, b"") if value == after else b""
        if vr == b"SQ":
            if not implicit and of_items is None and not given:
                parts.append(data[header:after])
                continue
            body = _items(data, value, after, of_items, implicit, given)
            middle = b"" if implicit else b"SQ\0\0"
            parts += (data[header : header + 4], middle, struct.pack("<I", len(body)), body)
        elif implicit:
            # Item keys below an attribute that is no sequence: the whole element is meant.
            body = body or data[value:after]
            parts += (data[header : header + 4], struct.pack("<I", len(body)), body)
        elif body:
            parts += (data[header : header + 6], struct.pack("<H", len(body)), body)
        else:
            parts.append(data[header:after])
    return b"".join(parts)


def _items(data: bytes, at: int, end: int, wanted: Wanted | None, implicit: bool, given: Mapping[int, bytes]) -> bytes:
    parts: list[bytes] = []
    while at < end:
        (length,) = struct.unpack_from("<I", data, at + 4)
        body = _cut(data, at + 8, at + 8 + length, wanted, implicit, given)
        parts += (_ITEM, struct.pack("<I", len(body)), body)
        at += 8 + length
    return b"".join(parts)


# --- character sets -----------------------------------------------------------------------------------


def _codecs(character_set: str) -> list[str]:
    """Python's codecs for a (0008,0005) value; names that nobody knows are left out."""
    known = [charset.python_encoding[name] for name in character_set.split("\\") if name in charset.python_encoding]
    return known or [charset.default_encoding]


def best_character_set(texts: Iterator[str]) -> str:
    """Latin-1, which every modality reads, where it can say it all; else UTF-8."""
    try:
        for text in texts:
            text.encode("latin-1")
    except UnicodeEncodeError:
        return "ISO_IR 192"
    return "ISO_IR 100"


def texts_of(ds: Dataset) -> Iterator[str]:
    """Every string in a data set."""
    for element in ds.iterall():
        values = element.value if element.VM > 1 else [element.value]
        if element.VR != "SQ":
            yield from (str(value) for value in values)


def in_character_set(answer: bytes, character_set: str) -> bytes:
    """The same answer in the set that a peer insists on; what it cannot say loses its accents or becomes `?`."""
    ds = decode(answer, ExplicitVRLittleEndian)
    ds.decode()
    codecs = ["ascii" if codec == charset.default_encoding else codec for codec in _codecs(character_set)]
    for element in ds.iterall():
        _fit(element, codecs)
    names = character_set.split("\\")
    # The default repertoire is said by saying nothing (PS3.5 6.1.2.1).
    if names == ["ISO_IR 6"]:
        del ds.SpecificCharacterSet
    else:
        ds.SpecificCharacterSet = names
    return encode(ds)


def _fit(element: DataElement, codecs: list[str]) -> None:
    if element.VR == "PN":
        element.value = PersonName(_sayable(str(element.value), codecs))
    elif element.VR in ("LO", "SH", "LT", "ST", "UT", "UC") and element.VM == 1:
        element.value = _sayable(str(element.value), codecs)


def _sayable(text: str, codecs: list[str]) -> str:
    return "".join(_sayable_letter(letter, codecs) for letter in text)


def _sayable_letter(letter: str, codecs: list[str]) -> str:
    for candidate in (letter, unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()):
        for codec in codecs:
            try:
                candidate.encode(codec)
            except UnicodeEncodeError:
                continue
            if candidate:
                return candidate
    return "?"
