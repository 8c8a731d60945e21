"""`python -m tests.orchestrator.upgraded`: an empty database as the last release left it, with rows, then upgraded.

Prints what is there afterwards. A process of its own, with a database of its own: going back to old tables would cost
a test run minutes.
"""

import json
from typing import Any

import django

RELEASED = [
    ("orchestrator", "0008_no_modality_of_a_title"), ("reconciliation", "0001_initial"), ("routing", "0004_lines"),
    ("worklists", "0002_records"),
]  # fmt: skip


def main() -> None:
    django.setup()
    from django.core.management import call_command  # Django is set up by now
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor
    from django.db.migrations.loader import MigrationLoader

    executor = MigrationExecutor(connection)
    # Step by step, as it was then; a new installation begins with all of them as one.
    executor.loader = MigrationLoader(connection, replace_migrations=False)
    executor.migrate(RELEASED)
    write(executor.loader.project_state(RELEASED).apps.get_model)
    call_command("migrate", interactive=False, verbosity=0)
    print(json.dumps({"told": told(), "schema": schema()}))


def write(model: Any) -> None:
    """A matched study with its delivery at one site, and a case, as they were written then."""
    from django.utils import timezone

    now, by = timezone.now(), {"actor_kind": "system", "actor_name": "Fiducial"}
    site = model("orchestrator", "Site").objects.create(code="OLD", name="Old")
    elsewhere = model("orchestrator", "Site").objects.create(code="ELSE", name="Elsewhere")
    patient = model("orchestrator", "Patient").objects.create(name="García-López^José", folded_name="GARCIA JOSE LOPEZ")
    model("orchestrator", "Patient").objects.create(name="")
    write_worklist(model, {"OLD": site, "ELSE": elsewhere}, patient)
    study = model("orchestrator", "Study").objects.create(
        study_instance_uid="1.2.3", site=site, patient=patient, first_received_at=now, last_received_at=now
    )
    claim = model("orchestrator", "IdentityClaim").objects.create(
        study=study, key="k", patient_name="Müller^Anna", modality="CT", calling_ae_title="CT1"
    )
    device = model("orchestrator", "Device").objects.create(name="Archive", site=elsewhere)
    archive = model("routing", "Destination").objects.create(
        name="Archive", device=device, ae_title="A", host="127.0.0.1", port=104
    )
    model("routing", "Delivery").objects.create(study=study, destination=archive, rendition="original")
    case = model("orchestrator", "ExceptionCase").objects.create(
        kind="no_route", reason_code="NO_RULE", summary="No rule fits.", site=site, subject_type="study",
        subject_id=study.pk, study=study, due_at=now,
    )  # fmt: skip
    events = model("orchestrator", "WorkflowEvent").objects
    events.create(
        name="claim.matched", subject_type="identityclaim", subject_id=claim.pk, study_id=study.pk, site_id=site.pk,
        detail={"matched_by": "auto"}, **by,
    )  # fmt: skip
    events.create(
        name="case.opened", subject_type="exceptioncase", subject_id=case.pk, study_id=study.pk, site_id=site.pk,
        detail={"kind": "no_route", "reason_code": "NO_RULE"}, **by,
    )  # fmt: skip


def write_worklist(model: Any, sites: dict[str, Any], patient: Any) -> None:
    """Steps for two stations (one named twice) and for any, at one site and at another, and two that were performed."""
    for number, (sps_id, code, visible, stations) in enumerate([
        ("S1", "OLD", True, ["CT1", "CT2", "CT1"]), ("S2", "OLD", True, []), ("S3", "OLD", False, ["CT1"]),
        ("S4", "OLD", False, []), ("S5", "ELSE", True, ["CT1"]),
    ]):  # fmt: skip
        site = sites[code]
        order = model("orchestrator", "ImagingServiceRequest").objects.create(site=site, patient=patient)
        procedure = model("orchestrator", "RequestedProcedure").objects.create(
            order=order, study_instance_uid=f"1.2.4.{number}"
        )
        step = model("orchestrator", "ScheduledProcedureStep").objects.create(
            procedure=procedure, site=site, sps_id=sps_id, modality="CT"
        )
        entry = model("worklists", "WorklistEntry").objects.create(
            step=step, site=site, visible=visible, start="20261128103000000000", start_time="103000000000",
            modality="CT", any_station=not stations, sps_id=sps_id, character_set="ISO_IR 100", answer=b"",
        )  # fmt: skip
        for key, value in (("patient", "GARCIA-LOPEZ^JOSE"), *(("station", title) for title in stations)):
            model("worklists", "MatchValue").objects.create(entry=entry, key=key, value=value)


def told() -> dict[str, Any]:
    """What the product of today finds; the KPIs before and after they were counted anew."""
    from orchestrator.models import WHOLE_DAY, ClaimWord, KpiTally, PatientWord
    from orchestrator.services import diagnostics, kpi_rollups, names
    from routing.models import Delivery
    from worklists.models import MatchValue, ScheduledStation

    stations = ScheduledStation.objects.filter(start="20261128103000000000", modality="CT")
    before = [finding.advice for finding in diagnostics.check_kpis()]
    kpi_rollups.rebuild()
    tallies = KpiTally.objects.filter(hour=WHOLE_DAY).order_by("subject")
    return {
        "patient_words": sorted(PatientWord.objects.values_list("word", flat=True)),
        "claim_words": sorted(ClaimWord.objects.values_list("word", flat=True)),
        "lost_names": names.count_lost(),
        "site_of_delivery": Delivery.objects.get().site.code,
        "stations": sorted(stations.values_list("site__code", "entry__sps_id", "ae_title")),
        "match_values": sorted(MatchValue.objects.values_list("entry__sps_id", "key", "value")),
        "kpi_advice": before,
        "kpi_wrong": len(kpi_rollups.differences()),
        "tallies": list(tallies.values_list("subject", "site__code", "modality", "source", "outcome", "count")),
    }


def schema() -> dict[str, list[str]]:
    """Of each table of ours its columns, constraints and indexes, sorted: their order is left to the database."""
    from django.apps import apps
    from django.db import connection

    apps_of_ours = ("orchestrator", "reconciliation", "routing", "worklists")
    models = [model for app in apps_of_ours for model in apps.get_app_config(app).get_models(include_auto_created=True)]
    asked = _OF_SQLITE if connection.vendor == "sqlite" else _OF_POSTGRESQL
    described = {}
    with connection.cursor() as cursor:
        for table in [model._meta.db_table for model in models]:
            found = []
            for question in asked:
                cursor.execute(question, {"table": table})
                found += [" ".join(map(str, row)) for row in cursor.fetchall()]
            described[table] = sorted(found)
    return described


_OF_SQLITE = (
    'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(:table)',
    'SELECT \'to\', "table", "from", "to", on_delete FROM pragma_foreign_key_list(:table)',
    "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :table AND sql IS NOT NULL",
    # Those of a column or the table itself have no words of their own.
    "SELECT 'unique', (SELECT group_concat(name) FROM pragma_index_info(listed.name))"
    " FROM pragma_index_list(:table) AS listed WHERE origin = 'u'",
)
_OF_POSTGRESQL = (
    "SELECT column_name, data_type, character_maximum_length, is_nullable, column_default, is_identity"
    " FROM information_schema.columns WHERE table_name = %(table)s",
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %(table)s::regclass",
    "SELECT indexdef FROM pg_indexes WHERE tablename = %(table)s",
)


if __name__ == "__main__":
    main()
