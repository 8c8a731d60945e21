"""What the standard says against a message, for the person who looks at one that failed.

By hl7apy's dictionary of the message's version, on our own reader: nothing is applied or refused for it.
"""

import re
import time
from collections.abc import Iterator
from typing import Any

from hl7apy import SUPPORTED_LIBRARIES, load_reference
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.exceptions import ChildNotFound, HL7apyException
from hl7apy.factories import datatype_factory

from orchestrator.hl7.messages import Malformed, Message, Repetition, Segment, read

# A page is not to wait for a message that somebody made to be slow.
_LONGEST = 262_144
_SECONDS = 1.0
_REPETITIONS = 20
_SENTENCES = 30
_LONGEST_TEXT = 2000
_LONGEST_VALUE = 100
# Types whose values have a form; all others are text.
_FORMED = {"DT": "date", "TM": "time", "DTM": "date and time", "NM": "number", "SI": "sequence number"}
_DELETE = '""'
# The version that we speak: what a date or a number is, it says of all.
_DICTIONARY = "2.5.1"
# Events that share the structure of another one (table 0354), for senders that leave MSH-9.3 out.
_STRUCTURES = {"ADT_A04": "ADT_A01", "ADT_A08": "ADT_A01", "ADT_A31": "ADT_A05"}

# As hl7apy keeps it: (name, ("leaf" or "sequence", parts, datatype, long name, table, length), (least, most), kind).
Child = Any


def faults(raw: bytes, *, default_charset: str = "") -> list[str]:
    """Sentences on what is against the standard; none when nothing was found. Never raises, and gives up in time."""
    if len(raw) > _LONGEST:
        return [f"The message is longer than {_LONGEST} bytes: it was not compared with the standard."]
    try:
        message = read(raw, default_charset=default_charset)
    except Malformed as problem:
        return [f"{problem.where}: {problem.why}."]
    version = version_of(message)
    for each in (version, _DICTIONARY):
        # Read once, from disk: that is not the message's time.
        load_reference("MSH", "Segment", each)
    end = time.monotonic() + _SECONDS
    found: list[str] = []
    for sentence in _of_message(message, version):
        if sentence and sentence not in found:
            found.append(sentence)
        if len(found) == _SENTENCES or time.monotonic() > end:
            return [*found, "There may be more: the comparison ended here."]
    return found


def version_of(message: Message) -> str:
    """The version of MSH-12; the last one before it, or the oldest, when the dictionary has not got that one."""
    said = _numbers(message.msh.get(12)) or (2, 5, 1)
    known = sorted(SUPPORTED_LIBRARIES, key=_numbers)
    return str(next((each for each in reversed(known) if _numbers(each) <= said), known[0]))


def _numbers(version: str) -> tuple[int, ...]:
    found = re.fullmatch(r"\d{1,2}(\.\d{1,2}){0,3}", version.strip(), re.ASCII)
    return tuple(map(int, found[0].split("."))) if found else ()


def _of_message(message: Message, version: str) -> Iterator[str]:
    """A sentence for each fault, and an empty one after each field: whoever asks may stop anywhere."""
    for segment in message.segments():
        yield from _of_segment(segment, version)
    names = {line[:3] for line in message.lines}
    said = (message.msh.get(9, 3) or f"{message.msh.get(9)}_{message.msh.get(9, 2)}")[:20]
    structure = _STRUCTURES.get(said, said)
    for name in _required(_children(structure, "Message", version)):
        if name not in names:
            yield f"{name}: the segment is missing; {structure} must have it."


def _children(name: str, kind: str, version: str) -> list[Child]:
    """What a segment or message is made of; empty when the dictionary has no such one."""
    try:
        return list(load_reference(name, kind, version)[1])
    except ChildNotFound:
        return []


def _required(children: list[Child]) -> Iterator[str]:
    """The segments that a message must have: of its groups, those that it must have too."""
    for name, reference, (least, _), kind in children:
        if least and kind == "SEG":
            yield name
        elif least and reference[0] == "sequence":
            yield from _required(reference[1])


def _of_segment(segment: Segment, version: str) -> Iterator[str]:
    name = segment.name[:10]
    children = _children(segment.name, "Segment", version)
    if not children:
        yield "" if name.startswith("Z") else f"{name}: HL7 {version} has no such segment."
        return
    for number, (_, reference, occurrences, _) in enumerate(children, 1):
        yield from _of_field(segment, number, (reference, occurrences), version)
        yield ""
    if any(segment.fields[len(children) + 1 :]):
        yield f"{name}: there are values after {name}-{len(children)}, the last field of HL7 {version}."


def _of_field(segment: Segment, number: int, said: Child, version: str) -> Iterator[str]:
    where, (reference, (least, most)) = f"{segment.name}-{number}", said
    called = str(reference[3]).replace("_", " ").lower()
    raw, mark = segment.raw(number), segment.encoding.repetition
    if not raw:
        if least:
            yield f"{where} ({called}) is required, and empty."
        return
    if where in ("MSH-1", "MSH-2"):
        # The encoding characters themselves are no values.
        return
    if most == 0:
        yield f"{where} ({called}) has a value, and is no longer used in this version."
    elif most != -1 and raw.count(mark) >= most:
        yield f"{where} ({called}) is repeated {raw.count(mark) + 1} times; {most} may be."
    for text in raw.split(mark, _REPETITIONS)[:_REPETITIONS]:
        if len(text) <= _LONGEST_TEXT:
            values = _of_value(Repetition(text, segment.encoding), reference, version)
            yield from (f"{where} ({called}) {fault}." for fault in values)


def _of_value(repetition: Repetition, reference: Child, version: str) -> Iterator[str]:
    kind, parts, datatype, _, table, _ = reference
    if kind == "leaf":
        yield from _of_text(repetition.get(), datatype)
        if datatype == "ID" and table and not _is_in(repetition.get(), table, version):
            yield f"is none of the values of HL7 table {table.removeprefix('HL7')}"
        return
    for number, (_, part, _, _) in enumerate(parts, 1):
        # The time in a TS, which the dictionary calls a text before version 2.5; also where TS is a component.
        form = "DTM" if part[2] == "TS" or (datatype, number) == ("TS", 1) else part[2]
        for fault in _of_text(repetition.get(number), form):
            yield f"{fault} in component {number}" if len(parts) > 1 and number > 1 else fault


def _of_text(text: str, datatype: str) -> Iterator[str]:
    if datatype not in _FORMED or text in ("", _DELETE):
        return
    try:
        if len(text) <= _LONGEST_VALUE:
            datatype_factory(datatype, text, _DICTIONARY, VALIDATION_LEVEL.STRICT)
            return
    except (ValueError, ArithmeticError, HL7apyException):
        pass
    yield f"is no {_FORMED[datatype]} ({datatype})"


def _is_in(value: str, table: str, version: str) -> bool:
    """HL7's own tables (ID) are closed; of those that a site fills (IS) the dictionary knows examples only."""
    if value in ("", _DELETE):
        return True
    try:
        return value in load_reference(table, "Table", version)[1]
    except ChildNotFound:
        return True
