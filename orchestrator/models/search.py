"""Rows found by several columns of several tables: each looked up in its own index, or the latest gone through."""

import datetime as dt
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar, cast

from django.core.exceptions import EmptyResultSet
from django.db.models import F, Field, Lookup, Model, OrderBy, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import IsNull

from orchestrator.models.name import NameWord, folded_words

M = TypeVar("M", bound=Model)

FEW = 10_000  # rows that a search names one by one
SORTED = 1_000  # of these so many are looked up and sorted whatever the database expects of its indexes
COMMON = 4_000  # names with a word: of more, going through the latest rows finds a page sooner than joins name them
MANY = 50_000  # names in one table with each of two words: together these are not rare either
WINDOW = 5_000  # rows of a list that are gone through for one page of it
MOST_WORDS = 8  # of a name that are looked up; each costs a subquery


@Field.register_lookup
class Among(Lookup):
    """`pk__among=(1, 2)`: as `in`, the numbers in the statement: thousands of parameters cost more than the rows."""

    lookup_name = "among"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[str | int, ...]]:
        if not self.rhs:
            raise EmptyResultSet
        left, params = self.process_lhs(compiler, connection)
        return f"{left} IN ({','.join(map(str, self.rhs))})", (*params,)

    def get_prep_lookup(self) -> tuple[int, ...]:
        return tuple(map(int, self.rhs))


class Way(NamedTuple):
    """One way to find rows: look-ups that give their keys, and the same asked of one row.

    `words` are, for each word, its look-ups in the tables of words alone: when those give too many, so would the
    others, at the price of a join for each.
    """

    lookups: Sequence[QuerySet[Any, Any]]
    fits: Q
    words: Sequence[Sequence[QuerySet[Any, Any]]] = ()
    # Known before it is asked: what the keys come from are too many.
    too_many: bool = False

    def keys(self) -> set[int] | None:
        """None when there are too many to be named."""
        if self.too_many or self._is_common():
            return None
        keys = list(_together(self.lookups)[: FEW + 1])
        return None if len(keys) > FEW else {key for (key,) in keys}

    def _is_common(self) -> bool:
        """Of three words and more the joins leave few, however common each is."""
        if len(self.words) not in (1, 2):
            return False
        most = COMMON if len(self.words) == 1 else MANY * len(self.words[0])
        return all(_together(word)[most : most + 1] for word in self.words)


def _together(lookups: Sequence[QuerySet[Any, Any]]) -> QuerySet[Any, Any]:
    first, *others = (each.order_by() for each in lookups)
    return first.union(*others, all=True) if others else first


def find(queryset: QuerySet[M], *ways: Way) -> QuerySet[M]:
    """The rows whose keys one of the ways gives; where those are too many to be named, the rows that fit it.

    A list wants the latest of what was found. Of few rows all are looked up and sorted; of many the latest are gone
    through until a page is full, which is soon. An OR over several tables would read them whole for either. What is
    common may be rare in a list (of a site, in a state): `within_window` says how far a page goes.
    """
    named, fitting = set[int](), Q()
    for way in ways:
        keys = way.keys()
        if keys is None:
            fitting |= way.fits
        else:
            named |= keys
    found = queryset.filter(Q(pk__among=sorted(named)) | fitting if named else fitting or Q(pk__in=()))
    if fitting:
        return gone_through(found)
    return looked_up(found) if len(named) <= SORTED else found


def looked_up(queryset: QuerySet[M]) -> QuerySet[M]:
    """Marked as one with few rows, all of which are looked up."""
    return cast("QuerySet[M]", queryset.alias(looked_up=Value(1)))


def is_looked_up(queryset: QuerySet[Any]) -> bool:
    return "looked_up" in queryset.query.annotations


def as_found(queryset: QuerySet[M], found: QuerySet[Any]) -> QuerySet[M]:
    """Marked as `found` is, which these rows are of."""
    marks = {mark: Value(1) for mark in ("gone_through", "looked_up") if mark in found.query.annotations}
    return cast("QuerySet[M]", queryset.alias(**marks))


