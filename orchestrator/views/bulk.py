"""Doing the same to many rows: which ones are meant, what it would do, and its start as a background job."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404
from django.urls import reverse

from orchestrator.models import Job, JobItem, User
from orchestrator.selectors import number_of
from orchestrator.services import bulk

from . import lists, replies, viewer_of

Standing = Any


class Selection(NamedTuple):
    """The rows that a person means: those that are ticked, all that match their filters, or what a job has done."""

    keys: Sequence[int]
    everything: bool
    query: QueryDict
    job: int | None

    def of(self, request: HttpRequest, rows: QuerySet[Any], matching: Callable[[QueryDict], QuerySet[Any]]) -> Any:
        """The rows of `rows` that are meant; `matching` finds those of a filter."""
        if self.job is not None:
            job = get_object_or_404(Job, pk=self.job, owner_id=viewer_of(request).user_id)
            done = job.items.filter(outcome=JobItem.Outcome.DONE)
            return rows.filter(pk__in=done.values("subject_id"))
        return matching(self.query) if self.everything else rows.filter(pk__in=self.keys)

    def hidden(self) -> dict[str, str]:
        """As it stands in the form that asks."""
        return {
            "pick": ",".join(map(str, self.keys)),
            "all": "1" if self.everything else "",
            "filter": self.query.urlencode(),
            "job": str(self.job or ""),
        }


def selection_of(request: HttpRequest) -> Selection:
    """What the bulk bar, or the form that asks, has posted."""
    picked = ",".join(request.POST.getlist("pick")).split(",")
    return Selection(
        keys=lists.numbers_of(picked),
        everything=request.POST.get("all") == "1",
        query=QueryDict(request.POST.get("filter", "")),
        job=number_of(request.POST.get("job", "")),
    )


def carrying(form: forms.Form, selection: Selection) -> forms.Form:
    """The form with the selection in hidden fields."""
    for name, value in selection.hidden().items():
        form.fields[name] = forms.CharField(required=False, initial=value, widget=forms.HiddenInput, strip=False)
    return form


class Preview(NamedTuple):
    """How many rows the act applies to, and how many are left as they are, by why."""

    done: int
    left: Sequence[tuple[str, int]]

    @property
    def total(self) -> int:
        return self.done + sum(number for _, number in self.left)

    def follows(self, applies: str) -> list[dict[str, str]]:
        """Sentences for the form; `applies` says what happens to those that are done."""
        said = [{"icon": "check", "text": f"{self.done:,} {applies}"}] if self.done else []
        kept = [{"icon": "minus", "text": f"{number:,} left as they are: {why}."} for why, number in self.left]
        return [*said, *kept]


def preview(standings: Iterable[tuple[Standing, int]], why_left: Callable[[Standing], str]) -> Preview:
    """What an act would do to rows that are counted by how they stand."""
    reasons: Counter[str] = Counter()
    for standing, number in standings:
        reasons[why_left(standing)] += number
    done = reasons.pop("", 0)
    return Preview(done, reasons.most_common())


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
