"""Which steps a claim is compared with: what it names is never cut off, what resembles it is ranked; on a busy day."""

import datetime as dt
from typing import Any

import pytest
from django.db import connection

from orchestrator.models import (
    ExceptionCase,
    IdentityClaim,
    ImagingServiceRequest,
    Patient,
    PatientIdentifier,
    RequestedProcedure,
    ScheduledProcedureStep,
)
from orchestrator.states import Identity
from reconciliation import selectors
from reconciliation.models import MatchRun
from reconciliation.services.reconcile import reconcile_study, rematch_for_order
from tests.factories import DAY, claimed, make_claim, make_order, make_patient, make_site, make_study, step_of

pytestmark = pytest.mark.django_db


def busy(number: int, *, days: int = 1, **order: Any) -> None:
    """So many other orders, each with a CT step on the day (or on one of some), ten minutes apart from midnight on."""
    site = make_site()
    issuer = site.default_issuer
    assert issuer is not None
    first = (Patient.objects.order_by("-pk").values_list("pk", flat=True).first() or 0) + 1
    keys = range(first, first + number)
    Patient.objects.bulk_create(
        [
            Patient(pk=key, name=f"Other^{key}", folded_name=f"{key} OTHER", birth_date=dt.date(1950, 1, 1))
            for key in keys
        ]
    )
    PatientIdentifier.objects.bulk_create(
        [PatientIdentifier(patient_id=key, issuer=issuer, value=f"B{key}", primary=True) for key in keys]
    )
    orders = ImagingServiceRequest.objects.bulk_create(
        [
            ImagingServiceRequest(
                site=site, patient_id=key, **{"accession_number": f"B{key}", "placer_order_number": f"B{key}", **order}
            )
            for key in keys
        ]
    )
    procedures = RequestedProcedure.objects.bulk_create(
        [
            RequestedProcedure(order=each, requested_procedure_id="RP", study_instance_uid=f"2.25.5{each.pk}")
            for each in orders
        ]
    )
    ScheduledProcedureStep.objects.bulk_create(
        [
            ScheduledProcedureStep(
                procedure=each, site=site, sps_id="S", modality="CT", station_ae_titles=["CT_NORTH"],
                start_date=DAY + dt.timedelta(days=index % days),
                start_time=dt.time(index // 6 % 24, index * 10 % 60),
            )
            for index, each in enumerate(procedures)
        ]
    )  # fmt: skip
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            for table in (Patient, ImagingServiceRequest, RequestedProcedure, ScheduledProcedureStep):
                cursor.execute(
                    f"select setval(pg_get_serial_sequence('{table._meta.db_table}', 'id'),"  # noqa: S608  our names
                    f" (select max(id) from {table._meta.db_table}))"
                )
            # As a database that is in use has them: without statistics each row is compared with each.
            cursor.execute("ANALYZE")


def test_on_a_busy_day_the_step_that_is_named_is_found_however_old_its_row() -> None:
    order = make_order()
    busy(200)
    study = make_study(order)
    reconcile_study(study.pk)
    assert study.claims.get().step == step_of(order)


def test_on_a_busy_day_the_second_order_that_fits_is_seen_too() -> None:
    """It was cut off, and the first was matched without anybody having chosen."""
    patient = make_patient()
    old = make_order(patient=patient, accession_number="A1")
    busy(200)
    make_order(patient=patient, accession_number="A1")
    study = make_study(old, uid="2.25.77", requested_procedure_id="", sps_id="")
    reconcile_study(study.pk)
    assert ExceptionCase.objects.get().kind == "ambiguous_match"


def test_however_many_orders_share_an_accession_number_all_are_compared() -> None:
    order = make_order(accession_number="A1")
    busy(120, accession_number="A1")
    claim = make_study(order, uid="2.25.77").claims.get()
    assert len(selectors.steps_named(claim)) == 121


def test_a_step_named_by_its_ids_alone_is_found() -> None:
    order = make_order()
    busy(100)
    study = make_study(order, uid="2.25.77", accession_number="", modality="", study_time="")
    reconcile_study(study.pk)
    assert study.claims.get().step == step_of(order)


@pytest.mark.parametrize(
    "said",
    [
        {"patient_id": "12345"},
        {"patient_id": "typed"},
        {"patient_id": "typed", "patient_name": "Do^Jane"},
        {"patient_id": "", "patient_name": "", "birth_date": ""},
    ],
    ids=["the id without its zeros", "the name", "the birth date on the day", "the time on the day"],
)
def test_what_only_resembles_is_offered_to_a_person_though_the_day_is_busy(said: dict[str, Any]) -> None:
    order = make_order(patient=make_patient("0012345"), step={"start_time": dt.time(10, 35)})
    busy(300)
    study = make_study(order, uid="2.25.77", **{**claimed(order), "accession_number": "", "sps_id": "", **said})
    reconcile_study(study.pk)
    assert study.claims.get().identity == Identity.HELD
    found = {step.pk for step in selectors.steps_for(study.claims.get())}
    assert step_of(order).pk in found
    assert len(found) < 160


def test_a_late_order_settles_all_that_wait_for_it_and_not_the_first_hundred() -> None:
    patient = make_patient()
    said: dict[str, Any] = {
        "patient_id": patient.identifiers.get().value, "patient_name": "typed", "birth_date": "19700228", "sex": "F",
        "accession_number": "A1", "modality": "CT", "calling_ae_title": "CT_NORTH", "study_date": "20260705",
    }  # fmt: skip
    studies = [make_study(**said) for _ in range(110)]
    IdentityClaim.objects.update(identity=Identity.HELD)
    right = make_study(**{**said, "patient_name": "Doe^Jane"})
    IdentityClaim.objects.update(identity=Identity.HELD)
    order = make_order(patient=patient, accession_number="A1")
    rematch_for_order(order.pk)
    assert right.claims.get().order == order
    assert MatchRun.objects.values("claim__study").distinct().count() == len(studies) + 1


def test_a_late_order_is_offered_for_images_that_only_resemble_it() -> None:
    study = make_study(
        patient_id="typed", patient_name="Do^Jane", birth_date="19700228", modality="CT", study_date="20260705",
        calling_ae_title="CT_NORTH",
    )  # fmt: skip
    reconcile_study(study.pk)
    order = make_order()
    rematch_for_order(order.pk)
    assert MatchRun.objects.latest("pk").candidates[0]["order"] == order.pk


def test_each_look_is_answered_by_an_index(django_assert_max_num_queries: Any) -> None:
    """No table is read whole: told by the plans of both databases, where nothing but an index could help."""
    order = make_order()
    busy(500, days=100)
    claim = make_study(order).claims.select_related("study__site").get()
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("analyze")
            # Reading a small table whole may be best; what has no index is read whole even now.
            cursor.execute("set local enable_seqscan = off")
    with django_assert_max_num_queries(15) as asked:
        selectors.steps_for(claim)
    for query in asked.captured_queries:
        plan = explained(query["sql"])
        assert not whole(plan), f"{plan}\n{query['sql']}"


def explained(sql: str) -> str:
    words = "explain query plan " if connection.vendor == "sqlite" else "explain "
    with connection.cursor() as cursor:
        cursor.execute(words + sql)
        return "\n".join(" ".join(map(str, row)) for row in cursor.fetchall())


_LARGE = ("scheduledprocedurestep", "requestedprocedure", "imagingservicerequest", "_patient", "patientidentifier")


def whole(plan: str) -> bool:
    """Whether a large table is scanned without an index."""
    return any(
        ("Seq Scan on" in line or ("SCAN" in line and "INDEX" not in line)) and any(name in line for name in _LARGE)
        for line in plan.splitlines()
    )


def test_the_claims_of_one_study_that_name_two_patients_are_all_for_a_person() -> None:
    """Neither may be believed, whichever was matched first; and it stays so, however often it is looked at."""
    one, other = make_order(), make_order(patient=make_patient(name="Roe^Max"))
    study = make_study(one)
    reconcile_study(study.pk)
    assert study.claims.get().identity == Identity.MATCHED
    make_claim(study, **claimed(other))
    for _ in range(2):
        reconcile_study(study.pk)
        assert set(study.claims.values_list("identity", flat=True)) == {Identity.HELD}
    assert set(ExceptionCase.objects.values_list("kind", flat=True)) == {"study_uid_conflict"}
    assert ExceptionCase.objects.count() == 2


def test_images_from_an_archive_are_not_held_for_the_station_they_come_from() -> None:
    order = make_order()
    study = make_study(order, calling_ae_title="OLD_ARCHIVE", purpose="IMPORTED")
    reconcile_study(study.pk)
    assert study.claims.get().order == order


def test_copies_with_other_content_make_no_claim_of_their_own() -> None:
    study = make_study(make_order())
    make_claim(study, instances=0, patient_id="999", patient_name="Roe^Max")
    reconcile_study(study.pk)
    study.refresh_from_db()
    assert study.identity == Identity.MATCHED
    assert not ExceptionCase.objects.exists()
