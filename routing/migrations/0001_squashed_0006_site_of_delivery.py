from importlib import import_module

import django.db.models.deletion
import django.db.models.functions.datetime
import simple_history.models
from django.conf import settings
from django.db import migrations, models

from orchestrator.models.first_tables import FirstTables

create_default = import_module('routing.migrations.0002_default_rule_set').create_default


class Migration(migrations.Migration):

    replaces = [
        ('routing', '0001_initial'),
        ('routing', '0002_default_rule_set'),
        ('routing', '0003_delivery_finished'),
        ('routing', '0004_lines'),
        ('routing', '0005_pages_at_size'),
        ('routing', '0006_site_of_delivery'),
    ]

    initial = True

    dependencies = [
        ('orchestrator', '0012_words_of_names'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        FirstTables([
            migrations.CreateModel(
                name='RuleSet',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('name', models.CharField(max_length=100, unique=True)),
                    ('draft', models.JSONField(default=list)),
                ],
            ),
            migrations.CreateModel(
                name='Delivery',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('attempts', models.PositiveIntegerField(default=0)),
                    ('next_attempt_at', models.DateTimeField(blank=True, db_default=django.db.models.functions.datetime.Now(), db_index=True, null=True)),
                    ('lease_until', models.DateTimeField(blank=True, null=True)),
                    ('fence', models.BigIntegerField(default=0)),
                    ('last_error', models.TextField(blank=True)),
                    ('rendition', models.CharField(max_length=64)),
                    ('status', models.CharField(choices=[('QUEUED', 'Queued'), ('SENDING', 'Sending'), ('PARTIAL', 'Partial'), ('SENT', 'Sent'), ('VERIFIED', 'Verified'), ('COMMITTED', 'Committed'), ('RETRYING', 'Retrying'), ('UNKNOWN', 'Unknown'), ('FAILED', 'Failed'), ('CANCELED', 'Canceled'), ('PAUSED', 'Paused')], default='QUEUED', max_length=10)),
                    ('priority', models.CharField(default='normal', max_length=8)),
                    ('rule', models.CharField(blank=True, help_text='Name of the rule; empty when a person sent it.', max_length=100)),
                    ('created_at', models.DateTimeField(auto_now_add=True)),
                    ('finished_at', models.DateTimeField(blank=True, null=True)),
                    ('site', models.ForeignKey(db_index=False, editable=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='orchestrator.site')),
                    ('study', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='deliveries', to='orchestrator.study')),
                ],
                options={
                    'verbose_name_plural': 'deliveries',
                },
            ),
            migrations.CreateModel(
                name='DeliveryAttempt',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('started_at', models.DateTimeField()),
                    ('ended_at', models.DateTimeField(auto_now_add=True)),
                    ('sent', models.PositiveIntegerField(default=0)),
                    ('outcome', models.CharField(choices=[('QUEUED', 'Queued'), ('SENDING', 'Sending'), ('PARTIAL', 'Partial'), ('SENT', 'Sent'), ('VERIFIED', 'Verified'), ('COMMITTED', 'Committed'), ('RETRYING', 'Retrying'), ('UNKNOWN', 'Unknown'), ('FAILED', 'Failed'), ('CANCELED', 'Canceled'), ('PAUSED', 'Paused')], max_length=10)),
                    ('error', models.TextField(blank=True)),
                    ('delivery', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tries', to='routing.delivery')),
                ],
            ),
            migrations.CreateModel(
                name='Destination',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('name', models.CharField(max_length=100, unique=True)),
                    ('kind', models.CharField(choices=[('dicom', 'DICOM C-STORE')], default='dicom', max_length=13)),
                    ('ae_title', models.CharField(max_length=16)),
                    ('host', models.CharField(max_length=255)),
                    ('port', models.PositiveIntegerField()),
                    ('required_for_custody', models.BooleanField(default=False)),
                    ('paused', models.BooleanField(default=False)),
                    ('device', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='destinations', to='orchestrator.device')),
                ],
            ),
            migrations.AddField(
                model_name='delivery',
                name='destination',
                field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='deliveries', to='routing.destination'),
            ),
            migrations.CreateModel(
                name='HistoricalDestination',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('actor_kind', models.CharField(choices=[('user', 'User'), ('interface', 'HL7 interface'), ('ae', 'Application entity'), ('system', 'Fiducial')], default='system', max_length=10)),
                    ('actor_name', models.CharField(blank=True, max_length=150)),
                    ('name', models.CharField(db_index=True, max_length=100)),
                    ('kind', models.CharField(choices=[('dicom', 'DICOM C-STORE')], default='dicom', max_length=13)),
                    ('ae_title', models.CharField(max_length=16)),
                    ('host', models.CharField(max_length=255)),
                    ('port', models.PositiveIntegerField()),
                    ('required_for_custody', models.BooleanField(default=False)),
                    ('paused', models.BooleanField(default=False)),
                    ('history_change_reason', models.TextField(null=True)),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('device', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='orchestrator.device')),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ],
                options={
                    'verbose_name': 'historical destination',
                    'verbose_name_plural': 'historical destinations',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.CreateModel(
                name='Line',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('attempts', models.PositiveIntegerField(default=0)),
                    ('next_attempt_at', models.DateTimeField(blank=True, db_default=django.db.models.functions.datetime.Now(), db_index=True, null=True)),
                    ('lease_until', models.DateTimeField(blank=True, null=True)),
                    ('fence', models.BigIntegerField(default=0)),
                    ('last_error', models.TextField(blank=True)),
                    ('served_at', models.DateTimeField(blank=True, null=True)),
                    ('destination', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='line', to='routing.destination')),
                ],
                options={
                    'abstract': False,
                },
            ),
            migrations.CreateModel(
                name='RuleSetVersion',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('number', models.PositiveIntegerField()),
                    ('rules', models.JSONField()),
                    ('comment', models.TextField()),
                    ('rolled_back_to', models.PositiveIntegerField(blank=True, null=True)),
                    ('published_at', models.DateTimeField(auto_now_add=True)),
                    ('published_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('rule_set', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='routing.ruleset')),
                ],
            ),
            migrations.AddField(
                model_name='ruleset',
                name='published',
                field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='routing.rulesetversion'),
            ),
            migrations.CreateModel(
                name='HistoricalRuleSet',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('actor_kind', models.CharField(choices=[('user', 'User'), ('interface', 'HL7 interface'), ('ae', 'Application entity'), ('system', 'Fiducial')], default='system', max_length=10)),
                    ('actor_name', models.CharField(blank=True, max_length=150)),
                    ('name', models.CharField(db_index=True, max_length=100)),
                    ('draft', models.JSONField(default=list)),
                    ('history_change_reason', models.TextField(null=True)),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('published', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='routing.rulesetversion')),
                ],
                options={
                    'verbose_name': 'historical rule set',
                    'verbose_name_plural': 'historical rule sets',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.AddField(
                model_name='delivery',
                name='version',
                field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, to='routing.rulesetversion'),
            ),
            migrations.CreateModel(
                name='DeliveredInstance',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('status', models.CharField(choices=[('QUEUED', 'Queued'), ('SENDING', 'Sending'), ('PARTIAL', 'Partial'), ('SENT', 'Sent'), ('VERIFIED', 'Verified'), ('COMMITTED', 'Committed'), ('RETRYING', 'Retrying'), ('UNKNOWN', 'Unknown'), ('FAILED', 'Failed'), ('CANCELED', 'Canceled'), ('PAUSED', 'Paused')], default='QUEUED', max_length=10)),
                    ('dimse_status', models.PositiveIntegerField(blank=True, null=True)),
                    ('error', models.CharField(blank=True, max_length=200)),
                    ('at', models.DateTimeField(auto_now=True)),
                    ('instance', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='orchestrator.instance')),
                    ('delivery', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='instances', to='routing.delivery')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('delivery', 'instance'), name='instance_once_per_delivery')],
                },
            ),
            migrations.AddConstraint(
                model_name='rulesetversion',
                constraint=models.UniqueConstraint(fields=('rule_set', 'number'), name='version_number_once'),
            ),
            migrations.AddIndex(
                model_name='delivery',
                index=models.Index(fields=['status', 'next_attempt_at'], name='delivery_due'),
            ),
            migrations.AddIndex(
                model_name='delivery',
                index=models.Index(fields=['-created_at'], name='delivery_created'),
            ),
            migrations.AddIndex(
                model_name='delivery',
                index=models.Index(fields=['site', '-created_at'], name='delivery_site'),
            ),
            migrations.AddIndex(
                model_name='delivery',
                index=models.Index(fields=['status', 'destination', '-created_at'], name='delivery_status'),
            ),
            migrations.AddIndex(
                model_name='delivery',
                index=models.Index(fields=['destination', '-created_at'], name='delivery_destination'),
            ),
            migrations.AddIndex(
                model_name='delivery',
                index=models.Index(fields=['destination', '-finished_at'], name='delivery_finished'),
            ),
            migrations.AddConstraint(
                model_name='delivery',
                constraint=models.UniqueConstraint(fields=('study', 'destination', 'rendition'), name='delivery_once_per_rendition'),
            ),
        ]),
        migrations.RunPython(create_default, migrations.RunPython.noop),
    ]
