"""What every list page does: filters that stand in its address, facets with counts, keyset pages."""

import datetime as dt
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from django.core.exceptions import BadRequest
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, QueryDict
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from orchestrator.models import search
from orchestrator.selectors import number_of, values_of

from .replies import is_fragment
from .shell import preferred_site

M = TypeVar("M", bound=Model)

PAGE_ROWS = 50
EVERY_SITE = "all"
_SHOWN = "shown"


def minute() -> dt.datetime:
    """What is told in minutes changes by itself: a poll must not answer "the same" for ever (`replies.page`)."""
    return timezone.now().replace(second=0, microsecond=0)


def address(request: HttpRequest, **changes: object) -> str:
    """This page's address with other parameters; an empty value takes one away, and the first page comes again."""
    query = request.GET.copy()
    for passing in ("after", _SHOWN):
        query.pop(passing, None)
    for name, value in changes.items():
        query.pop(name, None)
        if value not in (None, ""):
            query[name] = str(value)
    return f"{request.path}?{query.urlencode()}" if query else request.path


def back_to(path: str, query: QueryDict) -> str:
    """The list's address with these filters."""
    return f"{path}?{query.urlencode()}" if query else path


def site_filter(request: HttpRequest) -> str:
    """The site that a list is about: of the address, else of the top bar; empty for all sites."""
    chosen = request.GET.get("site", "")
    if chosen == EVERY_SITE:
        return ""
    return chosen if number_of(chosen) is not None else str(preferred_site(request) or "")


def here(request: HttpRequest) -> str:
    """This page's own address, also when a poll asks."""
    return address(request, after=request.GET.get("after", ""))


def filter_of(request: HttpRequest) -> str:
    """The filters of this page as a query, for the bulk bar and saved views: the site of the top bar stands in it."""
    query = request.GET.copy()
    for passing in ("after", _SHOWN):
        query.pop(passing, None)
    query["site"] = site_filter(request) or EVERY_SITE
    return query.urlencode()


def address_of_rows(request: HttpRequest, rows: Sequence[Model]) -> str:
    """Where the page asks for the same rows again, each in its place."""
    shown = ",".join(str(row.pk) for row in rows)
    return address(request, after=request.GET.get("after", ""), **{_SHOWN: shown})


def shown_of(request: HttpRequest) -> list[int]:
    """The ids of the rows that a poll has on its screen; none when a page is asked for."""
    if not is_fragment(request):
        return []
    return numbers_of(request.GET.get(_SHOWN, "").split(","))


def numbers_of(texts: Iterable[str]) -> list[int]:
    """The row ids among the texts, no more than a page has rows."""
    return [key for key in map(number_of, texts) if key is not None][:PAGE_ROWS]


def in_place(queryset: QuerySet[M], shown: Sequence[int]) -> Sequence[M]:
    """These rows as they are now, in the order in which they are on the screen."""
    rows = queryset.in_bulk(shown)
    return [rows[key] for key in shown if key in rows]


def fresh(rows: Sequence[Model], shown: Sequence[int]) -> int:
    """How many rows of the page are new to the screen; what a full screen had no room for is not."""
    keys = [row.pk for row in rows]
    if len(shown) == PAGE_ROWS:
        keys = keys[: max((place for place, key in enumerate(keys, 1) if key in shown), default=0)]
    return sum(key not in shown for key in keys) if shown else 0


def live(request: HttpRequest, found: "Rows[M]", everything: QuerySet[M]) -> dict[str, Any]:
    """What a list shows that refreshes itself: a poll gets the rows on the screen as they are now, each in its place,
    and how many have come meanwhile. `everything`: also those that the filters no longer leave.
    """
    shown = shown_of(request)
    rows = in_place(everything, shown) if shown else found.rows
    return {
        "rows": rows, "fresh": fresh(found.rows, shown), "here": here(request), "poll": address_of_rows(request, rows),
    }  # fmt: skip


class Rows(NamedTuple, Generic[M]):
    """One page of a list, and where the next one and the first one are (empty: there is none)."""

    rows: Sequence[M]
    next: str
    first: str
    # How many rows of the list were gone through for a page that is not full; 0 when all of them were.
    looked: int = 0


