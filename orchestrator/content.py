"""What a data set says, however it is encoded: to tell a copy in another transfer syntax from another object.

Read strictly, and by ourselves: pydicom forgives what is cut off, and equality must never come of forgiveness.
"""

import hashlib
import mmap
import struct
import zlib
from array import array
from dataclasses import dataclass
from pathlib import Path

from pydicom.datadict import dictionary_VR
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from orchestrator.datasets import Unreadable, end_of_file_meta

# Larger objects, and those of more elements, are not compared: nobody's memory or time is spent on a bomb.
LARGEST_COMPARED, _MOST_ELEMENTS = 1 << 26, 200_000
UNCOMPRESSED = frozenset(
    {ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
)
_UNDEFINED, _DEEPEST = 0xFFFFFFFF, 32
_ITEM, _ITEM_END, _SEQUENCE_END, _TRAILING_PADDING = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0xFFFCFFFC
# Explicit VRs with a length of four bytes (PS3.5 7.1.2), and those whose values have a byte order.
_LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])
_UNITS = {
    **dict.fromkeys(["AT", "OW", "SS", "US"], "H"),
    **dict.fromkeys(["FL", "OF", "OL", "SL", "UL"], "I"),
    **dict.fromkeys(["FD", "OD", "OV", "SV", "UV"], "Q"),
}

_VRS = _LONG | _UNITS.keys() | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI"}


def say_the_same(one: Path, one_syntax: str, other: Path, other_syntax: str) -> bool:
    """Whether two files have the same attributes with the same values, pixels included.

    False also when that cannot be told: compressed, too large, gone, or not to be read to its very end.
    """
    if not {one_syntax, other_syntax} <= UNCOMPRESSED:
        return False
    try:
        return _digest_of(one, one_syntax) == _digest_of(other, other_syntax)
    except (Unreadable, OSError, struct.error, zlib.error):
        return False


def _digest_of(path: Path, syntax: str) -> str:
    with path.open("rb") as file:
        start = end_of_file_meta(file)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            if len(mapped) > LARGEST_COMPARED:
                raise Unreadable("too large to be compared")
            if syntax == DeflatedExplicitVRLittleEndian:
                return _Reading(_inflated(mapped[start:]), "<").digest()
            if syntax == ImplicitVRLittleEndian:
                return _Reading(mapped[start:], "<").digest(implicit=True)
            return _Reading(mapped[start:], ">" if syntax == ExplicitVRBigEndian else "<").digest()


def _inflated(deflated: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(deflated, LARGEST_COMPARED)
    # Behind its end stands at most a padding byte (PS3.5 A.5).
    if not inflater.eof or len(inflater.unused_data) > 1:
        raise Unreadable("cut off, or too large to be compared")
    return inflated


@dataclass(frozen=True, slots=True)
class _Element:
    tag: int
    vr: str
    # Where its value begins.
    at: int
    length: int


class _Reading:
    """One pass over a data set. Group lengths and trailing padding say nothing; how long a sequence is, neither."""

    def __init__(self, data: bytes, order: str) -> None:
        self._data, self._order = data, order
        self._said = hashlib.sha256()
        self._elements_left = _MOST_ELEMENTS

    def digest(self, *, implicit: bool = False) -> str:
        self._data_set(0, len(self._data), implicit=implicit, depth=0)
        return self._said.hexdigest()

    def _data_set(self, at: int, end: int, *, implicit: bool, depth: int, delimited: bool = False) -> int:
        """Read elements up to `end`, or up to the delimiter of an item; answers where it ended."""
        if depth > _DEEPEST:
            raise Unreadable("nested too deep to be compared")
        while at < end:
            element = self._element(at, implicit=implicit)
            at = element.at
            if element.tag == _ITEM_END and delimited:
                return at
            if element.vr == "SQ" or (element.vr == "UN" and element.length == _UNDEFINED):
                # What is inside an UN of undefined length is implicit (PS3.5 6.2.2).
                at = self._sequence(element, end, implicit=implicit or element.vr == "UN", depth=depth)
                continue
            at += element.length
            if at > end:
                raise Unreadable("cut off")
            if element.tag & 0xFFFF and element.tag != _TRAILING_PADDING:
                value = self._value(element)
                self._said.update(struct.pack("<IcI", element.tag, b"V", len(value)))
                self._said.update(value)
        if delimited:
            raise Unreadable("an item does not end")
        return at

    def _element(self, at: int, *, implicit: bool) -> _Element:
        self._elements_left -= 1
        if not self._elements_left:
            raise Unreadable("too many elements to be compared")
        group, number = struct.unpack_from(f"{self._order}HH", self._data, at)
        tag = group << 16 | number
        if implicit or group == 0xFFFE:
            (length,) = struct.unpack_from(f"{self._order}I", self._data, at + 4)
            return _Element(tag, _vr_of(tag), at + 8, length)
        vr = self._data[at + 4 : at + 6].decode("latin-1")
        if vr in _LONG:
            (length,) = struct.unpack_from(f"{self._order}I", self._data, at + 8)
            return _Element(tag, vr, at + 12, length)
        if vr not in _VRS:
            raise Unreadable("no value representation")
        (length,) = struct.unpack_from(f"{self._order}H", self._data, at + 6)
        return _Element(tag, vr, at + 8, length)

    def _sequence(self, element: _Element, end: int, *, implicit: bool, depth: int) -> int:
        self._said.update(struct.pack("<Ic", element.tag, b"S"))
        at, delimited = element.at, element.length == _UNDEFINED
        end = end if delimited else _within(at + element.length, end)
        while at < end:
            item = self._element(at, implicit=True)
            at = item.at
            if item.tag == _SEQUENCE_END and delimited:
                self._said.update(b"E")
                return at
            if item.tag != _ITEM:
                raise Unreadable("something that is no item in a sequence")
            self._said.update(b"I")
            open_ended = item.length == _UNDEFINED
            item_end = end if open_ended else _within(at + item.length, end)
            at = self._data_set(at, item_end, implicit=implicit, depth=depth + 1, delimited=open_ended)
            self._said.update(struct.pack("<Ic", _ITEM_END, b"I"))
        if delimited:
            raise Unreadable("a sequence does not end")
        self._said.update(b"E")
        return at

    def _value(self, element: _Element) -> bytes | memoryview:
        """The value as it is in little endian."""
        value = memoryview(self._data)[element.at : element.at + element.length]
        if self._order == "<" or element.vr not in _UNITS:
            return value
        units = array(_UNITS[element.vr])
        if len(value) % units.itemsize:
            raise Unreadable("half a number")
        units.frombytes(value)
        units.byteswap()
        return units.tobytes()


def _within(place: int, end: int) -> int:
    if place > end:
        raise Unreadable("cut off")
    return place


def _vr_of(tag: int) -> str:
    """Implicit data sets do not say; what nobody knows is UN."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"
