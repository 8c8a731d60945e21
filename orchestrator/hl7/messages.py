"""Reading HL7 v2 lazily, and answering it: segments are split when asked for, fields when named.

On the hot path a full parse with a dictionary would cost a thousand times more (HL7 v2.5.1 chapter 2).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo

# MSH-18 (table 0211) -> Python codec. Chinese sets without a codec are refused by name.
CHARSETS = {
    "": "utf-8", "ASCII": "ascii", "UNICODE": "utf-8", "UNICODE UTF-8": "utf-8",
    **{f"8859/{n}": f"iso8859-{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "ISO IR14": "shift_jis", "ISO IR87": "iso2022_jp", "ISO IR159": "iso2022_jp_2", "GB 18030-2000": "gb18030",
    "KS X 1001": "euc_kr", "BIG-5": "big5",
}  # fmt: skip
_JAPANESE = {"ISO IR14", "ISO IR87", "ISO IR159"}


def codec_of(charset: str, repetition: str = "~") -> str | None:
    """The Python codec of MSH-18; None when it is not known.

    Japanese senders name what they switch to by escape sequences in further repetitions: `~ISO IR87`.
    """
    first, *others = (each.strip().upper() for each in charset.split(repetition))
    if others and first in {"", "ASCII", *_JAPANESE} and _JAPANESE.intersection(others):
        return "iso2022_jp_ext"
    return CHARSETS.get(first)


class Malformed(Exception):
    """This is not an HL7 message that can be read: where (`PID-3`), why, and the code of table 0357."""

    def __init__(self, where: str, why: str, code: int = 102) -> None:
        super().__init__(f"{where}: {why}")
        self.where, self.why, self.code = where, why, code

    @property
    def ack_code(self) -> str:
        """AE: the sender must mend the content. AR: we cannot process it (2xx), or it is no message at all."""
        return "AR" if self.code >= 200 or self.where in ("MSH", "MSH-2") else "AE"


@dataclass(frozen=True)
class Encoding:
    """MSH-1 and MSH-2."""

    separator: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    # What \Xhh\ is written in: the message's own character set.
    codec: str = "latin-1"

    def unescape(self, text: str) -> str:
        """HL7 v2 2.7: \\F\\ \\S\\ \\T\\ \\R\\ \\E\\ \\.br\\ \\Xhh\\; other escapes stay as they are."""
        if self.escape not in text:
            return text
        e = re.escape(self.escape)
        return re.sub(f"{e}([^{e}]*){e}", self._one, text)

    def _one(self, found: re.Match[str]) -> str:
        name = found[1]
        known = {
            "F": self.separator, "S": self.component, "T": self.subcomponent, "R": self.repetition, "E": self.escape,
            ".br": "\n",
        }  # fmt: skip
        if name in known:
            return known[name]
        if name[:1] == "X" and re.fullmatch("([0-9A-Fa-f]{2})+", name[1:]):
            return self._decoded(bytes.fromhex(name[1:])).replace("\0", "")
        return found[0]

    def _decoded(self, raw: bytes) -> str:
        try:
            return raw.decode(self.codec)
        except UnicodeDecodeError:
            return raw.decode("latin-1")


@dataclass(frozen=True)
class Segment:
    """One segment; fields by number, as in the standard (MSH-1 is the separator)."""

    name: str
    fields: list[str]
    encoding: Encoding

    def raw(self, number: int) -> str:
        """The field as sent, still escaped; empty when absent."""
        return self.fields[number] if number < len(self.fields) else ""

    def repetitions(self, number: int) -> list["Repetition"]:
        """The field's repetitions; none when it is empty."""
        text = self.raw(number)
        return [Repetition(each, self.encoding) for each in text.split(self.encoding.repetition)] if text else []

    def get(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """The first repetition's component, unescaped; empty when absent. `""` (delete) comes as it is."""
        repetitions = self.repetitions(number)
        return repetitions[0].get(component, subcomponent) if repetitions else ""


@dataclass(frozen=True)
class Repetition:
    """One repetition of a field, still escaped."""

    text: str
    encoding: Encoding

    def parts(self) -> list[str]:
        """All components, still escaped."""
        return self.text.split(self.encoding.component)

    def get(self, component: int = 1, subcomponent: int = 1) -> str:
        parts = self.parts()
        if component > len(parts):
            return ""
        inner = parts[component - 1].split(self.encoding.subcomponent)
        return self.encoding.unescape(inner[subcomponent - 1]) if subcomponent <= len(inner) else ""


@dataclass(frozen=True)
class Message:
    """A message: MSH read, the other segments when asked for."""

    lines: list[str]
    encoding: Encoding
    # MSH-18 as sent.
    charset: str
    # What times without a zone are told in.
    zone: tzinfo = UTC
    msh: Segment = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "msh", self._segment(self.lines[0]))

    def _segment(self, line: str) -> Segment:
        fields = line.split(self.encoding.separator)
        if fields[0] == "MSH":
            fields.insert(1, self.encoding.separator)
        return Segment(fields[0], fields, self.encoding)

    def segments(self, *names: str) -> Iterator[Segment]:
        """The segments of these names, in order; all without names."""
        for line in self.lines:
            if not names or line[:3] in names:
                yield self._segment(line)

    def first(self, name: str) -> Segment | None:
        return next(self.segments(name), None)

    def groups(self, head: str) -> list[list[Segment]]:
        """What follows each `head` segment up to the next one: the ORC groups of an order message."""
        groups: list[list[Segment]] = []
        for segment in self.segments():
            if segment.name == head:
                groups.append([])
            if groups:
                groups[-1].append(segment)
        return groups

    @property
    def message_type(self) -> str:
        """MSH-9 as TYPE^EVENT."""
        return f"{self.msh.get(9)}^{self.msh.get(9, 2)}".rstrip("^")

    @property
    def control_id(self) -> str:
        return self.msh.get(10)

    @property
    def sent_at(self) -> datetime | None:
        return self.moment(self.msh.get(7))

    def moment(self, text: str) -> datetime | None:
        """A time of the message as a moment; None when it tells none."""
        return parse_time(text, self.zone)


