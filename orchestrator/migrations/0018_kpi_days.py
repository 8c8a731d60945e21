"""Days of the KPIs are added up from an index alone: of the tallies of whole days, some 6 MB for a million studies."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orchestrator", "0017_words_of_names")]

    operations = [
        migrations.AddIndex(
            model_name="kpitally",
            index=models.Index(
                fields=["subject", "day", "outcome", "reason", "source", "site", "modality", "count"],
                condition=models.Q(hour=-1),
                name="kpi_tally_days",
            ),
        ),
    ]
