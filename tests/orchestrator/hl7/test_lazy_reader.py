"""The lazy reader and the framer, whatever the bytes are (hypothesis)."""

import datetime as dt
import time
from collections.abc import Callable
from zoneinfo import ZoneInfo

import pytest
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hl7.mapping import orders_of, parts_of, to_order, to_patient, to_visit
from orchestrator.hl7.messages import CHARSETS, Malformed, acknowledge, escape, parse_time, read
from orchestrator.hl7.mllp import Framer
from tests.orchestrator.hl7.speech import framed, msh, orm

NOW = dt.datetime(2026, 7, 5, 8, tzinfo=dt.UTC)
# Text as a field can carry it once it is escaped: no control characters, no halves of surrogate pairs.
VALUES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=40)
ENDS = st.sampled_from(["\r", "\n", "\r\n"])


def segment_of(*values: str) -> str:
    return "|".join(["ZZZ", *(escape(each) for each in values)])


@given(values=st.lists(VALUES, min_size=1, max_size=8), end=ENDS)
def test_what_is_escaped_comes_back_as_it_was(values: list[str], end: str) -> None:
    message = read(end.join([msh("ORM^O01", "1", charset="UNICODE UTF-8"), segment_of(*values), ""]).encode())
    segment = message.first("ZZZ")
    assert segment is not None
    assert [segment.get(number) for number in range(1, len(values) + 1)] == values
    assert segment.get(len(values) + 1) == ""


@given(components=st.lists(VALUES, min_size=1, max_size=5), times=st.integers(1, 3))
def test_components_and_repetitions_are_told_apart(components: list[str], times: int) -> None:
    one = "^".join(escape(each) for each in components)
    message = read(
        "\r".join([msh("ORM^O01", "1", charset="UNICODE UTF-8"), f"ZZZ|x{one}" + f"~{one}" * times]).encode()
    )
    segment = message.first("ZZZ")
    assert segment is not None
    repetitions = segment.repetitions(1)
    assert len(repetitions) == times + 1
    assert [repetitions[-1].get(number + 1) for number in range(len(components))] == components