def page_of(
    request: HttpRequest, queryset: QuerySet[M], column: str, *, ascending: bool = False,
    among: QuerySet[M] | None = None, is_live: bool = False,
) -> Rows[M]:  # fmt: skip
    """The page that `?after=<time>~<id>` asks for, ordered by the time in `column` and the id.

    By key, not by number: the millionth row costs what the first does, and no row is seen twice when others come.
    `among` is the list without the search, latest first: one that goes through its rows goes no further than a part of
    them for one page, and the next page goes on there. `is_live`: a poll shows other rows than these (`live`), and asks
    only which are new.
    """
    after = request.GET.get("after", "")
    if after:
        moment, key = _key(after)
        beyond = "gt" if ascending else "lt"
        # The outer bound alone can be looked up in the column's index; an OR of both would read and sort everything.
        rest = Q(**{f"{column}__{beyond}": moment}) | Q(**{f"pk__{beyond}": key})
        bound = {f"{column}__{beyond}e": moment}
        queryset, among = queryset.filter(rest, **bound), among if among is None else among.filter(rest, **bound)
    queryset, last = (queryset, None) if among is None else search.within_window(queryset, among, column)
    if is_live and shown_of(request):
        queryset = queryset.select_related(None).prefetch_related(None).only(column)
    ordered = queryset.order_by(column, "pk") if ascending else search.latest_first(queryset, column)
    rows, is_full = search.first_of(ordered, PAGE_ROWS)
    end, looked = (last, 0) if last else None, search.WINDOW if last else 0
    if is_full and rows:
        end, looked = (getattr(rows[-1], column), rows[-1].pk), 0
    further = address(request, after=f"{end[0].isoformat()}~{end[1]}") if end else ""
    return Rows(rows, further, address(request) if after else "", looked)


def _key(after: str) -> tuple[dt.datetime, int]:
    moment, _, key = after.partition("~")
    try:
        parsed = parse_datetime(moment)
    except ValueError:
        parsed = None
    number = number_of(key)
    if parsed is None or parsed.tzinfo is None or number is None:
        raise BadRequest("This address of a page is not one of ours.")
    return parsed, number


class Facet(NamedTuple):
    """One group of filters: the parameter and the value that a row has for it, and how a value is written."""

    name: str
    label: str
    write: Callable[[str], str] = str
    looks: Mapping[str, tuple[str, str]] = {}  # value -> colour, icon


Counted = Sequence[tuple[Mapping[str, str], int]]


def chosen_of(request: HttpRequest, facets: Iterable[Facet]) -> dict[str, str]:
    """The filters that are set: by the address, and the site by the top bar."""
    chosen = {facet.name: request.GET.get(facet.name, "") for facet in facets}
    if "site" in chosen:
        chosen["site"] = site_filter(request)
    return {name: value for name, value in chosen.items() if value}


def counted(rows: Counted, chosen: Mapping[str, str]) -> Counted:
    """The rows that the chosen filters leave."""
    wanted = [(name, values_of(name, value)) for name, value in chosen.items()]
    return [row for row in rows if all(row[0].get(name, "") in those for name, those in wanted)]


def _numbers(rows: Counted, names: Sequence[str], chosen: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """For each filter how many rows have which value, of those that the other filters leave: in one pass."""
    numbers: dict[str, dict[str, int]] = {name: {} for name in names}
    wanted = [(name, values_of(name, value)) for name, value in chosen.items()]
    for values, number in rows:
        amiss = [name for name, those in wanted if values.get(name, "") not in those]
        for name in names if not amiss else amiss if len(amiss) == 1 else ():
            if name in numbers:
                numbers[name][values[name]] = numbers[name].get(values[name], 0) + number
    return numbers


def links(request: HttpRequest, name: str, label: str, values: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A group for `{% facets %}` of (value, text), without counts: they would read a million rows."""
    active = request.GET.get(name, "")
    choices = [
        {
            "label": text,
            "url": address(request, **{name: "" if value == active else value}),
            "active": value == active,
        }
        for value, text in values
    ]
    return {"id": name, "label": label, "choices": choices}


def facet_groups(
    request: HttpRequest, facets: Sequence[Facet], rows: Counted, chosen: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Groups for `{% facets %}`: each choice with the rows it would leave; a chosen one takes itself away."""
    groups = []
    counts = _numbers(rows, [facet.name for facet in facets], chosen)
    for facet in facets:
        numbers = counts[facet.name]
        active = values_of(facet.name, chosen[facet.name]) if facet.name in chosen else []
        numbers = {**dict.fromkeys(active, 0), **numbers}
        order = list(facet.looks) or sorted(numbers, key=lambda value: (-numbers[value], value))
        cleared = EVERY_SITE if facet.name == "site" else ""

        def left(value: str, active: Sequence[str] = active, cleared: str = cleared) -> str:
            return ",".join(each for each in active if each != value) or cleared

        choices = [
            {
                "label": facet.write(value),
                "url": address(request, **{facet.name: left(value) if value in active else value}),
                "count": numbers[value],
                "active": value in active,
                "colour": facet.looks.get(value, ("", ""))[0],
                "icon": facet.looks.get(value, ("", ""))[1],
            }
            for value in order
            if value in numbers
        ]
        if choices:
            groups.append({"id": facet.name, "label": facet.label, "choices": choices})
    return groups