def parse_time(text: str, zone: tzinfo = UTC) -> datetime | None:
    """TS/DTM (chapter 2A): YYYY[MM[DD[HH[MM[SS[.S]]]]]][+ZZZZ], in `zone` when it names none.

    None when it is no time, and for a wall clock that the end of summer time makes twice: it tells no moment.
    """
    found = re.fullmatch(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:\.\d+)?([+-]\d\d[0-5]\d)?", text.strip())
    if not found:
        return None
    year, month, day, hour, minute, second = (int(each) if each else 0 for each in found.groups()[:6])
    try:
        if named := found[7]:
            zone = timezone(timedelta(hours=int(named[:3]), minutes=int(named[0] + named[3:])))
        wall = datetime(year, month or 1, day or 1, hour, minute, second, tzinfo=zone)
        once, again = wall.utcoffset(), wall.replace(fold=1).utcoffset()
        # An offset of zero is one too: in Greenwich winter time has it.
        is_twice = once is not None and again is not None and once > again
        # Year 1 with a zone east of Greenwich is before the first year there is: OverflowError.
        return None if is_twice else wall.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


# White space of any kind before a message, and what is left of a block's marks.
_BEFORE = b"\x0b\x1c\r\n \t\0"


def read_header(raw: bytes) -> Message:
    """MSH alone, as far as it can be read without knowing the character set. Raises Malformed."""
    line = re.split(rb"[\r\n]", raw.lstrip(_BEFORE)[:_LONGEST_HEADER], maxsplit=1)[0]
    if not line.startswith(b"MSH") or len(line) < 8:
        raise Malformed("MSH", "the message does not begin with an MSH segment", 100)
    header = line.decode("latin-1").replace("\0", "")
    encoding = _encoding(header)
    fields = header.split(encoding.separator)
    charset = fields[17].strip() if len(fields) > 17 else ""
    text = line.replace(b"\0", b"").decode(codec_of(charset, encoding.repetition) or "latin-1", errors="replace")
    return Message([text], encoding, charset)


_LONGEST_HEADER = 65536


def _encoding(header: str) -> Encoding:
    separator = header[3]
    marks = header[4:].partition(separator)[0]
    signs = {separator, *marks}
    if len(marks) < 4 or len(signs) != len(marks) + 1 or any(not "!" <= c <= "~" or c.isalnum() for c in signs):
        raise Malformed("MSH-2", "the encoding characters are not four different signs")
    return Encoding(separator, *marks[:4])


def read(raw: bytes, *, default_charset: str = "", zone: tzinfo = UTC) -> Message:
    """A message from its bytes. Raises Malformed. Segments end with CR; LF and CRLF are taken too.

    `default_charset` and `zone`: what is meant where the message names none.
    """
    # Blanks at the end belong to the last field.
    body = raw.lstrip(_BEFORE).rstrip(b"\x0b\x1c\r\n\0")
    head = read_header(body)
    if any(mark in body for mark in (b"\0", b"\x0b", b"\x1c")):
        # Half a message, then another one, in one block; or not text at all.
        raise Malformed("MSH", "the message contains NUL, start of block or file separator bytes")
    charset = head.charset or default_charset
    codec = codec_of(charset, head.encoding.repetition)
    if codec is None:
        raise Malformed("MSH-18", f"the character set {charset[:40]} is not known", 103)
    try:
        text = body.decode(codec)
    except UnicodeDecodeError as error:
        raise Malformed("MSH-18", f"byte {error.start} is no {codec} text, which MSH-18 says it is") from error
    if "\x1b" in text:
        raise Malformed("MSH-18", "the text switches to a character set that MSH-18 does not name", 103)
    lines = [line for line in re.split(r"[\r\n]+", text) if line.strip()]
    return Message(lines, replace(head.encoding, codec=codec), charset, zone)


def acknowledge(
    message: Message | None, code: str, *, problem: Malformed | None = None, control_id: str = "", now: datetime
) -> bytes:
    """An ACK (chapter 2.9.2): MSA with `code`, and ERR (where, table 0357, severity, text) for a problem."""
    msh = message.msh if message else None
    event = escape(msh.get(9, 2)[:3]) if msh else ""
    fields = [
        "MSH", "^~\\&", _safe(msh, 5), _safe(msh, 6), _safe(msh, 3), _safe(msh, 4), f"{now:%Y%m%d%H%M%S}+0000", "",
        f"ACK^{event}^ACK" if event else "ACK", control_id, _safe(msh, 11) or "P",
        _safe(msh, 12) or "2.5.1", "", "", "", "", "", "UNICODE UTF-8",
    ]  # fmt: skip
    lines = ["|".join(fields), f"MSA|{code}|{_safe(msh, 10)}"]
    if problem:
        segment, _, number = problem.where.partition("-")
        location = f"{segment}^1^{number}" if number else f"{segment}^1"
        lines.append(f"ERR||{location}|{problem.code}|E||||{escape(str(problem))}")
    return ("\r".join(lines) + "\r").encode()


def _safe(msh: Segment | None, number: int) -> str:
    return escape(msh.get(number)[:227]) if msh else ""


# Control characters would end the segment or the block.
_ESCAPES = str.maketrans(
    {chr(n): " " for n in range(32)} | {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\"}
)


def escape(text: str) -> str:
    """Text as a value between the usual separators."""
    return text.translate(_ESCAPES)
