"""The words of the names that are here already."""

from django.db import migrations

from orchestrator.models.name import words_to_keep

_AT_ONCE = 5_000


def keep_words(apps, schema_editor):
    for model, word_model, of, name in (
        ("Patient", "PatientWord", "patient_id", "name"),
        ("IdentityClaim", "ClaimWord", "claim_id", "patient_name"),
    ):
        words = apps.get_model("orchestrator", word_model)
        waiting = []
        rows = apps.get_model("orchestrator", model).objects.values_list("pk", name)
        for pk, said in rows.iterator(chunk_size=_AT_ONCE):
            waiting += [words(word=word, **{of: pk}) for word in words_to_keep(said)]
            if len(waiting) >= _AT_ONCE:
                words.objects.bulk_create(waiting)
                waiting = []
        words.objects.bulk_create(waiting)


class Migration(migrations.Migration):
    dependencies = [("orchestrator", "0011_pages_at_size")]
    operations = [migrations.RunPython(keep_words, migrations.RunPython.noop)]
