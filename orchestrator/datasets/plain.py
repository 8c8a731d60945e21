"""The header of a plain object from its first bytes, without data set objects: a fifth of what a small object costs.

Plain is what nearly all senders send: little endian, ascending tags, defined lengths, one common character set.
Whatever is not, hostile things among it, is left to pydicom.
"""

import re
import struct
from collections.abc import Iterator, Mapping

_IMPLICIT = "1.2.840.10008.1.2"
_PLAIN_SYNTAX = re.compile(r"1\.2\.840\.10008\.1\.2(\.1|\.5|\.4\.(?!(95|205)$)\d+)?")
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_CODECS = {b"": "ascii", b"ISO_IR 6": "ascii", b"ISO_IR 100": "latin-1", b"ISO_IR 192": "utf-8"}
_CHARACTER_SET, _PATIENT_NAME, _UNIVERSAL_ENTITY_ID = 0x00080005, 0x00100010, 0x00400032
_ITEM = b"\xfe\xff\x00\xe0"
_NUMBERS = frozenset({0x00200011, 0x00200013, 0x00280008})
# Issuer of Patient ID Qualifiers Sequence, Request Attributes Sequence.
_SEQUENCES = frozenset({0x00100024, 0x00400275})


class NotPlain(Exception):
    """For pydicom."""


class Plain:
    """The wanted values of a data set that is plain, and of the first items of its wanted sequences."""

    def __init__(
        self, data: bytes, at: int, wanted: Mapping[int, bytes], *,
        implicit: bool, last_tag: int, whole: bool, codec: str = "",
    ) -> None:  # fmt: skip
        self._values: dict[int, bytes] = {}
        self._items: dict[int, Plain] = {}
        for tag, vr, value in _elements(data, at, implicit=implicit, last_tag=last_tag, whole=whole):
            if tag not in wanted:
                continue
            if not implicit and vr != wanted[tag]:
                raise NotPlain
            if tag == _CHARACTER_SET:
                codec = _CODECS.get(value.strip(b" \0"), "")
                if not codec:
                    raise NotPlain
            if tag in _SEQUENCES:
                if item := _first_item(value):
                    self._items[tag] = Plain(
                        item, 0, wanted, implicit=implicit, last_tag=0xFFFFFFFF, whole=True, codec=codec or "ascii"
                    )
            else:
                self._values[tag] = value
        self._codec = codec or "ascii"

    def text(self, tag: int) -> str:
        """A value as `text_of` tells it. Raises NotPlain."""
        value = self._values.get(tag, b"")
        if b"\x1b" in value or (tag == _PATIENT_NAME and b"=" in value):
            raise NotPlain
        if tag == _UNIVERSAL_ENTITY_ID and b"\\" in value:
            # UT: a backslash is a character of it.
            raise NotPlain
        try:
            text = value.decode(self._codec).split("\\")[0]
        except UnicodeDecodeError as error:
            raise NotPlain from error
        text = "".join(c for c in text if c.isprintable()).strip()
        if tag in _NUMBERS and text and not (text.isascii() and text.isdigit()):
            raise NotPlain
        return text

    def item_text(self, sequence: int, tag: int) -> str:
        """The same in the first item of a sequence."""
        return self._items[sequence].text(tag) if sequence in self._items else ""


def read_plain(data: bytes, at: int, syntax: str, wanted: Mapping[int, bytes], *, last_tag: int, whole: bool) -> Plain:
    """The wanted attributes (tag → VR of the dictionary) of a data set that begins at `at`, read up to `last_tag`.

    `whole`: nothing follows `data`. Raises NotPlain.
    """
    if not _PLAIN_SYNTAX.fullmatch(syntax):
        raise NotPlain
    try:
        return Plain(data, at, wanted, implicit=syntax == _IMPLICIT, last_tag=last_tag, whole=whole)
    except struct.error as error:
        raise NotPlain from error


def _elements(
    data: bytes, at: int, *, implicit: bool, last_tag: int, whole: bool
) -> Iterator[tuple[int, bytes, bytes]]:
    """(tag, VR (empty: implicit), value) of the elements up to `last_tag`."""
    before, end = -1, len(data)
    while at < end or not whole:
        if at + 12 > end and not (whole and at + 8 <= end):
            raise NotPlain
        group, element = struct.unpack_from("<HH", data, at)
        tag = group << 16 | element
        if tag > last_tag:
            return
        vr = b"" if implicit else data[at + 4 : at + 6]
        if implicit:
            (length,), at = struct.unpack_from("<I", data, at + 4), at + 8
        elif vr in _SHORT:
            (length,), at = struct.unpack_from("<H", data, at + 6), at + 8
        elif vr in _LONG:
            (length,), at = struct.unpack_from("<I", data, at + 8), at + 12
        else:
            raise NotPlain
        # An undefined length is larger than any file.
        if tag <= before or at + length > end:
            raise NotPlain
        yield tag, vr, data[at : at + length]
        before, at = tag, at + length


def _first_item(sequence: bytes) -> bytes:
    """The content of a sequence's first item; empty when it has none."""
    if not sequence:
        return b""
    if sequence[:4] != _ITEM:
        raise NotPlain
    (length,) = struct.unpack_from("<I", sequence, 4)
    if 8 + length > len(sequence):
        raise NotPlain
    return sequence[8 : 8 + length]
