import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Now


COLUMNS = ("next_attempt_at", "waits_for_id", "duplicate_of_id", "patient_id", "order_id")


def drop_full_indexes(apps, schema_editor):
    """By hand: SQLite would write the whole table anew for each field that is no longer indexed."""
    connection, table = schema_editor.connection, apps.get_model("orchestrator", "InboundMessage")._meta.db_table
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, table)
    for name, each in found.items():
        if each["index"] and not each["unique"] and each["columns"] in [[column] for column in COLUMNS]:
            schema_editor.execute(f"DROP INDEX {connection.ops.quote_name(name)}")


def make_full_indexes(apps, schema_editor):
    """Their names do not matter: they are found by their columns."""
    quote, table = schema_editor.connection.ops.quote_name, apps.get_model("orchestrator", "InboundMessage")._meta.db_table
    for column in COLUMNS:
        schema_editor.execute(f"CREATE INDEX {quote(f'message_full_{column}')} ON {quote(table)} ({quote(column)})")


def reference(to, on_delete, related_name):
    return models.ForeignKey(to, blank=True, null=True, on_delete=on_delete, related_name=related_name, db_index=False)


PROTECT, SET_NULL = django.db.models.deletion.PROTECT, django.db.models.deletion.SET_NULL
FIELDS = {
    "next_attempt_at": models.DateTimeField(blank=True, db_default=Now(), null=True),
    "waits_for": reference("orchestrator.inboundmessage", PROTECT, "waiting"),
    "duplicate_of": reference("orchestrator.inboundmessage", PROTECT, "repeats"),
    "patient": reference("orchestrator.patient", SET_NULL, "+"),
    "order": reference("orchestrator.imagingservicerequest", SET_NULL, "messages"),
}


class Migration(migrations.Migration):
    dependencies = [("orchestrator", "0014_page_indexes")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[migrations.AlterField("inboundmessage", name, field) for name, field in FIELDS.items()],
            database_operations=[migrations.RunPython(drop_full_indexes, make_full_indexes)],
        ),
        *(
            migrations.AddIndex(
                "inboundmessage",
                models.Index(fields=[name], condition=models.Q((f"{name}__isnull", False)), name=f"message_{name}"),
            )
            for name in ("waits_for", "duplicate_of", "patient", "order")
        ),
    ]