@given(raw=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        name = read(raw).msh.name
    except Malformed as problem:
        name = problem.ack_code
    assert name in ("MSH", "AE", "AR")


@given(tail=st.binary(max_size=200), charset=st.sampled_from(sorted(CHARSETS)))
def test_any_bytes_behind_a_header_are_read_or_refused_and_answered(tail: bytes, charset: str) -> None:
    raw = msh("ADT^A01", "77", charset=charset).encode() + b"\r" + tail
    try:
        message = read(raw)
    except Malformed as problem:
        answer = acknowledge(None, problem.ack_code, problem=problem, now=NOW)
    else:
        assert all(segment.get(1) is not None for segment in message.segments())
        _ = (message.sent_at, parts_of(message))
        answer = acknowledge(message, "AA", now=NOW)
    assert read(answer).first("MSA") is not None


@given(header=st.lists(st.text(max_size=12), min_size=8, max_size=18))
def test_an_acknowledgement_has_its_own_segments_only_whatever_the_header_says(header: list[str]) -> None:
    raw = ("MSH|^~\\&|" + "|".join(header)).encode(errors="replace")
    try:
        message = read(raw)
    except Malformed:
        return
    lines = acknowledge(message, "AE", problem=Malformed("PID-3", "empty", 101), now=NOW).split(b"\r")
    assert [line[:3] for line in lines] == [b"MSH", b"MSA", b"ERR", b""]


@given(text=st.one_of(st.text(max_size=24), st.from_regex(r"\d{4,14}(\.\d+)?([+-]\d{4})?", fullmatch=True)))
def test_a_time_is_a_moment_or_none(text: str) -> None:
    moment = parse_time(text)
    assert moment is None or moment.tzinfo is dt.UTC


def test_times_with_a_zone_are_moved_to_utc() -> None:
    assert parse_time("20260705103000+0200") == dt.datetime(2026, 7, 5, 8, 30, tzinfo=dt.UTC)
    assert parse_time("2026") == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert parse_time("00010101000000+1400") is None
    assert parse_time("yesterday") is None


def test_a_time_without_a_zone_is_of_the_zone_that_is_meant_but_for_the_hour_that_comes_twice() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert parse_time("20260705103000", berlin) == dt.datetime(2026, 7, 5, 8, 30, tzinfo=dt.UTC)
    assert parse_time("20261025023000", berlin) is None
    assert parse_time("20261025023000+0200", berlin) == dt.datetime(2026, 10, 25, 0, 30, tzinfo=dt.UTC)
    assert parse_time("20260329023000", berlin) is not None


@pytest.mark.parametrize(
    ("zone", "twice"),
    [("Europe/London", "20261025013000"), ("Europe/Lisbon", "20261025013000"), ("Atlantic/Azores", "20261025003000")],
)
def test_the_hour_that_comes_twice_tells_no_moment_in_greenwichs_zone_either(zone: str, twice: str) -> None:
    assert parse_time(twice, ZoneInfo(zone)) is None
    assert parse_time(f"{twice[:8]}033000", ZoneInfo(zone)) is not None


def test_escapes_of_control_characters_cannot_forge_segments_in_the_answer() -> None:
    raw = msh(r"ADT^A01", r"1\X0D\MSA|AA").encode().replace(b"|2.5.1", rb"|2.5\X0D\MSA\F\AR")
    answer = acknowledge(read(raw), "AA", now=NOW)
    assert answer.count(b"\rMSA|") == 1


@pytest.mark.parametrize(
    ("raw", "where"),
    [
        (b"", "MSH"),
        (b"PID|1||X", "MSH"),
        (b"\xff\xfe\x00M", "MSH"),
        (b"MSH|^^^^|RIS", "MSH-2"),
        (b"MSH|^~|RIS|NORTH", "MSH-2"),
        (msh("ADT^A01", "1").encode() + b"\rPID|1||A\x0bMSH|", "MSH"),
        (msh("ADT^A01", "1").encode() + b"\rPID|1||A\0B", "MSH"),
        (msh("ADT^A01", "1", charset="CNS 11643-1992").encode(), "MSH-18"),
        (msh("ADT^A01", "1", charset="ASCII").encode() + b"\rPID|M\xfcller", "MSH-18"),
    ],
)
def test_what_is_no_message_is_refused_with_the_place(raw: bytes, where: str) -> None:
    with pytest.raises(Malformed) as problem:
        read(raw)
    assert problem.value.where == where
    assert problem.value.ack_code == ("AE" if where == "MSH-18" else "AR")


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("8859/1", "latin-1"), ("UNICODE UTF-8", "utf-8"), ("8859/5", "iso8859-5"), ("GB 18030-2000", "gb18030")],
)
def test_text_is_read_by_the_charset_of_msh_18(charset: str, codec: str) -> None:
    name = {"latin-1": "Müller", "utf-8": "山田", "iso8859-5": "Иванов", "gb18030": "王"}[codec]
    message = read((msh("ADT^A01", "1", charset=charset) + f"\rPID|1||1||{name}").encode(codec))
    segment = message.first("PID")
    assert segment is not None
    assert segment.get(5) == name


def said(charset: str, text: bytes) -> str:
    """PID-5 of a message in that character set."""
    segment = read(msh("ADT^A01", "1", charset=charset).encode() + b"\rPID|1||1||" + text).first("PID")
    assert segment is not None
    return segment.get(5)


@pytest.mark.parametrize("charset", ["~ISO IR87", "ASCII~ISO IR87", "ISO IR14~ISO IR87~ISO IR159", "ISO IR87"])
def test_a_japanese_name_is_read_by_the_escape_sequences_of_the_sets_that_msh_18_names(charset: str) -> None:
    assert said(charset, "山田".encode("iso2022_jp")) == "山田"


