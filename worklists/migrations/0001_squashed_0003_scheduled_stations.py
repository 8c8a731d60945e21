import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models

from orchestrator.models.first_tables import FirstTables


class Migration(migrations.Migration):

    replaces = [
        ('worklists', '0001_initial'),
        ('worklists', '0002_records'),
        ('worklists', '0003_scheduled_stations'),
    ]

    initial = True

    dependencies = [
        ('orchestrator', '0013_kpi_indexes'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        FirstTables([
            migrations.CreateModel(
                name='HistoricalModalityPerformedProcedureStep',
                fields=[
                    ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                    ('actor_kind', models.CharField(choices=[('user', 'User'), ('interface', 'HL7 interface'), ('ae', 'Application entity'), ('system', 'Fiducial')], default='system', max_length=10)),
                    ('actor_name', models.CharField(blank=True, max_length=150)),
                    ('sop_instance_uid', models.CharField(db_index=True, max_length=64)),
                    ('status', models.CharField(choices=[('IN PROGRESS', 'In progress'), ('COMPLETED', 'Completed'), ('DISCONTINUED', 'Discontinued')], default='IN PROGRESS', max_length=12)),
                    ('ae_title', models.CharField(help_text='Calling AE title of the N-CREATE.', max_length=16)),
                    ('created_digest', models.CharField(max_length=64)),
                    ('dataset', models.JSONField()),
                    ('study_instance_uid', models.CharField(db_index=True, max_length=64)),
                    ('modality', models.CharField(blank=True, max_length=16)),
                    ('performed_procedure_step_id', models.CharField(blank=True, max_length=64)),
                    ('discontinuation_reason', models.CharField(blank=True, help_text='Code value of (0040,0281).', max_length=16)),
                    ('performed_series', models.JSONField(default=list)),
                    ('created_at', models.DateTimeField(blank=True, editable=False)),
                    ('updated_at', models.DateTimeField(blank=True, editable=False)),
                    ('ended_at', models.DateTimeField(blank=True, help_text='When we were told of the end.', null=True)),
                    ('history_change_reason', models.TextField(null=True)),
                    ('history_id', models.AutoField(primary_key=True, serialize=False)),
                    ('history_date', models.DateTimeField(db_index=True)),
                    ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                    ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                    ('order', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='orchestrator.imagingservicerequest')),
                    ('patient', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='orchestrator.patient')),
                    ('site', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='orchestrator.site')),
                ],
                options={
                    'verbose_name': 'historical modality performed procedure step',
                    'verbose_name_plural': 'historical modality performed procedure steps',
                    'ordering': ('-history_date', '-history_id'),
                    'get_latest_by': ('history_date', 'history_id'),
                },
                bases=(simple_history.models.HistoricalChanges, models.Model),
            ),
            migrations.CreateModel(
                name='WorklistEntry',
                fields=[
                    ('step', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='worklist_entry', serialize=False, to='orchestrator.scheduledprocedurestep')),
                    ('visible', models.BooleanField(help_text='Whether the step waits to be performed.')),
                    ('start', models.CharField(blank=True, max_length=20)),
                    ('start_time', models.CharField(blank=True, max_length=12)),
                    ('modality', models.CharField(blank=True, max_length=16)),
                    ('any_station', models.BooleanField(help_text='No station was named: the step shows at every station.')),
                    ('patient_id', models.CharField(blank=True, max_length=64)),
                    ('accession_number', models.CharField(blank=True, max_length=16)),
                    ('requested_procedure_id', models.CharField(blank=True, max_length=16)),
                    ('study_instance_uid', models.CharField(blank=True, max_length=64)),
                    ('sps_id', models.CharField(blank=True, max_length=16)),
                    ('character_set', models.CharField(max_length=64)),
                    ('answer', models.BinaryField()),
                    ('site', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to='orchestrator.site')),
                ],
                options={
                    'verbose_name_plural': 'worklist entries',
                },
            ),
            migrations.CreateModel(
                name='ScheduledStation',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('ae_title', models.CharField(blank=True, max_length=16)),
                    ('start', models.CharField(blank=True, max_length=20)),
                    ('modality', models.CharField(blank=True, max_length=16)),
                    ('site', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to='orchestrator.site')),
                    ('entry', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='stations', to='worklists.worklistentry')),
                ],
            ),
            migrations.CreateModel(
                name='MatchValue',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('key', models.CharField(choices=[('patient', "Patient's Name, folded"), ('physician', "Scheduled Performing Physician's Name, folded")], max_length=9)),
                    ('value', models.CharField(db_index=True, max_length=324)),
                    ('entry', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='match_values', to='worklists.worklistentry')),
                ],
            ),
            migrations.CreateModel(
                name='WorklistQuery',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('ae_title', models.CharField(max_length=16)),
                    ('address', models.GenericIPAddressField(null=True)),
                    ('keys', models.JSONField(default=dict)),
                    ('status', models.PositiveIntegerField(help_text='The final DIMSE status.')),
                    ('number_of_answers', models.PositiveIntegerField(default=0)),
                    ('step_ids', models.JSONField(default=list)),
                    ('answers_digest', models.CharField(default='', max_length=64)),
                    ('count', models.PositiveIntegerField(default=1)),
                    ('first_at', models.DateTimeField(auto_now_add=True)),
                    ('last_at', models.DateTimeField()),
                    ('site', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to='orchestrator.site')),
                ],
                options={
                    'verbose_name_plural': 'worklist queries',
                },
            ),
            migrations.CreateModel(
                name='ModalityPerformedProcedureStep',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('sop_instance_uid', models.CharField(max_length=64, unique=True)),
                    ('status', models.CharField(choices=[('IN PROGRESS', 'In progress'), ('COMPLETED', 'Completed'), ('DISCONTINUED', 'Discontinued')], default='IN PROGRESS', max_length=12)),
                    ('ae_title', models.CharField(help_text='Calling AE title of the N-CREATE.', max_length=16)),
                    ('created_digest', models.CharField(max_length=64)),
                    ('dataset', models.JSONField()),
                    ('study_instance_uid', models.CharField(db_index=True, max_length=64)),
                    ('modality', models.CharField(blank=True, max_length=16)),
                    ('performed_procedure_step_id', models.CharField(blank=True, max_length=64)),
                    ('discontinuation_reason', models.CharField(blank=True, help_text='Code value of (0040,0281).', max_length=16)),
                    ('performed_series', models.JSONField(default=list)),
                    ('created_at', models.DateTimeField(auto_now_add=True)),
                    ('updated_at', models.DateTimeField(auto_now=True)),
                    ('ended_at', models.DateTimeField(blank=True, help_text='When we were told of the end.', null=True)),
                    ('order', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='performed_steps', to='orchestrator.imagingservicerequest')),
                    ('patient', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='orchestrator.patient')),
                    ('site', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to='orchestrator.site')),
                    ('steps', models.ManyToManyField(blank=True, related_name='performed_steps', to='orchestrator.scheduledprocedurestep')),
                ],
                options={
                    'indexes': [models.Index(fields=['-created_at'], name='mpps_created')],
                },
            ),
            migrations.CreateModel(
                name='RefusedReport',
                fields=[
                    ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                    ('ae_title', models.CharField(max_length=16)),
                    ('command', models.CharField(help_text='N-CREATE or N-SET.', max_length=8)),
                    ('sop_instance_uid', models.CharField(blank=True, max_length=64)),
                    ('status', models.PositiveIntegerField(help_text='The DIMSE status it was answered with.')),
                    ('reason', models.CharField(max_length=64)),
                    ('transfer_syntax_uid', models.CharField(max_length=64)),
                    ('dataset', models.BinaryField()),
                    ('count', models.PositiveIntegerField(default=1)),
                    ('first_at', models.DateTimeField(auto_now_add=True)),
                    ('last_at', models.DateTimeField(auto_now=True)),
                    ('site', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, to='orchestrator.site')),
                ],
                options={
                    'constraints': [models.UniqueConstraint(fields=('sop_instance_uid', 'command', 'ae_title'), name='refused_report_once')],
                },
            ),
            migrations.AddIndex(
                model_name='worklistentry',
                index=models.Index(condition=models.Q(('visible', True)), fields=['site', 'modality', 'start'], name='entry_modality_start'),
            ),
            migrations.AddIndex(
                model_name='worklistentry',
                index=models.Index(condition=models.Q(('visible', True)), fields=['site', 'start'], name='entry_start'),
            ),
            migrations.AddIndex(
                model_name='worklistentry',
                index=models.Index(condition=models.Q(('visible', True)), fields=['patient_id'], name='entry_patient_id', opclasses=['varchar_pattern_ops']),
            ),
            migrations.AddIndex(
                model_name='worklistentry',
                index=models.Index(condition=models.Q(('visible', True)), fields=['requested_procedure_id'], name='entry_procedure'),
            ),
            migrations.AddIndex(
                model_name='worklistentry',
                index=models.Index(condition=models.Q(('visible', True)), fields=['sps_id'], name='entry_sps_id'),
            ),
            migrations.AddIndex(
                model_name='worklistentry',
                index=models.Index(fields=['accession_number'], name='entry_accession', opclasses=['varchar_pattern_ops']),
            ),
            migrations.AddIndex(
                model_name='worklistentry',
                index=models.Index(fields=['study_instance_uid'], name='entry_study_uid'),
            ),
            migrations.AddIndex(
                model_name='scheduledstation',
                index=models.Index(fields=['site', 'ae_title', 'start', 'modality', 'entry'], name='scheduled_station'),
            ),
            migrations.AddIndex(
                model_name='worklistquery',
                index=models.Index(fields=['ae_title', '-last_at'], name='worklist_query_latest'),
            ),
            migrations.AddIndex(
                model_name='worklistquery',
                index=models.Index(fields=['-last_at'], name='worklist_query_last_at'),
            ),
        ]),
    ]
