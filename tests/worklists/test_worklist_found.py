"""Entries are found in the index of one key, each question in another; always those that a plain look finds."""

import datetime as dt
import random
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from orchestrator.models import ScheduledProcedureStep, Site
from orchestrator.states import STEP_ON_WORKLIST, StepStatus
from tests.worklists.ward import schedule
from worklists import selectors
from worklists.matching import Keys, Range, alternatives, fold_name, name_alternatives, name_groups, narrowest
from worklists.models import MatchValue, ScheduledStation, WorklistEntry
from worklists.selectors import answers, matching_entries
from worklists.services.steps import project

TITLES, MODALITIES = ("CT_NORTH", "CT_SOUTH", "MR", "ct_north"), ("CT", "MR", "US")
NAMES, PHYSICIANS = ("DOE^JANE", "Doe^John", "Müller^Jürgen=山田^太郎", "SMITH"), ("", "HOUSE^GREGORY", "Hoult^X")
DAYS = [dt.date(2026, 7, day) for day in (4, 5, 6)]
TIMES = [dt.time(0), dt.time(8, 30), dt.time(23, 59)]
STEPS, ENTRIES = 40, 2_000


def one_value(step: ScheduledProcedureStep) -> Mapping[str, str]:
    """The keys of which a step has one value."""
    order = step.procedure.order
    return {
        "modality": step.modality,
        "patient_id": order.patient.identifiers.all()[0].value,
        "accession_number": order.accession_number,
        "requested_procedure_id": step.procedure.requested_procedure_id,
        "study_instance_uid": step.procedure.study_instance_uid,
        "sps_id": step.sps_id,
    }


def fits(step: ScheduledProcedureStep, keys: Keys, site: Site) -> bool:
    """PS3.4 C.2.2.2 and K.4.1, read plainly: of the step itself, without its worklist entry."""
    values, time = one_value(step), f"{step.start_time:%H%M%S%f}"
    return (
        step.site == site
        and step.status in STEP_ON_WORKLIST
        and all(any_fits([values[column]], globs) for column, globs in keys.columns.items())
        and (not step.station_ae_titles or any_fits(step.station_ae_titles, keys.station_ae_titles))
        and any_fits(name_groups(step.procedure.order.patient.name), keys.patient_names)
        and any_fits(name_groups(step.performing_physician), keys.performing_physician_names)
        and within(f"{step.start_date:%Y%m%d}{time}", keys.start)
        and within(time, keys.start_time)
    )


def any_fits(values: Sequence[str], globs: Sequence[str]) -> bool:
    return not globs or any(value and fnmatchcase(value, glob) for value in values for glob in globs)


def within(value: str, wanted: Range | None) -> bool:
    return wanted is None or (value >= wanted.low and (not wanted.high or value <= wanted.high))


def globs_of(draw: st.DrawFn, values: Sequence[str]) -> tuple[str, ...]:
    """Up to two alternatives: values as they are, their beginnings, their ends, one character open, and nobody's."""
    known = st.sampled_from(sorted({value for value in values if value}))
    glob = st.one_of(
        known,
        known.map(lambda value: value[:2] + "*"),
        known.map(lambda value: "*" + value[-2:]),
        known.map(lambda value: "?" + value[1:]),
        known.map(lambda value: value[:-1] + "?"),
        st.just("NOBODY"),
    )
    return tuple(draw(st.lists(glob, max_size=2, unique=True)))


def question(draw: st.DrawFn, steps: Sequence[ScheduledProcedureStep]) -> Keys:
    """Keys made of what a few of the steps have, so that some answers fit several of them."""
    known = [one_value(step) for step in draw(st.lists(st.sampled_from(steps), min_size=1, max_size=2))]
    columns = draw(st.sets(st.sampled_from(sorted(known[0])), max_size=2))
    said = {column: globs_of(draw, [each[column] for each in known]) for column in sorted(columns)}
    low, high = sorted([draw(st.sampled_from(DAYS)), draw(st.sampled_from(DAYS))])
    day = Range(f"{low:%Y%m%d}" + "0" * 12, f"{high:%Y%m%d}" + "9" * 12, True)
    return Keys(
        columns={column: globs for column, globs in said.items() if globs},
        station_ae_titles=globs_of(draw, TITLES),
        patient_names=globs_of(draw, [group for name in NAMES for group in name_groups(name)]),
        performing_physician_names=globs_of(draw, [fold_name(name) for name in PHYSICIANS]),
        start=draw(st.sampled_from([None, day, Range(day.low, "", True), Range("", day.high, True)])),
        start_time=draw(st.sampled_from([None, None, Range("083000000000", "235959999999", True)])),
    )


def whole() -> list[ScheduledProcedureStep]:
    """The steps with what is above them."""
    steps = ScheduledProcedureStep.objects.select_related("site", "procedure__order__patient").order_by("pk")
    return list(steps.prefetch_related("procedure__order__patient__identifiers"))


