# An index for each way that a list is filtered and sorted, none twice; names word by word.

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orchestrator', '0010_shell'),
    ]

    operations = [
        migrations.CreateModel(
            name='ClaimWord',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('word', models.CharField(max_length=64)),
            ],
        ),
        migrations.CreateModel(
            name='PatientWord',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('word', models.CharField(max_length=64)),
            ],
        ),
        migrations.RemoveIndex(
            model_name='inboundmessage',
            name='message_repetition',
        ),
        migrations.RemoveIndex(
            model_name='instance',
            name='instance_sop_digest',
        ),
        migrations.AlterField(
            model_name='accessevent',
            name='user',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AlterField(
            model_name='exceptioncase',
            name='site',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to='orchestrator.site'),
        ),
        migrations.AlterField(
            model_name='historicalscheduledprocedurestep',
            name='start_date',
            field=models.DateField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name='imagingservicerequest',
            name='site',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to='orchestrator.site'),
        ),
        migrations.AlterField(
            model_name='inboundmessage',
            name='interface',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='messages', to='orchestrator.hl7application'),
        ),
        migrations.AlterField(
            model_name='inboundmessage',
            name='site',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to='orchestrator.site'),
        ),
        migrations.AlterField(
            model_name='instance',
            name='differs_from',
            field=models.ForeignKey(blank=True, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='differing', to='orchestrator.instance'),
        ),
        migrations.AlterField(
            model_name='instance',
            name='spool_key',
            field=models.CharField(max_length=100),
        ),
        migrations.AlterField(
            model_name='scheduledprocedurestep',
            name='start_date',
            field=models.DateField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name='study',
            name='site',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, to='orchestrator.site'),
        ),
        migrations.AddIndex(
            model_name='accessevent',
            index=models.Index(fields=['user', '-at'], name='access_user'),
        ),
        migrations.AddIndex(
            model_name='accessevent',
            index=models.Index(fields=['action', '-at'], name='access_action'),
        ),
        migrations.AddIndex(
            model_name='exceptioncase',
            index=models.Index(fields=['status', 'due_at', 'kind', 'site', 'modality', 'source', 'owner'], name='case_queue'),
        ),
        migrations.AddIndex(
            model_name='exceptioncase',
            index=models.Index(fields=['-resolved_at'], name='case_resolved'),
        ),
        migrations.AddIndex(
            model_name='imagingservicerequest',
            index=models.Index(fields=['status', '-created_at'], name='order_status_created'),
        ),
        migrations.AddIndex(
            model_name='inboundmessage',
            index=models.Index(fields=['control_id', 'interface', 'digest'], name='message_control_id'),
        ),
        migrations.AddIndex(
            model_name='inboundmessage',
            index=models.Index(fields=['status', '-received_at'], name='message_status'),
        ),
        migrations.AddIndex(
            model_name='inboundmessage',
            index=models.Index(fields=['interface', '-received_at'], name='message_interface'),
        ),
        migrations.AddIndex(
            model_name='inboundmessage',
            index=models.Index(fields=['site', '-received_at'], name='message_site'),
        ),
        migrations.AddIndex(
            model_name='instance',
            index=models.Index(fields=['sop_instance_uid'], name='instance_sop'),
        ),
        migrations.AddIndex(
            model_name='instance',
            index=models.Index(condition=models.Q(('differs_from__isnull', False)), fields=['differs_from'], name='instance_differing'),
        ),
        migrations.AddIndex(
            model_name='study',
            index=models.Index(fields=['custody', '-last_received_at'], name='study_custody'),
        ),
        migrations.AddIndex(
            model_name='study',
            index=models.Index(fields=['site', '-last_received_at'], name='study_site'),
        ),
        migrations.AddConstraint(
            model_name='instance',
            constraint=models.UniqueConstraint(fields=('spool_key',), name='instance_file_once'),
        ),
        migrations.AddField(
            model_name='claimword',
            name='claim',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='words', to='orchestrator.identityclaim'),
        ),
        migrations.AddField(
            model_name='patientword',
            name='patient',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='words', to='orchestrator.patient'),
        ),
        migrations.AddIndex(
            model_name='claimword',
            index=models.Index(fields=['word', 'claim'], name='claim_word', opclasses=['varchar_pattern_ops', 'int8_ops']),
        ),
        migrations.AddIndex(
            model_name='patientword',
            index=models.Index(fields=['word', 'patient'], name='patient_word', opclasses=['varchar_pattern_ops', 'int8_ops']),
        ),
    ]
