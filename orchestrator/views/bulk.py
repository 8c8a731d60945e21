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

from orchestrator.models import Job, JobItem, User
from orchestrator.selectors import holds_nul, number_of
from orchestrator.services import bulk

from . import lists, replies, viewer_of

Standing = Any


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

    @property
    def seen(self) -> str:
        """What the form that asks sends back."""
        return f"{self.newest}~{self.done}"

    @property
    def total(self) -> int:
        return self.done + sum(number for _, number in self.left)

    def follows(self, applies: str) -> list[dict[str, str]]:
        """Sentences for the form; `applies` says what happens to those that are done."""
        said = [{"icon": "check", "text": f"{self.done:,} {applies}"}] if self.done else []
        kept = [{"icon": "minus", "text": f"{number:,} left as they are: {why}."} for why, number in self.left]
        return [*said, *kept]


def preview(standings: Iterable[tuple[Standing, int, int]], why_left: Callable[[Standing], str]) -> Preview:
    """What an act would do to rows that are counted by how they stand: (how, how many, id of the newest)."""
    reasons: Counter[str] = Counter()
    last = 0
    for standing, number, newest in standings:
        reasons[why_left(standing)] += number
        last = max(last, newest)
    done = reasons.pop("", 0)
    return Preview(done, reasons.most_common(), last)


def too_many(request: HttpRequest, back: str) -> HttpResponse:
    """Refused: a job is no migration."""
    words = f"Nothing was changed: more than {bulk.MOST_ROWS:,} are meant. Narrow the filters and do it in parts."
    return replies.done(request, words, to=back, colour="wait")


def started(
    request: HttpRequest, kind: str, *, title: str, rows: Sequence[tuple[int, str]], parameters: dict[str, Any]
) -> HttpResponse:
    """Start the job, and go where it can be watched."""
    owner = User.objects.get(pk=viewer_of(request).user_id)
    job = bulk.start(kind, title=title, owner=owner, rows=rows, parameters=parameters)
    return replies.done(request, f"{title}: started.", to=reverse("job", args=[job.pk]), colour="move")
