"""The words of the names that are here already."""

import unicodedata

from django.db import migrations

_AT_ONCE = 5_000


def words_to_keep(name):
    """As names were folded when this was written; what the product does today may be another thing."""
    plain = unicodedata.normalize("NFKD", name.upper())
    folded = "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c)).split()
    return sorted({word[:64] for word in folded})


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