class FastAsPlain(TestCase):
    """Steps of two sites; one of them changes before each question."""

    steps: list[ScheduledProcedureStep]

    @classmethod
    def setUpTestData(cls) -> None:
        chance = random.Random(1)
        sites = [Site.objects.get(code="MAIN"), Site.objects.create(code="EAST", name="East")]
        cls.steps = []
        for _ in range(STEPS):
            step = schedule(
                name=chance.choice(NAMES), day=chance.choice(DAYS), time=chance.choice(TIMES),
                modality=chance.choice(MODALITIES), physician=chance.choice(PHYSICIANS),
                stations=tuple(chance.sample(TITLES, chance.choice([0, 1, 1, 2]))),
            )  # fmt: skip
            step.site = chance.choice([sites[0], *sites])
            step.status = chance.choice([*StepStatus.values, *["SCHEDULED"] * 6])
            step.save()
            cls.steps.append(step)
        project([step.pk for step in cls.steps])

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def test_what_is_found_is_what_fits(self, data: st.DataObject) -> None:
        changed = data.draw(st.sampled_from(self.steps))
        changed.station_ae_titles = data.draw(st.lists(st.sampled_from(TITLES), max_size=2))
        changed.modality = data.draw(st.sampled_from(MODALITIES))
        changed.status = data.draw(st.sampled_from(["SCHEDULED", "STARTED"]))
        changed.start_date = data.draw(st.sampled_from(DAYS))
        changed.save()
        project([changed.pk])
        site = Site.objects.get(code="MAIN")
        keys = data.draw(st.composite(question)(whole()))
        expected = [step for step in whole() if fits(step, keys, site)]
        expected.sort(key=lambda step: (step.start_date, step.start_time, step.pk))
        assert [entry.pk for entry in matching_entries(keys, site_id=site.pk)] == [step.pk for step in expected]


DAY = Range("20260705" + "0" * 12, "20260705" + "9" * 12, True)


def asked_by(*, station: str = "", name: str = "", physician: str = "", day: bool = True, **columns: str) -> Keys:
    """What a modality says of each key, read as the product reads it."""
    return Keys(
        columns={column: alternatives(column, said) for column, said in columns.items()},
        station_ae_titles=alternatives("station", station),
        patient_names=name_alternatives("name", name),
        performing_physician_names=name_alternatives("physician", physician),
        start=DAY if day else None,
    )


NAMES_INDEX = "worklists_matchvalue_value"
# What is asked → the key by which it is found, the index.
FOUND_BY: dict[str, tuple[Keys, str, str]] = {
    "station, day, modality": (
        asked_by(station="CT_NORTH", modality="CT"), "station_ae_titles", "scheduled_station"
    ),
    "stations, day": (asked_by(station="CT_NORTH\\CT_SOUTH"), "station_ae_titles", "scheduled_station"),
    "station": (asked_by(station="CT_NORTH", day=False), "station_ae_titles", "scheduled_station"),
    "station by its beginning, day": (asked_by(station="CT*"), "start", "entry_start"),
    "station by its beginning, day, modality": (
        asked_by(station="CT*", modality="CT"), "start", "entry_modality_start"
    ),
    "station by its beginning, modality": (
        asked_by(station="CT*", modality="CT", day=False), "start", "entry_modality_start"
    ),
    "station by its end, day": (asked_by(station="*NORTH"), "start", "entry_start"),
    "day, modality": (asked_by(modality="CT"), "start", "entry_modality_start"),
    "day": (asked_by(), "start", "entry_start"),
    "modality": (asked_by(modality="CT", day=False), "start", "entry_modality_start"),
    "patient id, day, modality, station": (
        asked_by(patient_id="P1", modality="CT", station="CT_NORTH"), "patient_id", "entry_patient_id"
    ),
    "patient id by its beginning, day": (asked_by(patient_id="P1*"), "patient_id", "entry_patient_id"),
    "accession number, day, modality": (
        asked_by(accession_number="A1", modality="CT"), "accession_number", "entry_accession"
    ),
    "accession number by its beginning, day": (asked_by(accession_number="A12*"), "start", "entry_start"),
    "accession number by its beginning": (
        asked_by(accession_number="A12*", day=False), "accession_number", "entry_accession"
    ),
    "accession number by its beginning, station": (
        asked_by(accession_number="A12*", station="CT_NORTH", day=False), "accession_number", "entry_accession"
    ),
    "procedure id, day": (asked_by(requested_procedure_id="R1"), "requested_procedure_id", "entry_procedure"),
    "step id, day": (asked_by(sps_id="S1"), "sps_id", "entry_sps_id"),
    "studies, day": (asked_by(study_instance_uid="1.2\\1.4"), "study_instance_uid", "entry_study_uid"),
    "name, station, day": (asked_by(name="Doe7^Jane", station="CT_NORTH"), "patient_names", NAMES_INDEX),
    "name by its beginning, station, day": (
        asked_by(name="Doe123*", station="CT_NORTH"), "station_ae_titles", "scheduled_station"
    ),
    "name by its beginning, day, modality": (asked_by(name="Doe123*", modality="CT"), "patient_names", NAMES_INDEX),
    "family name, day": (asked_by(name="Doe123^*"), "patient_names", NAMES_INDEX),
    "physician, day": (asked_by(physician="House7^*"), "performing_physician_names", NAMES_INDEX),
}  # fmt: skip


