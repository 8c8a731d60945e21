"""Names that no search finds, because their words are missing: looked for, and mended."""

from collections.abc import Iterator
from typing import Any

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from orchestrator.models import ClaimWord, IdentityClaim, Patient, PatientWord, words_to_keep

_AT_ONCE = 1_000


def _named() -> Iterator[tuple[type[PatientWord | ClaimWord], str, QuerySet[Any], str]]:
    """Each table of words, its column that says whose they are, the rows without any, and where their name is."""
    yield PatientWord, "patient_id", _without(Patient.objects.exclude(name=""), PatientWord, "patient"), "name"
    claims = IdentityClaim.objects.exclude(patient_name="")
    yield ClaimWord, "claim_id", _without(claims, ClaimWord, "claim"), "patient_name"


def _without(rows: QuerySet[Any], words: type[PatientWord | ClaimWord], of: str) -> QuerySet[Any]:
    return rows.filter(~Exists(words._default_manager.filter(**{of: OuterRef("pk")}))).order_by("pk")


def count_lost(most: int = _AT_ONCE) -> int:
    """How many names of patients and claims have no words though they have letters; no more than `most` of each."""
    return sum(
        bool(words_to_keep(said))
        for _, _, rows, name in _named()
        for said in rows.values_list(name, flat=True)[:most].iterator()
    )


def mend() -> int:
    """Write the words that are missing; answers of how many names. Workers may go on meanwhile."""
    mended = 0
    for table, of, rows, name in _named():
        last: int | None = 0
        while last is not None:
            last, number = _mend_batch(table, of, rows.filter(pk__gt=last), name)
            mended += number
    return mended


@transaction.atomic
def _mend_batch(
    table: type[PatientWord | ClaimWord], of: str, rows: QuerySet[Any], name: str
) -> tuple[int | None, int]:
    """The id of the last row that was looked at, None after all; and how many names got words."""
    # Locked: a name that is changed meanwhile has its words written by who changes it.
    found = list(rows.select_for_update(of=("self",), no_key=True).values_list("pk", name)[:_AT_ONCE])
    words = {pk: words_to_keep(said) for pk, said in found}
    rows_of_words: list[Any] = [table(word=word, **{of: pk}) for pk in words for word in words[pk]]
    table._default_manager.bulk_create(rows_of_words)
    return (found[-1][0] if found else None), sum(map(bool, words.values()))
