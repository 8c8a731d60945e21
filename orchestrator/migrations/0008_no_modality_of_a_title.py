from django.db import migrations


class Migration(migrations.Migration):
    """What kind of images an AE makes was written down and read by nothing: its images and steps say it."""

    dependencies = [("orchestrator", "0007_no_ack_policy")]

    operations = [
        migrations.RemoveField(model_name="applicationentity", name="modality"),
        migrations.RemoveField(model_name="historicalapplicationentity", name="modality"),
    ]
