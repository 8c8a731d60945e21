"""Reading HL7 v2 lazily, and answering it: segments are split when asked for, fields when named.

On the hot path a full parse with a dictionary would cost a thousand times more (HL7 v2.5.1 chapter 2).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

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
    if charset in CHARSETS and repetition not in charset:
        return CHARSETS[charset]
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


@dataclass(frozen=True, slots=True, eq=False)
class Encoding:
    """MSH-1 and MSH-2; one object for all messages that have the same."""

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
        return _escape_sequence(self.escape).sub(self._one, text)

    def value(self, text: str, component: int, subcomponent: int) -> str:
        """A component of one repetition, unescaped; empty when absent."""
        if self.component in text:
            parts = text.split(self.component, component)
            if component > len(parts):
                return ""
            text = parts[component - 1]
        elif component > 1:
            return ""
        if self.subcomponent in text:
            parts = text.split(self.subcomponent, subcomponent)
            if subcomponent > len(parts):
                return ""
            text = parts[subcomponent - 1]
        elif subcomponent > 1:
            return ""
        return self.unescape(text) if self.escape in text else text

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


@lru_cache(maxsize=128)
def _escape_sequence(escape: str) -> re.Pattern[str]:
    e = re.escape(escape)
    return re.compile(f"{e}([^{e}]*){e}")


@dataclass(slots=True)
class Segment:
    """One segment; fields by number, as in the standard (MSH-1 is the separator)."""

    name: str
    fields: list[str]
    encoding: Encoding
    # Nothing in it is repeated, escaped or divided below its components: most segments are so.
    plain: bool

    def raw(self, number: int) -> str:
        """The field as sent, still escaped; empty when absent."""
        return self.fields[number] if number < len(self.fields) else ""

    def repetitions(self, number: int) -> list["Repetition"]:
        """The field's repetitions; none when it is empty."""
        text = self.raw(number)
        return [Repetition(each, self.encoding) for each in text.split(self.encoding.repetition)] if text else []

    def get(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """The first repetition's component, unescaped; empty when absent. `""` (delete) comes as it is."""
        # Asked some fifty times for each message, mostly for what is not there.
        if number >= len(self.fields) or not (text := self.fields[number]):
            return ""
        encoding = self.encoding
        if not self.plain:
            return encoding.value(text.partition(encoding.repetition)[0], component, subcomponent)
        if encoding.component in text:
            parts = text.split(encoding.component, component)
            text = parts[component - 1] if component <= len(parts) else ""
        elif component > 1:
            return ""
        return text if subcomponent == 1 else ""


@dataclass(slots=True)
class Repetition:
    """One repetition of a field, still escaped."""

    text: str
    encoding: Encoding

    def parts(self) -> list[str]:
        """All components, still escaped."""
        return self.text.split(self.encoding.component)

    def get(self, component: int = 1, subcomponent: int = 1) -> str:
        return self.encoding.value(self.text, component, subcomponent)

    def first(self, number: int) -> list[str]:
        """What `get` gives for as many components, split once."""
        encoding = self.encoding
        parts = self.text.split(encoding.component, number)[:number]
        if encoding.subcomponent in self.text or encoding.escape in self.text:
            parts = [encoding.value(part, 1, 1) for part in parts]
        return parts + [""] * (number - len(parts))


@dataclass
class Message:
    """A message: MSH read, the other segments when asked for, each of them once."""

    lines: list[str]
    encoding: Encoding
    # MSH-18 as sent.
    charset: str
    # What times without a zone are told in.
    zone: tzinfo = UTC
    # By their places in `lines`, once they are split.
    _segments: dict[int, Segment] = field(default_factory=dict, repr=False, compare=False)
    # Where each name comes first; empty until somebody asks.
    _places: dict[str, int] = field(default_factory=dict, repr=False, compare=False)
    _message_type: str | None = field(default=None, repr=False, compare=False)
    _sent_at: tuple[datetime | None] | None = field(default=None, repr=False, compare=False)

    @property
    def msh(self) -> Segment:
        return self._segment(0)

    def _segment(self, place: int) -> Segment:
        segment = self._segments.get(place)
        if segment is None:
            line, encoding = self.lines[place], self.encoding
            fields = line.split(encoding.separator)
            if fields[0] == "MSH":
                fields.insert(1, encoding.separator)
                # Behind the encoding characters themselves.
                line = line[8:]
            plain = not (encoding.repetition in line or encoding.escape in line or encoding.subcomponent in line)
            segment = self._segments[place] = Segment(fields[0], fields, encoding, plain)
        return segment

    def segments(self, *names: str) -> Iterator[Segment]:
        """The segments of these names, in order; all without names."""
        for place, line in enumerate(self.lines):
            if not names or line[:3] in names:
                yield self._segment(place)

    def first(self, name: str) -> Segment | None:
        if not self._places:
            self._places = {line[:3]: place for place, line in reversed(list(enumerate(self.lines)))}
        place = self._places.get(name)
        return None if place is None else self._segment(place)

    @property
    def message_type(self) -> str:
        """MSH-9 as TYPE^EVENT."""
        if self._message_type is None:
            self._message_type = f"{self.msh.get(9)}^{self.msh.get(9, 2)}".rstrip("^")
        return self._message_type

    @property
    def control_id(self) -> str:
        return self.msh.get(10)

    @property
    def sent_at(self) -> datetime | None:
        if self._sent_at is None:
            self._sent_at = (self.moment(self.msh.get(7)),)
        return self._sent_at[0]

    def moment(self, text: str) -> datetime | None:
        """A time of the message as a moment; None when it tells none."""
        return parse_time(text, self.zone)


_TIME = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:\.\d+)?([+-]\d\d[0-5]\d)?")


