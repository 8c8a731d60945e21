"""The tables that are filled, with the columns that differ from row to row."""

from django.db.models import Model

from benchmarks.population.bulk import Table
from orchestrator.models import (
    AccessEvent,
    ClaimWord,
    Decision,
    ExceptionCase,
    Hop,
    IdentityClaim,
    ImagingServiceRequest,
    InboundMessage,
    Instance,
    KpiFact,
    Patient,
    PatientIdentifier,
    PatientWord,
    RequestedProcedure,
    ScheduledProcedureStep,
    Series,
    Study,
    Visit,
    WorkflowEvent,
)
from routing.models import DeliveredInstance, Delivery, DeliveryAttempt

_COLUMNS: dict[str, tuple[type[Model], str]] = {
    "patients": (
        Patient, "id uid name folded_name birth_date sex demographics_at told_by_event created_at"
    ),
    "patient_words": (PatientWord, "patient_id word"),
    "sites": (Patient.sites.through, "patient_id site_id"),
    "identifiers": (PatientIdentifier, "patient_id value issuer_id type_code primary"),
    "visits": (Visit, "id patient_id site_id visit_number issuer_id status patient_class location admitted_at"),
    "orders": (
        ImagingServiceRequest,
        "id site_id patient_id visit_id interface_id accession_number placer_order_number filler_order_number status "
        "priority reason created_at",
    ),
    "procedures": (
        RequestedProcedure,
        "id order_id requested_procedure_id study_instance_uid code_value code_meaning description",
    ),
    "steps": (
        ScheduledProcedureStep,
        "id procedure_id site_id sps_id status modality station_ae_titles start_date start_time start_at description",
    ),
    "messages": (
        InboundMessage,
        "id interface_id site_id sequence control_id message_type raw digest sent_at address received_at status ack "
        "ack_code error applied_at patient_id order_id",
    ),
    "studies": (
        Study,
        "id study_instance_uid site_id patient_id identity custody study_date study_time study_description modalities "
        "number_of_series number_of_instances received_from first_received_at last_received_at",
    ),
    "series": (
        Series,
        "id study_id series_instance_uid modality series_number series_description station_name number_of_instances",
    ),
    "claims": (
        IdentityClaim,
        "id study_id key patient_id issuer patient_name birth_date sex accession_number calling_ae_title "
        "requested_procedure_id sps_id modality station_name study_date study_time study_description "
        "number_of_instances identity matched_by matched_patient_id order_id procedure_id step_id evidence",
    ),
    "claim_words": (ClaimWord, "claim_id word"),
    "instances": (
        Instance,
        "id study_id series_id claim_id sop_instance_uid sop_class_uid transfer_syntax_uid instance_number spool_key "
        "size digest calling_ae_title address received_at",
    ),
    "cases": (
        ExceptionCase,
        "id kind reason_code summary status site_id owner_id subject_type subject_id patient_id order_id study_id "
        "claim_id message_id modality source best_candidate best_score opened_at due_at snoozed_until resolved_at "
        "resolution",
    ),
    "decisions": (Decision, "claim_id case_id kind parameters reason by_id at"),
    "deliveries": (
        Delivery,
        "id study_id site_id destination_id rendition status rule version_id created_at finished_at attempts "
        "next_attempt_at last_error",
    ),
    "delivered": (DeliveredInstance, "delivery_id instance_id status dimse_status error at"),
    "tries": (DeliveryAttempt, "delivery_id started_at ended_at sent outcome error"),
    "hops": (Hop, "study_id device_id rendition at"),
    "events": (
        WorkflowEvent,
        "name at subject_type subject_id from_state to_state actor_kind actor_name detail site_id patient_id order_id "
        "study_id",
    ),
    "facts": (
        KpiFact,
        "subject subject_id number day hour site_id modality source outcome reason at until seconds",
    ),
    "accesses": (AccessEvent, "at user_id user_name action subject_type subject_id number_of_records"),
}  # fmt: skip


# What identifies somebody or something: no two copies say the same.
APART: dict[str, frozenset[str]] = {
    name: frozenset(columns.split())
    for name, columns in {
        "identifiers": "value",
        "visits": "visit_number",
        "orders": "accession_number placer_order_number filler_order_number",
        "procedures": "requested_procedure_id study_instance_uid",
        "steps": "sps_id",
        "messages": "control_id",
        "studies": "study_instance_uid",
        "series": "series_instance_uid",
        "claims": "patient_id accession_number requested_procedure_id sps_id",
        "instances": "sop_instance_uid spool_key",
        "cases": "best_candidate",
    }.items()
}


def tables() -> dict[str, Table]:
    """Each before those that refer to it."""
    return {name: Table(model, columns) for name, (model, columns) in _COLUMNS.items()}
