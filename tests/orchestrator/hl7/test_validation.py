"""What the standard says against a message: plain sentences, and an answer whatever it is given."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.hl7.messages import read
from orchestrator.hl7.validation import faults, version_of
from tests.orchestrator.hl7.speech import adt, orm, pid, without

# EVN-2 is required; the tests' ADT has none.
ADT = adt().replace("EVN|A01", "EVN|A01|20260705080000")


@pytest.mark.parametrize("version", ["2.3.1", "2.5.1"])
@pytest.mark.parametrize("message", [orm(), ADT])
def test_a_message_by_the_standard_has_no_fault(message: str, version: str) -> None:
    assert faults(message.replace("|2.5.1|", f"|{version}|").encode()) == []


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (adt(), "EVN-2 (recorded date time) is required, and empty."),
        (orm(person=pid(born="1970022x")), "PID-7 (date time of birth) is no date and time (DTM)."),
        (orm(start="never"), "ORC-7 (quantity timing) is no date and time (DTM) in component 4."),
        (orm().replace("PID|1|", "PID|one|"), "PID-1 (set id pid) is no sequence number (SI)."),
        (without(orm(), "PID", 5), "PID-5 (patient name) is required, and empty."),
        (orm().replace("|F\r", "|F~M\r"), "PID-8 (administrative sex) is repeated 2 times; 1 may be."),
        (orm("QQ"), "ORC-1 (order control) is none of the values of HL7 table 0119."),
        (without(orm(), "ORC"), "ORC: the segment is missing; ORM_O01 must have it."),
        (without(ADT.replace("A01", "A04"), "PV1"), "PV1: the segment is missing; ADT_A01 must have it."),
        (orm() + "FOO|1\r", "FOO: HL7 2.5.1 has no such segment."),
        (orm().replace("|F\r", f"|F{'|' * 40}x\r"), "PID: there are values after PID-39, the last field of HL7 2.5.1."),
        ("PID|1", "MSH: the message does not begin with an MSH segment."),
    ],
)
@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_a_fault_is_said_with_its_field(message: str, sentence: str, end: str) -> None:
    assert faults(message.replace("\r", end).encode()) == [sentence]


def test_segments_of_a_site_and_values_that_delete_are_no_faults() -> None:
    assert faults((orm(person=pid(born='""')) + "ZDS|1.2^X^Application^DICOM\r").encode()) == []


@pytest.mark.parametrize(
    ("said", "meant"),
    [("2.5.1", "2.5.1"), ("2.9", "2.8.2"), ("2.3.2", "2.3.1"), ("1.0", "2.1"), ("", "2.5.1"), ("x", "2.5.1")],
)
def test_a_version_that_the_dictionary_has_not_got_is_read_as_the_one_before(said: str, meant: str) -> None:
    assert version_of(read(orm().replace("|2.5.1|", f"|{said}|").encode())) == meant


@given(st.binary(max_size=300) | st.text("|^~&\\\rMSHPIDORBZ0129.", max_size=300).map(str.encode))
def test_whatever_comes_is_answered(rest: bytes) -> None:
    assert isinstance(faults(rest), list)
    assert isinstance(faults(orm().encode() + rest), list)


@pytest.mark.parametrize(
    "rest", ["|" * 260_000, "~" * 260_000, "^" * 260_000, "&" * 260_000, "\rZ" * 130_000, "\rA" * 130_000,
             "\rPID|" + ("1^" * 999 + "~") * 100, "\rPID|1" * 40_000, "\rOBX|1|NM|||" + "9" * 250_000, "x" * 2_000_000],
)  # fmt: skip
def test_a_message_that_was_made_to_be_slow_is_given_up_in_time(rest: str) -> None:
    begin = time.thread_time()
    found = faults((orm() + "PID|1" + rest).encode())
    assert time.thread_time() - begin < 5
    assert 0 < len(found) <= 31
