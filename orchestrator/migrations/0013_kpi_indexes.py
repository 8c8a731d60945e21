"""What is behind a number of one source is read from an index."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orchestrator", "0012_words_of_names")]

    operations = [
        migrations.AddIndex(
            model_name="kpifact",
            index=models.Index(fields=["subject", "source", "-at"], name="kpi_fact_source"),
        ),
    ]