def parse_time(text: str, zone: tzinfo = UTC) -> datetime | None:
    """TS/DTM (chapter 2A): YYYY[MM[DD[HH[MM[SS[.S]]]]]][+ZZZZ], in `zone` when it names none.

    None when it is no time, and for a wall clock that the end of summer time makes twice: it tells no moment.
    """
    found = _TIME.fullmatch(text.strip()) if text else None
    if not found:
        return None
    year, month, day, hour, minute, second, named = found.groups("0")
    try:
        if named != "0":
            zone = timezone(timedelta(hours=int(named[:3]), minutes=int(named[0] + named[3:])))
        wall = datetime(
            int(year), int(month) or 1, int(day) or 1, int(hour), int(minute), int(second), tzinfo=zone
        )  # fmt: skip
        if zone is UTC:
            return wall
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
    line, encoding, charset = _header(raw.lstrip(_BEFORE))
    text = line.replace(b"\0", b"").decode(codec_of(charset, encoding.repetition) or "latin-1", errors="replace")
    return Message([text], encoding, charset)


_LONGEST_HEADER = 65536


def _header(body: bytes) -> tuple[bytes, Encoding, str]:
    """The first line of a message, its encoding characters and MSH-18. Raises Malformed."""
    line = body[:_LONGEST_HEADER].partition(b"\r")[0].partition(b"\n")[0]
    header = line.decode("latin-1").replace("\0", "")
    if not line.startswith(b"MSH") or len(header) < 8:
        raise Malformed("MSH", "the message does not begin with an MSH segment", 100)
    separator = header[3]
    fields = header.split(separator)
    charset = fields[17].strip() if len(fields) > 17 else ""
    return line, _encoding(separator, fields[1]), charset


@lru_cache(maxsize=256)
def _encoding(separator: str, marks: str) -> Encoding:
    signs = {separator, *marks}
    if len(marks) < 4 or len(signs) != len(marks) + 1 or any(not "!" <= c <= "~" or c.isalnum() for c in signs):
        raise Malformed("MSH-2", "the encoding characters are not four different signs")
    return Encoding(separator, *marks[:4])


@lru_cache(maxsize=256)
def _written_in(encoding: Encoding, codec: str) -> Encoding:
    return replace(encoding, codec=codec)


def read(raw: bytes, *, default_charset: str = "", zone: tzinfo = UTC) -> Message:
    """A message from its bytes. Raises Malformed. Segments end with CR; LF and CRLF are taken too.

    `default_charset` and `zone`: what is meant where the message names none.
    """
    # Blanks at the end belong to the last field.
    body = raw.lstrip(_BEFORE).rstrip(b"\x0b\x1c\r\n\0")
    _, encoding, charset = _header(body)
    if b"\0" in body or b"\x0b" in body or b"\x1c" in body:
        # Half a message, then another one, in one block; or not text at all.
        raise Malformed("MSH", "the message contains NUL, start of block or file separator bytes")
    charset = charset or default_charset
    codec = codec_of(charset, encoding.repetition)
    if codec is None:
        raise Malformed("MSH-18", f"the character set {charset[:40]} is not known", 103)
    try:
        text = body.decode(codec)
    except UnicodeDecodeError as error:
        raise Malformed("MSH-18", f"byte {error.start} is no {codec} text, which MSH-18 says it is") from error
    if "\x1b" in text:
        raise Malformed("MSH-18", "the text switches to a character set that MSH-18 does not name", 103)
    lines = [line for line in text.replace("\n", "\r").split("\r") if line and not line.isspace()]
    return Message(lines, _written_in(encoding, codec), charset, zone)


def acknowledge(
    message: Message | None, code: str, *, problem: Malformed | None = None, control_id: str = "", now: datetime
) -> bytes:
    """An ACK (chapter 2.9.2): MSA with `code`, and ERR (where, table 0357, severity, text) for a problem."""
    msh = message.msh if message else None
    said = [msh.get(number)[:_LONGEST_SAID] if msh else "" for number in (5, 6, 3, 4, 11, 12)]
    names, kind, rest = _answers_to(*said, msh.get(9, 2)[:3] if msh else "")
    about = escape(msh.get(10)[:_LONGEST_SAID]) if msh else ""
    time = f"{now.year:04}{now.month:02}{now.day:02}{now.hour:02}{now.minute:02}{now.second:02}+0000"
    lines = [f"{names}|{time}||{kind}|{control_id}|{rest}", f"MSA|{code}|{about}"]
    if problem:
        segment, _, number = problem.where.partition("-")
        location = f"{segment}^1^{number}" if number else f"{segment}^1"
        lines.append(f"ERR||{location}|{problem.code}|E||||{escape(str(problem))}")
    return ("\r".join(lines) + "\r").encode()


_LONGEST_SAID = 227


@lru_cache(maxsize=256)
def _answers_to(
    application: str, facility: str, sender: str, its_facility: str, processing: str, version: str, event: str
) -> tuple[str, str, str]:
    """What the headers of all answers to a sender have: up to the time, the type, and what follows the control id."""
    names = "|".join(["MSH", "^~\\&", *map(escape, (application, facility, sender, its_facility))])
    kind = f"ACK^{escape(event)}^ACK" if event else "ACK"
    return names, kind, f"{escape(processing) or 'P'}|{escape(version) or '2.5.1'}||||||UNICODE UTF-8"


# Control characters would end the segment or the block.
_ESCAPES = str.maketrans(
    {chr(n): " " for n in range(32)} | {"\\": "\\E\\", "|": "\\F\\", "^": "\\S\\", "~": "\\R\\", "&": "\\T\\"}
)


def escape(text: str) -> str:
    """Text as a value between the usual separators."""
    return text.translate(_ESCAPES)
