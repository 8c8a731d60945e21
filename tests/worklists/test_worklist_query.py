"""C-FIND on the Modality Worklist: what matches, what comes back, how it ends (PS3.4 annex K)."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from orchestrator.models import (
    ApplicationEntity,
    Device,
    ImagingServiceRequest,
    Patient,
    RequestedProcedure,
    ScheduledProcedureStep,
    Site,
)
from orchestrator.services.orders import OrderData, ProcedureData, StepData, place
from orchestrator.services.patients import IdentifierData, PatientData, upsert_patient
from orchestrator.services.visits import VisitData, upsert_visit
from orchestrator.services.workflow import transition
from tests.worklists.ward import ask, decoded, found, keys, peer, schedule
from worklists.models import WorklistEntry, WorklistQuery
from worklists.services import queries
from worklists.services.steps import project

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("step", "top", "expected"),
    [
        ({"ScheduledStationAETitle": "CT_NORTH"}, {}, True),
        ({"ScheduledStationAETitle": "MR_EAST"}, {}, False),
        ({"ScheduledStationAETitle": "ct_north"}, {}, False),
        ({"ScheduledStationAETitle": "MR_EAST\\CT_NORTH"}, {}, True),
        ({"Modality": "CT"}, {}, True),
        ({"Modality": "MR"}, {}, False),
        ({"Modality": "*"}, {}, True),
        ({"ScheduledProcedureStepStartDate": "20260705"}, {}, True),
        ({"ScheduledProcedureStepStartDate": "20260706"}, {}, False),
        ({"ScheduledProcedureStepStartDate": "20260704-20260706"}, {}, True),
        ({"ScheduledProcedureStepStartDate": "-20260704"}, {}, False),
        ({"ScheduledProcedureStepStartTime": "1030"}, {}, True),
        ({"ScheduledProcedureStepStartTime": "1031-"}, {}, False),
        ({"ScheduledPerformingPhysicianName": "house*"}, {}, True),
        ({"ScheduledPerformingPhysicianName": "WILSON*"}, {}, False),
        ({}, {"PatientName": "muller^jurgen"}, True),
        ({}, {"PatientName": "MÜL*"}, True),
        ({}, {"PatientName": "M?ller^*"}, True),
        ({}, {"PatientName": "Muller"}, False),
        ({}, {"PatientName": "muller^jurgen^*^*"}, True),
        ({}, {"PatientName": "Muller^*^X"}, False),
        ({}, {"PatientName": "*"}, True),
        ({}, {"PatientID": "00123"}, True),
        ({}, {"PatientID": "123"}, False),
        ({}, {"PatientID": "001*"}, True),
        ({}, {"PatientID": "[0]0123"}, False),
    ],
)
def test_each_matching_key_decides(step: dict[str, Any], top: dict[str, Any], expected: bool) -> None:
    scheduled = schedule(name="Müller^Jürgen", patient_id="00123", physician="House^Gregory")
    assert found(keys(step, **top)) == ([scheduled.sps_id] if expected else [])


def test_accession_procedure_study_and_step_ids_match() -> None:
    step, _ = schedule(), schedule()
    procedure = step.procedure
    assert found(keys(AccessionNumber=procedure.order.accession_number)) == [step.sps_id]
    assert found(keys(RequestedProcedureID=procedure.requested_procedure_id)) == [step.sps_id]
    assert found(keys(StudyInstanceUID=procedure.study_instance_uid)) == [step.sps_id]
    assert found(keys({"ScheduledProcedureStepID": step.sps_id})) == [step.sps_id]


def test_two_ranges_of_date_and_time_are_one_interval() -> None:
    for day, hour in ((5, 9), (5, 11), (6, 3), (7, 17), (7, 19)):
        schedule(day=dt.date(2026, 7, day), time=dt.time(hour))
    dates, times = "20260705-20260707", "1000-1800"
    wanted = {"ScheduledProcedureStepStartDate": dates, "ScheduledProcedureStepStartTime": times}
    starts = WorklistEntry.objects.filter(sps_id__in=found(keys(wanted))).values_list("start", flat=True)
    assert sorted(start[6:10] for start in starts) == ["0511", "0603", "0717"]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("asked", "answered"),
    [("MR_EAST", "MR_EAST"), ("", "CT_NORTH"), ("MR*", "CT_NORTH"), ("MR_EAST\\MR_WEST", "CT_NORTH")],
)
def test_a_step_without_station_shows_at_every_station_as_its_own(asked: str, answered: str, syntax: str) -> None:
    schedule(stations=())
    pending, _ = ask(keys({"ScheduledStationAETitle": asked}), syntax=syntax)
    item = decoded(pending.dataset, syntax).ScheduledProcedureStepSequence[0]
    assert item.ScheduledStationAETitle == answered
    whole = keys()
    whole.ScheduledProcedureStepSequence = []
    item = decoded(ask(whole, syntax=syntax)[0].dataset, syntax).ScheduledProcedureStepSequence[0]
    assert (item.ScheduledStationAETitle, item.Modality) == ("CT_NORTH", "CT")


def test_what_is_type_1_has_a_value_whatever_the_order_left_out() -> None:
    step = schedule(day=None, time=None, modality="", stations=())
    RequestedProcedure.objects.update(description="", code_meaning="", code_value="")
    ImagingServiceRequest.objects.update(created_at=dt.datetime(2026, 7, 4, 23, 30, tzinfo=dt.UTC))
    Site.objects.update(time_zone="Europe/Vienna")
    project([step.pk])
    top = dict.fromkeys(("RequestedProcedureDescription", "RequestedProcedureID", "StudyInstanceUID"), "")
    request = keys({"ScheduledProcedureStepStartDate": "20260705", "Modality": "OT"}, **top)
    item = request.ScheduledProcedureStepSequence[0]
    for keyword in ("ScheduledStationAETitle", "ScheduledProcedureStepStartTime", "ScheduledProcedureStepDescription"):
        setattr(item, keyword, "")
    answer = decoded(ask(request)[0].dataset)
    assert [element.keyword for element in answer.iterall() if element.is_empty] == []
    assert answer.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartDate == "20260705"


def test_an_empty_stored_value_matches_no_key() -> None:
    schedule(name="")
    assert found(keys({"ScheduledPerformingPhysicianName": "?*"})) == []
    assert found(keys(PatientName="?*")) == []
    assert found(keys(AccessionNumber="?*", PatientName="*")) != []


def test_any_group_of_a_name_matches() -> None:
    step = schedule(name="Yamada^Tarou=山田^太郎=やまだ^たろう")
    request = keys(PatientName="山田*", SpecificCharacterSet="ISO_IR 192")
    assert found(request) == [step.sps_id]
    assert found(keys(PatientName="YAMADA^T*")) == [step.sps_id]


def test_a_step_that_was_started_is_hidden_and_one_that_returns_is_seen_again() -> None:
    step = schedule()
    transition(step, "step.started")
    project([step.pk])
    assert found(keys()) == []
    transition(step, "step.returned")
    project([step.pk])
    assert found(keys()) == [step.sps_id]


def test_changed_demographics_are_in_the_next_answer() -> None:
    step = schedule(name="DOE^JANE", patient_id="00123")
    change = PatientData([IdentifierData("00123", namespace="MAIN")], name="ROE^JANE")
    upsert_patient(data=change, site=step.site)
    assert found(keys(PatientName="DOE*")) == []
    assert str(decoded(ask(keys(PatientName="ROE*"))[0].dataset).PatientName) == "ROE^JANE"


def test_an_identifier_or_a_place_that_is_learnt_later_is_in_the_next_answer() -> None:
    step = schedule(patient_id="00123")
    patient, order = step.procedure.order.patient, step.procedure.order
    visit_data = VisitData("V1", location="4 West")
    order.visit = upsert_visit(data=visit_data, patient=patient, site=step.site, active=True)
    order.save()
    upsert_patient(data=PatientData([IdentifierData("00123"), IdentifierData("X9", namespace="CITY")]), site=step.site)
    answer = decoded(ask(keys(CurrentPatientLocation="", OtherPatientIDsSequence=[]))[0].dataset)
    assert answer.CurrentPatientLocation == "4 West"
    assert answer.OtherPatientIDsSequence[0].PatientID == "X9"
    upsert_visit(data=VisitData("V1", location="ICU"), patient=patient, site=step.site, active=True)
    assert decoded(ask(keys(CurrentPatientLocation=""))[0].dataset).CurrentPatientLocation == "ICU"


def test_what_changes_about_an_order_is_in_the_answer_of_each_of_its_steps() -> None:
    site, patient = Site.objects.get(code="MAIN"), Patient.objects.create(name="DOE^JANE")
    order = None
    for number in ("1", "2"):
        procedure = ProcedureData(f"RP{number}", steps=[StepData(f"S{number}", modality="CT")])
        data = OrderData(placer_order_number="PL", referring_physician=f"HOUSE^{number}", procedures=[procedure])
        order = place(
            order=order, data=data, patient=patient, visit=None, interface=None, site=site, anew=order is None
        )  # fmt: skip
    *answers, _ = ask(keys(ReferringPhysicianName=""))
    assert [str(decoded(each.dataset).ReferringPhysicianName) for each in answers] == ["HOUSE^2", "HOUSE^2"]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_only_what_was_asked_comes_back(syntax: str) -> None:
    schedule()
    answer = decoded(ask(keys({"Modality": ""}, AccessionNumber=""), syntax=syntax)[0].dataset, syntax)
    assert {element.keyword for element in answer} == {
        "SpecificCharacterSet", "AccessionNumber", "PatientName", "PatientID", "ScheduledProcedureStepSequence",
    }  # fmt: skip
    item = answer.ScheduledProcedureStepSequence[0]
    assert {element.keyword for element in item} == {"Modality", "ScheduledProcedureStepID"}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_an_empty_sequence_asks_for_all_of_it(syntax: str) -> None:
    step = schedule()
    request = keys()
    request.ScheduledProcedureStepSequence = []
    request.RequestedProcedureCodeSequence = []
    answer = decoded(ask(request, syntax=syntax)[0].dataset, syntax)
    assert answer.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStartTime == "103000"
    assert answer.ScheduledProcedureStepSequence[0].ScheduledProcedureStepID == step.sps_id
    assert answer.RequestedProcedureCodeSequence[0].CodeValue == "CTHEAD"


def test_type_2_attributes_that_nobody_knows_come_back_empty() -> None:
    schedule()
    unknown = [
        "RequestingPhysician", "ReferringPhysicianName", "AdmissionID", "CurrentPatientLocation", "PatientWeight",
        "ConfidentialityConstraintOnPatientDataDescription", "PatientState", "PregnancyStatus", "MedicalAlerts",
        "Allergies", "SpecialNeeds", "PatientTransportArrangements",
    ]  # fmt: skip
    response = ask(keys(None, **dict.fromkeys(unknown, "")))[0]
    answer = decoded(response.dataset)
    assert response.status == 0xFF00
    assert all(keyword in answer and answer[keyword].is_empty for keyword in unknown)


@pytest.mark.parametrize(
    "top",
    [{"PatientSex": "M"}, {"Modality": "MR"}, {"PatientComments": ""}, {"PatientComments": "x"}],
    ids=["not matched", "at the wrong level", "not known", "not known, with a value"],
)
def test_a_key_that_is_not_matched_is_answered_with_a_warning(top: dict[str, Any]) -> None:
    schedule()
    responses = ask(keys(**top))
    assert [each.status for each in responses] == [0xFF01, 0]
    answer = decoded(responses[0].dataset)
    assert "Modality" not in answer
    assert answer.get("PatientSex", "F") == "F"


def test_a_private_key_and_a_query_without_the_step_sequence_are_answered() -> None:
    schedule(name="DOE^JANE", patient_id="00123")
    request = Dataset()
    request.PatientName, request.PatientID = "doe*", ""
    request.private_block(0x0099, "ACME", create=True).add_new(0x01, "LO", "x")
    pending, final = ask(request)
    assert (pending.status, final.status) == (0xFF01, 0)
    answer = decoded(pending.dataset)
    assert [element.keyword for element in answer] == ["SpecificCharacterSet", "PatientName", "PatientID"]


def test_a_zero_length_time_zone_is_not_sent_back() -> None:
    schedule()
    (pending, _) = ask(keys(TimezoneOffsetFromUTC=""))
    assert pending.status == 0xFF00
    assert "TimezoneOffsetFromUTC" not in decoded(pending.dataset)


def test_names_are_read_in_the_querys_character_set_or_the_one_that_its_sender_is_known_for() -> None:
    step = schedule(name="Müller^Jürgen")
    name = "Müller*".encode("latin-1")
    request = keys()
    request.add_new(0x00100010, "UN", name)
    assert found(keys(PatientName="Müller*", SpecificCharacterSet="ISO_IR 100")) == [step.sps_id]
    device = Device.objects.create(name="CT", site=step.site)
    caller = ApplicationEntity.objects.create(ae_title="CT_NORTH", device=device, default_character_set="ISO_IR 100")
    assert found(request, caller=peer(application_entity_id=caller.pk)) == [step.sps_id]


@pytest.mark.parametrize(
    "request_keys",
    [
        keys({"ScheduledProcedureStepStartDate": "2026*"}),
        keys({"ScheduledProcedureStepStartDate": "20261340"}),
        keys({"ScheduledProcedureStepStartTime": "2560"}),
        keys(StudyInstanceUID="1.2.*"),
        keys(PatientName="A" * 400),
        keys(PatientName="A" * 20 + "\0B"),
        keys(AccessionNumber="A\0B"),
        b"",
        b"\x00\x01nonsense",
        b"\x40\x00\x00\x01SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 3,
    ],
)
@pytest.mark.filterwarnings("ignore:.*:UserWarning:pydicom.*")
def test_an_identifier_that_cannot_be_matched_is_refused(request_keys: Any) -> None:
    schedule()
    (response,) = ask(request_keys)
    assert response.status == 0xA900
    assert response.error_comment
    assert "A" * 20 not in response.error_comment
    assert WorklistQuery.objects.get().status == 0xA900


def test_a_refusal_names_the_key() -> None:
    (response,) = ask(keys({"ScheduledProcedureStepStartDate": "2026*"}))
    assert response.error_comment == "ScheduledProcedureStepStartDate is not a date"
    assert response.offending_elements == (0x00400002,)


def test_a_cancel_is_answered_in_the_middle() -> None:
    for _ in range(5):
        schedule()
    answers: Iterator[bool] = iter([False, False, True])
    responses = ask(keys(), is_cancelled=lambda: next(answers))
    assert [each.status for each in responses] == [0xFF00, 0xFF00, 0xFE00]
    query = WorklistQuery.objects.get()
    assert (query.status, query.number_of_answers) == (0xFE00, 2)


def test_the_same_question_with_the_same_answer_only_counts_up() -> None:
    step = schedule()
    for _ in range(3):
        found(keys({"Modality": "CT"}))
    query = WorklistQuery.objects.get()
    assert (query.count, query.keys, query.step_ids) == (3, {"Modality": "CT"}, [step.pk])
    other = schedule()
    found(keys({"Modality": "CT"}))
    assert list(WorklistQuery.objects.order_by("pk").values_list("count", "step_ids")) == [
        (3, [step.pk]),
        (1, [step.pk, other.pk]),
    ]


def test_questions_asked_in_turn_are_counted_each() -> None:
    step = schedule()
    for _ in range(3):
        found(keys({"Modality": "CT"}))
        found(keys({"Modality": "MR"}))
    rows = WorklistQuery.objects.order_by("pk").values_list("count", "step_ids")
    assert list(rows) == [(3, [step.pk]), (3, [])]


def test_a_record_holds_a_limited_part_of_what_was_asked_and_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "_MOST_STEPS", 2)
    steps = [schedule() for _ in range(3)]
    question = keys(PatientComments="x\0" * 5000)
    found(question)
    found(question)
    query = WorklistQuery.objects.get()
    assert (query.count, query.number_of_answers) == (2, 3)
    assert query.step_ids == [step.pk for step in steps[:2]]
    assert len(query.keys["PatientComments"]) == 324
    schedule()
    found(question)
    assert WorklistQuery.objects.count() == 2


def test_what_was_asked_long_ago_is_forgotten() -> None:
    found(keys({"Modality": "CT"}))
    found(keys({"Modality": "MR"}))
    WorklistQuery.objects.filter(keys__Modality="CT").update(last_at=timezone.now() - queries.KEPT - dt.timedelta(1))
    queries.forget_old()
    assert WorklistQuery.objects.get().keys == {"Modality": "MR"}


@pytest.mark.parametrize(
    ("name", "character_set"), [("DOE^JANE", "ISO_IR 100"), ("Müller^J", "ISO_IR 100"), ("山田^太郎", "ISO_IR 192")]
)
def test_latin_1_where_it_can_say_it_and_else_utf_8(name: str, character_set: str) -> None:
    schedule(name=name)
    answer = decoded(ask(keys())[0].dataset)
    assert answer.SpecificCharacterSet == character_set
    assert str(answer.PatientName) == name


@pytest.mark.parametrize(
    ("insists_on", "said"),
    [
        ("ISO_IR 192", "Müller^Jürgen=山田"),
        ("ISO_IR 6", "Muller^Jurgen=??"),
        ("ISO 2022 IR 6\\ISO 2022 IR 87", "Muller^Jurgen=山田"),
    ],
)
def test_an_old_modality_is_answered_in_the_set_it_insists_on(insists_on: str, said: str) -> None:
    schedule(name="Müller^Jürgen=山田")
    device = Device.objects.create(name="CT", site=Site.objects.get(code="MAIN"))
    caller = ApplicationEntity.objects.create(ae_title="CT_NORTH", device=device, answer_character_set=insists_on)
    answer = decoded(ask(keys(), caller=peer(application_entity_id=caller.pk))[0].dataset)
    assert str(answer.PatientName) == said
    assert ("SpecificCharacterSet" in answer) == (insists_on != "ISO_IR 6")


def test_long_values_are_cut_by_characters_and_hostile_ones_stay_one_value() -> None:
    step = schedule(location="Ü" * 40, station_name="A\\B\x07", description="x" * 64)
    ScheduledProcedureStep.objects.filter(pk=step.pk).update(sps_id="S" * 30)
    project([step.pk])
    request = keys()
    request.ScheduledProcedureStepSequence = []
    item = decoded(ask(request)[0].dataset).ScheduledProcedureStepSequence[0]
    assert item.ScheduledProcedureStepLocation == "Ü" * 16
    assert item.ScheduledProcedureStepID == "S" * 16
    assert item.ScheduledStationName == "A/B"
    assert found(keys({"ScheduledProcedureStepID": "S" * 16})) == ["S" * 16]


def test_of_questions_that_are_recorded_together_the_latest_answer_stands_last() -> None:
    def asked(*step_ids: int) -> queries.Asked:
        return queries.Asked(Site.objects.earliest("pk").pk, "CT_NORTH", "127.0.0.1", {"Modality": "CT"}, 0, step_ids)

    queries.record_queries([asked(1)])
    queries.record_queries([asked(1), asked(1, 2)])
    queries.record_queries([asked(1, 2), asked(1, 2)])
    rows = WorklistQuery.objects.order_by("last_at").values_list("step_ids", "count")
    assert list(rows) == [([1], 2), ([1, 2], 3)]
