# An index for each way that a list is filtered and sorted, none twice; names word by word.

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orchestrator', '0011_pages_at_size'),
        ('routing', '0004_lines'),
    ]

    operations = [
        migrations.AlterField(
            model_name='delivery',
            name='destination',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='deliveries', to='routing.destination'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(fields=['status', 'destination', '-created_at'], name='delivery_status'),
        ),
        migrations.AddIndex(
            model_name='delivery',
            index=models.Index(fields=['destination', '-created_at'], name='delivery_destination'),
        ),
    ]