def latest_first(found: QuerySet[M], column: str) -> QuerySet[M]:
    """By time and id. Few rows by a value that no index is in the order of: a database that hopes to meet some of them
    soon in the list's own index goes through all of it when they are old.
    """
    if not is_looked_up(found):
        return found.order_by(f"-{column}", "-pk")
    return found.order_by(OrderBy(Coalesce(F(column), F(column)), descending=True), "-pk")


def gone_through(queryset: QuerySet[M]) -> QuerySet[M]:
    """Marked as one whose rows are looked at one by one."""
    return cast("QuerySet[M]", queryset.alias(gone_through=Value(1)))


def is_gone_through(queryset: QuerySet[Any]) -> bool:
    return "gone_through" in queryset.query.annotations


def within_window(
    found: QuerySet[M], among: QuerySet[M], column: str, rows: int = 0
) -> tuple[QuerySet[M], dt.datetime | None]:
    """Of what is gone through no more than about the first `rows` (WINDOW) of the list, latest first; the last moment.

    `among` is the list without the search, or a larger one: of it an index of its times alone is read. Rows of the
    last moment are within. None when nothing follows, or all was looked up.
    """
    if not is_gone_through(found):
        return found, None
    rows = rows or WINDOW
    times = among.prefetch_related(None).order_by(f"-{column}").values_list(column, flat=True)
    ends = list(times[rows - 1 : rows + 1])
    if len(ends) < 2 or (ends[0] == ends[1] and not among.filter(**{f"{column}__lt": ends[0]}).exists()):
        return found, None
    return found.filter(**{f"{column}__gte": ends[0]}), ends[0]


def first_of(ordered: QuerySet[M], most: int) -> tuple[list[M], bool]:
    """The first rows, and whether more follow. Of what is gone through their keys first: to join all that a page shows
    with each row that does not fit costs more than to look at it.
    """
    if not is_gone_through(ordered):
        rows = list(ordered[: most + 1])
        return rows[:most], len(rows) > most
    keys = list(ordered.prefetch_related(None).values_list("pk", flat=True)[: most + 1])
    # One that fits no longer leaves its place empty, and does not end the list.
    return list(ordered.filter(pk__among=sorted(keys[:most]))), len(keys) > most


def is_one(rows: QuerySet[Any]) -> Q:
    """Whether there is such a row; looked up for each row that is gone through.

    EXISTS says the same, but PostgreSQL would rather find all such rows at once, of the whole table, and then look.
    """
    return Q(IsNull(Subquery(rows.order_by().values("pk")[:1]), False))


def _beginnings(text: str) -> list[str]:
    """Patterns for the words of a name that is searched: none that another one implies, and not too many."""
    words = sorted({word[:64] for word in folded_words(text)}, key=lambda word: (-len(word), word))
    kept = [word for place, word in enumerate(words) if not any(longer.startswith(word) for longer in words[:place])]
    return [f"{word}*" for word in kept[:MOST_WORDS]]


def with_words(table: type[NameWord], of: str, text: str) -> QuerySet[Any, Any]:
    """Ids of those (`of`) whose name has a word that begins so for each word of the text; without any, none."""
    first, *others = _beginnings(text) or [""]
    rows = table._default_manager.filter(word__glob=first)
    for glob in others:
        rows = rows.filter(**{f"{of}__in": table._default_manager.filter(word__glob=glob).values(of)})
    return rows.values_list(of)


def has_words(table: type[NameWord], of: str, text: str, outer: str = "pk") -> Q:
    """The same, asked of one row, whose `outer` is the id."""
    globs = _beginnings(text)
    has = Q() if globs else Q(pk=None)
    for glob in globs:
        has &= is_one(table._default_manager.filter(word__glob=glob, **{of: OuterRef(outer)}))
    return has


def each_word(text: str, *tables: type[NameWord]) -> Sequence[Sequence[QuerySet[Any, Any]]]:
    """For each word of the text its look-ups in the tables, which need the index of words alone."""
    return [[table._default_manager.filter(word__glob=glob).values_list("word") for table in tables]
            for glob in _beginnings(text)]  # fmt: skip
