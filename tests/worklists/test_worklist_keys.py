"""Ranges and wildcards against a naive reading of PS3.4 C.2.2.2, and the cut of encoded answers against pydicom."""

import datetime as dt
from fnmatch import fnmatchcase

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from orchestrator.models import Patient, ScheduledProcedureStep, Site
from tests.worklists.ward import decoded, encoded, schedule
from worklists.datasets.encoding import Unreadable, cut, decode
from worklists.datasets.keys import read_question
from worklists.matching import BadKey, Keys, Range, date_range, fold_name, name_groups, start_ranges, time_range
from worklists.models import WorklistEntry
from worklists.selectors import matching_entries
from worklists.services.steps import project

days = st.dates(dt.date(2026, 7, 1), dt.date(2026, 7, 6))
times = st.times().map(lambda time: time.replace(minute=time.minute // 15 * 15, second=0, microsecond=0))
# Letters that fold, wildcards' neighbours in SQL, and other scripts.
letters = st.sampled_from("aAbÄéøß%_[]\\^ 山'")
few = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def inside(value: dt.date | dt.time, low: object, high: object) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)  # type: ignore[operator]  # both of one type


def text(low: dt.date | dt.time | None, high: dt.date | dt.time | None, form: str) -> str:
    return f"{format(low, form) if low else ''}-{format(high, form) if high else ''}"


class QueriesInSql(TestCase):
    """One step, moved about; the query in SQL must decide as the naive reference does."""

    @few
    @given(days, times, *[st.none() | days] * 2, *[st.none() | times] * 2)
    def test_two_ranges_are_the_interval_that_they_say(
        self,
        day: dt.date, time: dt.time,
        first: dt.date | None, last: dt.date | None,
        begin: dt.time | None, end: dt.time | None,
    ) -> None:  # fmt: skip
        moved(day, time)
        start, start_time = start_ranges(
            date_range("d", text(first, last, "%Y%m%d")), time_range("t", text(begin, end, "%H%M"))
        )
        if first is None and last is None:
            expected = inside(time, begin, end)
        else:
            low = dt.datetime.combine(first, begin or dt.time.min) if first else None
            high = dt.datetime.combine(last, end or dt.time.max) if last else None
            expected = inside(dt.datetime.combine(day, time), low, high)
        assert finds(Keys(start=start, start_time=start_time)) is expected

    @few
    @given(days, times, days, times)
    def test_single_values_are_that_day_and_that_time(
        self, day: dt.date, time: dt.time, wanted_day: dt.date, wanted_time: dt.time
    ) -> None:
        moved(day, time)
        start, start_time = start_ranges(
            date_range("d", f"{wanted_day:%Y%m%d}"), time_range("t", f"{wanted_time:%H%M}")
        )
        assert finds(Keys(start=start)) is (day == wanted_day)
        assert finds(Keys(start_time=start_time)) is (time == wanted_time)

    @few
    @given(st.text(letters, min_size=1, max_size=8), st.text(letters | st.sampled_from("*?"), min_size=1, max_size=8))
    def test_wildcards_match_folded_names_as_a_shell_would(self, name: str, glob: str) -> None:
        step = moved(dt.date(2026, 7, 1), dt.time(9))
        Patient.objects.filter(pk=step.procedure.order.patient_id).update(name=name.replace("\\", "/"))
        project([step.pk])
        groups = name_groups(name.replace("\\", "/"))
        folded = fold_name(glob)
        if not folded:
            return
        expected = any(fnmatchcase(group, folded.replace("[", "[[]")) for group in groups)
        assert finds(Keys(patient_names=(folded,))) is expected

    @few
    @given(st.text(letters, min_size=1, max_size=8), st.text(letters | st.sampled_from("*?"), min_size=1, max_size=8))
    def test_wildcards_of_other_keys_know_case(self, value: str, glob: str) -> None:
        step = moved(dt.date(2026, 7, 1), dt.time(9))
        WorklistEntry.objects.filter(pk=step.pk).update(patient_id=value)
        expected = fnmatchcase(value, glob.replace("[", "[[]"))
        assert finds(Keys(columns={"patient_id": (glob,)})) is expected


def moved(day: dt.date, time: dt.time) -> ScheduledProcedureStep:
    """The one step, at this time."""
    step = ScheduledProcedureStep.objects.first()
    if step is None:
        return schedule(day=day, time=time)
    step.start_date, step.start_time = day, time
    step.save()
    project([step.pk])
    return step


def finds(keys: Keys) -> bool:
    return matching_entries(keys, site_id=Site.objects.get(code="MAIN").pk).exists()


@pytest.mark.parametrize("value", ["2230", "223000", "22:30", "223000.000000"])
def test_a_time_is_what_it_means(value: str) -> None:
    assert time_range("t", value) == Range("223000000000", "223000000000")


def test_the_end_of_a_range_is_the_last_moment_that_it_can_mean() -> None:
    assert time_range("t", "10-1800") == Range("100000000000", "180059999999", True)


@pytest.mark.parametrize("value", ["*", "2026070?", "20260732", "2026070", "20260701-20260702-20260703", "x"])
def test_what_is_no_date_is_refused_without_saying_it(value: str) -> None:
    with pytest.raises(BadKey) as refusal:
        date_range("StartDate", value)
    assert value not in refusal.value.args


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_bytes_are_a_question_or_a_clear_refusal(data: bytes, syntax: str) -> None:
    try:
        question = read_question(data, syntax)
    except (BadKey, Unreadable):
        return
    assert question.wanted


@pytest.mark.django_db
@pytest.mark.parametrize("implicit", [True, False])
def test_an_answer_cut_to_nothing_less_is_what_pydicom_would_write(implicit: bool) -> None:
    step = schedule(name="Müller^Jürgen", protocol_codes=[["P1", "99LAB", "Head"]])
    answer = bytes(WorklistEntry.objects.get(step=step).answer)
    whole = decode(answer, ExplicitVRLittleEndian)
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    everything = cut(answer, {int(tag): None for tag in whole.keys()}, implicit=implicit)  # noqa: SIM118
    whole.decode()
    assert everything == encoded(whole, syntax)
    some = decoded(cut(answer, {0x00400100: {0x00400008: {0x00080100: None}}}, implicit=implicit), syntax)
    code = Dataset()
    code.CodeValue = "P1"
    assert some.ScheduledProcedureStepSequence[0].ScheduledProtocolCodeSequence[0] == code
    assert {element.keyword for element in some} == {"SpecificCharacterSet", "ScheduledProcedureStepSequence"}


def test_a_name_folds_case_and_accents_but_keeps_its_components() -> None:
    assert fold_name("Sørensen^Zoë^^") == "SORENSEN^ZOE"
    assert name_groups("Yamada^Tarou=山田^太郎=") == ["YAMADA^TAROU", "山田^太郎"]
