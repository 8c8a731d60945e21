"""A fresh installation has one site; its default issuer is learned from its first identifiers."""

from django.db import migrations


def create_first_site(apps, schema_editor):
    site = apps.get_model("orchestrator", "Site")
    if not site.objects.exists():
        site.objects.create(code="MAIN", name="Main site")


class Migration(migrations.Migration):
    dependencies = [("orchestrator", "0001_initial")]
    operations = [migrations.RunPython(create_first_site, migrations.RunPython.noop)]
