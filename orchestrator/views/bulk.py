"""Doing the same to many rows: which ones are meant, what it would do, and its start as a background job."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from django import forms
from django.core.exceptions import BadRequest
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse

from orchestrator.forms import ReasonForm
from orchestrator.models import Job, JobItem, User
from orchestrator.selectors import holds_nul, number_of
from orchestrator.services import bulk
from orchestrator.services.bulk import MOST_ROWS

from . import lists, replies, viewer_of

Standing = Any


class Act(NamedTuple):
    """What can be done to many rows: the words of its button, and what then happens to one and to several of them."""

    label: str
    icon: str
    one: str
    several: str
    form: Callable[[Any], ReasonForm] = ReasonForm
    danger: bool = False
    # The act that takes it back.
    undo: str = ""


class Selection(NamedTuple):
    """The rows that a person means: those that are ticked, all that match their filters, or what a job has done."""

    keys: Sequence[int]
    everything: bool
    query: QueryDict
    job: int | None
    # What the preview showed of all that match: the newest row, and how many rows the act applied to.
    newest: int | None = None
    counted: int = -1

    def job_of(self, request: HttpRequest, kind: str) -> Job | None:
        """The viewer's own job of that kind whose rows are meant; None when they are not those of a job."""
        if self.job is None:
            return None
        return get_object_or_404(Job, pk=self.job, owner_id=viewer_of(request).user_id, kind=kind)

    def of(self, rows: QuerySet[Any], matching: Callable[[QueryDict], QuerySet[Any]], job: Job | None) -> Any:
        """The rows of `rows` that are meant; `matching` finds those of a filter. What came after the preview is not."""
        if job is not None:
            return rows.filter(pk__in=job.items.filter(outcome=JobItem.Outcome.DONE).values("subject_id"))
        if not self.everything:
            return rows.filter(pk__in=self.keys)
        found = matching(self.query)
        return found if self.newest is None else found.filter(pk__lte=self.newest)

    def outgrown(self, shown: "Preview") -> str:
        """Why the act may not start yet: more would be done than the person was shown. Empty when it may."""
        if not self.everything or shown.done <= self.counted:
            return ""
        return "Nothing was changed: more match now than when you were asked. This is how many they are now."

    def hidden(self) -> dict[str, str]:
        """As it stands in the form that asks."""
        return {
            "pick": ",".join(map(str, self.keys)),
            "all": "1" if self.everything else "",
            "filter": self.query.urlencode(),
            "job": str(self.job or ""),
        }


def selection_of(request: HttpRequest) -> Selection:
    """What the bulk bar, or the form that asks, has posted. Raises BadRequest."""
    query = QueryDict(request.POST.get("filter", ""))
    # Encoded within a field, where the middleware does not see it.
    if holds_nul(query):
        raise BadRequest("A filter holds a NUL.")
    picked = ",".join(request.POST.getlist("pick")).split(",")
    newest, _, counted = request.POST.get("seen", "").partition("~")
    number = number_of(counted)
    return Selection(
        keys=lists.numbers_of(picked),
        everything=request.POST.get("all") == "1",
        query=query,
        job=number_of(request.POST.get("job", "")),
        newest=number_of(newest),
        counted=-1 if number is None else number,
    )


def carrying(form: forms.Form, selection: Selection) -> forms.Form:
    """The form with the selection in hidden fields."""
    for name, value in selection.hidden().items():
        form.fields[name] = forms.CharField(required=False, initial=value, widget=forms.HiddenInput, strip=False)
    return form


class Preview(NamedTuple):
    """How many rows the act applies to, how many are left as they are, by why, and the newest of them all."""

    done: int
    left: Sequence[tuple[str, int]]
    newest: int = 0
    # More are meant than a job does; none of them was looked at.
    too_many: bool = False

    @property
    def seen(self) -> str:
        """What the form that asks sends back."""
        return "" if self.too_many else f"{self.newest}~{self.done}"

    @property
    def total(self) -> int:
        return self.done + sum(number for _, number in self.left)

    def follows(self, act: Act) -> list[dict[str, str]]:
        """Sentences for the form: what happens to how many, and why others are left."""
        said = f"{self.done:,} {act.one if self.done == 1 else act.several}"
        kept = [f"{number:,} left as {'it is' if number == 1 else 'they are'}: {why}." for why, number in self.left]
        return [
            *([{"icon": "check", "text": said}] if self.done else []),
            *({"icon": "minus", "text": text} for text in kept),
        ]


def preview(
    rows: QuerySet[Any, Any],
    standings: Callable[[], Iterable[tuple[Standing, int, int]]],
    why_left: Callable[[Standing], str],
) -> Preview:
    """What an act would do to the rows. `standings` counts them by how they stand: (how, how many, newest id)."""
    if rows.order_by().values("pk")[: MOST_ROWS + 1].count() > MOST_ROWS:
        return Preview(0, [], too_many=True)
    reasons: Counter[str] = Counter()
    last = 0
    for standing, number, newest in standings():
        reasons[why_left(standing)] += number
        last = max(last, newest)
    done = reasons.pop("", 0)
    return Preview(done, reasons.most_common(), last)


def answer(
    request: HttpRequest,
    act: Act,
    selection: Selection,
    form: forms.Form,
    shown: Preview,
    *,
    noun: tuple[str, str],
    section: str,
    back: str,
    also: str,
    start: Callable[[], HttpResponse],
) -> HttpResponse:
    """Start it when the form is right and no more would be done than was shown; else ask. `noun`: one, several."""
    conflict = selection.outgrown(shown) if form.is_bound else ""
    meant = numbered(shown.total, noun)
    if shown.too_many:
        # It is no migration.
        meant = f"more than {numbered(MOST_ROWS, noun)}"
        conflict = f"Nothing was changed: more than {MOST_ROWS:,} are meant. Narrow the filters and do it in parts."
    if form.is_valid() and not conflict:
        return start()
    return replies.confirm(
        request, form, heading=f"{act.label} {meant}?", submit=f"{act.label} {shown.done:,}",
        icon=act.icon, danger=act.danger, back=back, final=not shown.done, conflict=conflict,
        follows=[*shown.follows(act), {"icon": "clock", "text": f"What matches now is meant. {also}"}],
        context={"section": section, "seen": shown.seen},
    )  # fmt: skip


def numbered(number: int, noun: tuple[str, str]) -> str:
    return f"{number:,} {noun[number != 1]}"


def started(
    request: HttpRequest, kind: str, *, title: str, rows: Sequence[tuple[int, str]], parameters: dict[str, Any]
) -> HttpResponse:
    """Start the job, and go where it can be watched."""
    owner = User.objects.get(pk=viewer_of(request).user_id)
    job = bulk.start(kind, title=title, owner=owner, rows=rows, parameters=parameters)
    return replies.done(request, f"{title}: started.", to=reverse("job", args=[job.pk]), colour="move")