def test_escape_sequences_of_a_set_that_msh_18_does_not_name_are_refused_and_not_taken_for_a_name() -> None:
    with pytest.raises(Malformed) as problem:
        said("", "山田".encode("iso2022_jp"))
    assert problem.value.where == "MSH-18"


@pytest.mark.parametrize(("charset", "escaped"), [("UNICODE UTF-8", r"M\XC3BC\ller"), ("8859/1", r"M\XFC\ller")])
def test_hexadecimal_escapes_are_in_the_messages_own_character_set(charset: str, escaped: str) -> None:
    assert said(charset, escaped.encode()) == "Müller"


SEGMENTS = st.sampled_from(["ORC|NW|PL1|F1", "ORC|CA|PL2", "OBR|1|||C^c||||||||||||||A|RP1", "OBR|2", "TQ1|1", "NTE|1"])


@given(segments=st.lists(SEGMENTS, max_size=12))
def test_no_segment_of_an_order_message_belongs_to_no_order(segments: list[str]) -> None:
    message = read("\r".join([msh("ORM^O01", "1"), *segments]).encode())
    parts = parts_of(message)
    assert sum(part["OBR"] is not None for part in parts) == len(
        [each for number, each in enumerate(segments) if each[:3] == "OBR" and "ORC" in "".join(segments[:number])]
    )
    assert sum(map(len, orders_of(message))) == len(parts)
    assert all(part["ORC"] for part in parts)


@given(tail=st.text(max_size=120), kind=st.sampled_from(["ORM^O01", "ADT^A08"]))
def test_whatever_follows_the_header_is_mapped_or_refused_by_a_field(tail: str, kind: str) -> None:
    raw = "\r".join([msh(kind, "1", charset="UNICODE UTF-8"), f"PID|{tail}", f"ORC|NW|{tail}", f"OBR|1|{tail}"])
    try:
        message = read(raw.encode(errors="replace"))
        named = to_patient(message).name
        for parts in orders_of(message):
            to_order(message, parts)
        to_visit(message)
    except Malformed as problem:
        named = problem.where
    assert named is None or isinstance(named, str)


@given(
    contents=st.lists(st.binary(max_size=60).map(lambda b: b.replace(b"\x1c\r", b"")), max_size=5),
    between=st.binary(max_size=5).map(lambda b: b.replace(b"\x0b", b"")),
    cuts=st.lists(st.integers(1, 30), min_size=1, max_size=40),
)
def test_frames_are_the_same_however_the_stream_is_cut(contents: list[bytes], between: bytes, cuts: list[int]) -> None:
    # A message that ends in half an end would make another stream.
    contents = [each.rstrip(b"\x1c") for each in contents]
    stream, framer, found = between.join(framed(each) for each in contents), Framer(maximum=40), []
    while stream:
        size = cuts.pop(0) if cuts else len(stream)
        found += framer.feed(stream[:size])
        stream = stream[size:]
    assert [frame.whole for frame in found] == [len(each) <= 40 for each in contents]
    assert [frame.raw for frame in found if frame.whole] == [each for each in contents if len(each) <= 40]
    assert not framer.inside


def test_ten_orders_are_read_in_less_time_than_a_whole_parser_needs_for_one() -> None:
    """The reader is on the hot path. Both on this thread's own clock, so that others who use the machine count for
    neither; how much quicker it is, the benchmarks say.
    """
    raw = orm()

    def ours() -> None:
        for _ in range(10):
            message = read(raw.encode())
            assert message.first("OBR") is not None

    assert seconds_of(ours) < seconds_of(lambda: parse_message(raw, validation_level=VALIDATION_LEVEL.TOLERANT))


def seconds_of(work: Callable[[], object]) -> float:
    """Of this thread on a processor, the best of five."""
    times = []
    for _ in range(5):
        begun = time.thread_time()
        work()
        times.append(time.thread_time() - begun)
    return min(times)
