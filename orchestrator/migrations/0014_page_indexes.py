"""What waits is counted, studies are found by identity and custody, and open cases by their age, from an index alone."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orchestrator", "0013_kpi_indexes")]

    operations = [
        migrations.RemoveIndex(model_name="exceptioncase", name="case_open_due"),
        migrations.AddIndex(
            model_name="exceptioncase",
            index=models.Index(
                fields=["due_at", "status", "opened_at"],
                condition=models.Q(("status__in", ["CLAIMED", "ESCALATED", "OPEN", "SNOOZED"])),
                name="case_open_due",
            ),
        ),
        migrations.AddIndex(
            model_name="exceptioncase",
            index=models.Index(
                fields=["kind", "site", "modality", "source", "owner", "due_at", "opened_at"],
                condition=models.Q(("status__in", ["CLAIMED", "ESCALATED", "OPEN"])),
                name="case_waiting",
            ),
        ),
        migrations.RemoveIndex(model_name="patient", name="patient_created"),
        migrations.AddIndex(
            model_name="patient",
            index=models.Index(fields=["-created_at", "merged_into"], name="patient_created"),
        ),
        migrations.RemoveIndex(model_name="study", name="study_identity"),
        migrations.AddIndex(
            model_name="study",
            index=models.Index(fields=["identity", "-last_received_at", "-id", "custody"], name="study_identity"),
        ),
        # Of one site, the claims that are held: both sides of the join.
        migrations.RemoveIndex(model_name="study", name="study_site"),
        migrations.AddIndex(
            model_name="study", index=models.Index(fields=["site", "-last_received_at", "-id"], name="study_site")
        ),
        migrations.RemoveIndex(model_name="identityclaim", name="claim_identity"),
        migrations.AddIndex(
            model_name="identityclaim", index=models.Index(fields=["identity", "study"], name="claim_identity")
        ),
        migrations.RemoveIndex(model_name="kpifact", name="kpi_fact_until"),
        migrations.AddIndex(
            model_name="kpifact",
            index=models.Index(
                fields=["at", "until", "day", "site", "modality", "source"],
                condition=models.Q(("subject", "case")),
                name="kpi_fact_open",
            ),
        ),
        migrations.RemoveIndex(model_name="kpifact", name="kpi_fact_standing"),
        migrations.AddIndex(
            model_name="kpifact",
            index=models.Index(
                fields=["at", "site", "modality", "source", "reason"],
                condition=models.Q(("until__isnull", True)),
                name="kpi_fact_standing",
            ),
        ),
    ]