INDEXES = {index for _, _, index in FOUND_BY.values()}


def plan_of(keys: Keys, site: Site) -> str:
    """How the database does what the product sends it."""
    sent: list[tuple[str, Any]] = []

    def noted(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        sent.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(noted):
        list(answers(keys, site_id=site.pk))
    sql, params = sent[0]
    with connection.cursor() as cursor:
        cursor.execute(f"{connection.ops.explain_query_prefix()} {sql}", params)
        return "\n".join(str(row) for row in cursor.fetchall())


class Plans(TestCase):
    """Days with many entries, of many stations."""

    @classmethod
    def setUpTestData(cls) -> None:
        first = schedule(stations=("CT_0",), physician="HOUSE^GREGORY")
        model = WorklistEntry.objects.get(step=first)
        steps = ScheduledProcedureStep.objects.bulk_create(
            ScheduledProcedureStep(procedure=first.procedure, site=first.site, sps_id=f"Q{n}") for n in range(ENTRIES)
        )
        copied = {field.attname: getattr(model, field.attname) for field in WorklistEntry._meta.fields}
        entries, stations, names = [], [], []
        for number, step in enumerate(steps):
            its = {
                "step_id": step.pk, "sps_id": step.sps_id, "patient_id": f"P{number}",
                "accession_number": f"A{number}", "requested_procedure_id": f"R{number}",
                "study_instance_uid": f"1.{number}", "modality": ("CT", "MR")[number % 2],
                "start": f"202607{number // 2 % 10 + 1:02}{'0' * 12}",
            }  # fmt: skip
            entries.append(entry := WorklistEntry(**copied | its))
            stations.append(
                ScheduledStation(entry=entry, site=first.site, ae_title=f"CT_{number % 50}", start=entry.start,
                                 modality=entry.modality)
            )  # fmt: skip
            names.append(MatchValue(entry=entry, key="patient", value=f"DOE{number}^JANE"))
            names.append(MatchValue(entry=entry, key="physician", value=f"HOUSE{number % 100}^X"))
        WorklistEntry.objects.bulk_create(entries)
        ScheduledStation.objects.bulk_create(stations)
        MatchValue.objects.bulk_create(names)

    def test_a_question_reads_the_index_of_the_key_that_fewest_fit(self) -> None:
        """SQLite has no statistics in the product either; for PostgreSQL's, so small a table is best read whole."""
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("ANALYZE")
                cursor.execute("SET LOCAL enable_seqscan = off")
        site = Site.objects.get(code="MAIN")
        for asked, (keys, key, index) in FOUND_BY.items():
            plan = plan_of(keys, site)
            used = {name for name in INDEXES if name in plan}
            assert (asked, narrowest(keys), used) == (asked, key, {index}), plan


@pytest.mark.django_db
@pytest.mark.parametrize("number", [2, 3, 5])
def test_many_answers_are_read_in_portions_in_order_each_once(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "_CHUNK", 2)
    site = Site.objects.get(code="MAIN")
    late_first = [schedule(time=dt.time(hour)) for hour in range(number, 0, -1)]
    in_order = [step.pk for step in reversed(late_first)]
    assert [answer.step_id for answer in answers(Keys(start=DAY), site_id=site.pk)] == in_order


@pytest.mark.django_db
def test_a_step_that_starts_while_many_answers_are_read_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selectors, "_CHUNK", 2)
    steps = [schedule(time=dt.time(hour)) for hour in range(5)]
    reading = answers(Keys(start=DAY), site_id=steps[0].site_id)
    read = [next(reading).step_id, next(reading).step_id]
    steps[3].status = StepStatus.STARTED
    steps[3].save()
    project([steps[3].pk])
    read += [answer.step_id for answer in reading]
    assert read == [steps[number].pk for number in (0, 1, 2, 4)]


@pytest.mark.django_db
def test_what_leaves_the_worklist_leaves_the_rows_by_which_it_is_found() -> None:
    step = schedule(stations=("CT_NORTH", "CT_SOUTH", "CT_NORTH"), physician="HOUSE^GREGORY")
    assert list(ScheduledStation.objects.order_by("pk").values_list("ae_title", flat=True)) == ["CT_NORTH", "CT_SOUTH"]
    assert MatchValue.objects.count() == 2
    step.status = StepStatus.STARTED
    step.save()
    project([step.pk])
    assert not ScheduledStation.objects.exists()
    assert not MatchValue.objects.exists()
