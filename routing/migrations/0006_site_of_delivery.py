# A list of a site's deliveries is read from an index, which needs the site beside the time.

import django.db.models.deletion
from django.db import migrations, models


def site_of_study(apps, schema_editor):
    study = apps.get_model("orchestrator", "Study").objects.filter(pk=models.OuterRef("study"))
    apps.get_model("routing", "Delivery").objects.update(site=models.Subquery(study.values("site")))


class Migration(migrations.Migration):

    dependencies = [
        ('orchestrator', '0012_words_of_names'),
        ('routing', '0005_pages_at_size'),
    ]

    operations = [
        migrations.AddField(
            model_name='delivery',
            name='site',
            field=models.ForeignKey(db_index=False, editable=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='orchestrator.site'),
        ),
        migrations.RunPython(site_of_study, migrations.RunPython.noop),
        migrations.AlterField(
            model_name='delivery',
            name='site',
            field=models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='orchestrator.site'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(fields=['site', '-created_at'], name='delivery_site'),
        ),
    ]
