"""Stations have a table of their own, in whose index a station finds its day; what is hidden is in no such table."""

import django.db.models.deletion
from django.db import migrations, models

VISIBLE = models.Q(("visible", True))

FILL = """
INSERT INTO worklists_scheduledstation (entry_id, site_id, ae_title, start, modality)
SELECT DISTINCT entry.step_id, entry.site_id, named.value, entry.start, entry.modality
FROM worklists_matchvalue named JOIN worklists_worklistentry entry ON entry.step_id = named.entry_id
WHERE named.key = 'station' AND entry.visible
UNION ALL
SELECT step_id, site_id, '', start, modality FROM worklists_worklistentry WHERE visible AND any_station
"""
FORGET = """
DELETE FROM worklists_matchvalue
WHERE key = 'station' OR entry_id IN (SELECT step_id FROM worklists_worklistentry WHERE NOT visible)
"""


class Migration(migrations.Migration):
    dependencies = [
        ("orchestrator", "0013_kpi_indexes"),
        ("worklists", "0002_records"),
    ]

    operations = [
        migrations.CreateModel(
            name="ScheduledStation",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("ae_title", models.CharField(blank=True, max_length=16)),
                ("start", models.CharField(blank=True, max_length=20)),
                ("modality", models.CharField(blank=True, max_length=16)),
                ("entry", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="stations", to="worklists.worklistentry")),
                ("site", models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to="orchestrator.site")),
            ],
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
        migrations.RunSQL(FORGET, migrations.RunSQL.noop),
        migrations.AddIndex(
            model_name="scheduledstation",
            index=models.Index(fields=["site", "ae_title", "start", "modality", "entry"], name="scheduled_station"),
        ),
        migrations.AlterField(
            model_name="matchvalue",
            name="key",
            field=models.CharField(choices=[("patient", "Patient's Name, folded"), ("physician", "Scheduled Performing Physician's Name, folded")], max_length=9),
        ),
        migrations.RemoveIndex(model_name="worklistentry", name="entry_modality_start"),
        migrations.RemoveIndex(model_name="worklistentry", name="entry_start"),
        migrations.RemoveIndex(model_name="worklistentry", name="entry_patient_id"),
        migrations.RemoveIndex(model_name="worklistentry", name="entry_accession"),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(condition=VISIBLE, fields=["site", "modality", "start"], name="entry_modality_start"),
        ),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(condition=VISIBLE, fields=["site", "start"], name="entry_start"),
        ),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(condition=VISIBLE, fields=["patient_id"], name="entry_patient_id", opclasses=["varchar_pattern_ops"]),
        ),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(fields=["accession_number"], name="entry_accession", opclasses=["varchar_pattern_ops"]),
        ),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(condition=VISIBLE, fields=["requested_procedure_id"], name="entry_procedure"),
        ),
        migrations.AddIndex(
            model_name="worklistentry",
            index=models.Index(condition=VISIBLE, fields=["sps_id"], name="entry_sps_id"),
        ),
    ]
