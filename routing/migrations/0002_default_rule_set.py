"""A new system has one rule set, `default`, empty and not published."""

from django.db import migrations


def create_default(apps, schema_editor):
    apps.get_model("routing", "RuleSet").objects.get_or_create(name="default")


class Migration(migrations.Migration):
    dependencies = [("routing", "0001_initial")]
    operations = [migrations.RunPython(create_default, migrations.RunPython.noop)]
