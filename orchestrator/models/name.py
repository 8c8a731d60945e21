"""Person names as they are searched: folded, word by word, in tables that a prefix is looked up in."""

import unicodedata
from typing import Any, ClassVar

from django.db import models
from django.db.models import CharField, Lookup


@CharField.register_lookup
class Glob(Lookup):
    """`*` any run, `?` one character, case-sensitive, by an index where the pattern starts with letters."""

    lookup_name = "glob"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[str | int, ...]]:
        left, params = self.process_lhs(compiler, connection)
        escaped = str(self.rhs).replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
        return rf"{left} LIKE %s ESCAPE '\'", (*params, escaped.replace("*", "%").replace("?", "_"))

    def as_sqlite(self, compiler: Any, connection: Any) -> tuple[str, tuple[str | int, ...]]:
        """SQLite's LIKE knows no case; its GLOB does, and has brackets beside."""
        left, params = self.process_lhs(compiler, connection)
        return f"{left} GLOB %s", (*params, str(self.rhs).replace("[", "[[]"))

    def get_prep_lookup(self) -> Any:
        return self.rhs


def folded_words(name: str) -> list[str]:
    """The words of a name, of all its component groups: upper case, without accents and signs."""
    plain = unicodedata.normalize("NFKD", name.upper())
    return "".join(c if c.isalnum() else " " for c in plain if not unicodedata.combining(c)).split()


def fold_name(name: str) -> str:
    """A person name for comparison: its folded words in alphabetical order."""
    return " ".join(sorted(folded_words(name)))[:324]


class NameWord(models.Model):
    """One folded word of a name; each of a name's words is here once."""

    # The index of each table is for beginnings too, which PostgreSQL looks up by this class of operators only.
    word = models.CharField(max_length=64)

    class Meta:
        abstract = True


class PatientWord(NameWord):
    """A word of a patient's name as it is known."""

    patient = models.ForeignKey("orchestrator.Patient", on_delete=models.CASCADE, related_name="words", db_index=False)

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["word", "patient"], name="patient_word", opclasses=["varchar_pattern_ops", "int8_ops"]
            ),
            # Whether a name that is gone through has a word is told by the index alone.
            models.Index(fields=["patient", "word"], name="words_of_patient"),
        ]

    def __str__(self) -> str:
        return f"word {self.pk} of patient {self.patient_id}"


class ClaimWord(NameWord):
    """A word of a name as received."""

    claim = models.ForeignKey(
        "orchestrator.IdentityClaim", on_delete=models.CASCADE, related_name="words", db_index=False
    )

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["word", "claim"], name="claim_word", opclasses=["varchar_pattern_ops", "int8_ops"]),
            # Whether a name that is gone through has a word is told by the index alone.
            models.Index(fields=["claim", "word"], name="words_of_claim"),
        ]

    def __str__(self) -> str:
        return f"word {self.pk} of claim {self.claim_id}"


def words_to_keep(name: str) -> list[str]:
    """What the tables hold of a name."""
    return sorted({word[:64] for word in folded_words(name)})
