"""A page with every component on it, and writes to try them: the address table of the component tests."""

import datetime as dt
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import include, path
from django.utils import timezone

from orchestrator.states import MACHINES
from orchestrator.templatetags.drawings import Moment
from orchestrator.views import replies

HOSTILE = "<script>document.title='owned'</script>"


class DestinationForm(forms.Form):
    name = forms.CharField(help_text="As people call it.")
    ae_title = forms.CharField(max_length=16, label="AE title")
    port = forms.IntegerField(min_value=1, max_value=65535)
    note = forms.CharField(required=False, widget=forms.Textarea(attrs={"rows": 2}))
    site = forms.ChoiceField(choices=[("n", "North"), ("s", "South")])
    custody = forms.BooleanField(label="Required for custody", required=False)
    window = forms.ChoiceField(choices=[("a", "Always"), ("w", "In a window")], widget=forms.RadioSelect)


class ReasonForm(forms.Form):
    reason = forms.CharField(label="Why", max_length=500)


def _evidence() -> list[dict[str, Any]]:
    return [
        {"field": "patient_id", "verdict": "close", "received": "S0771240", "expected": "S0771204", "points": 16},
        {"field": "patient_name", "verdict": "differ", "received": HOSTILE, "expected": "OKONKWO-BRANDT^Adaeze"},
        {"field": "birth_date", "verdict": "agree", "received": "19680314", "expected": dt.date(1968, 3, 14)},
        {"field": "accession_number", "verdict": "missing", "received": "", "expected": "S261116-0121"},
    ]


def _moments(now: dt.datetime) -> list[Moment]:
    def ago(minutes: int) -> dt.datetime:
        return now - dt.timedelta(minutes=minutes)

    return [
        Moment(ago(13000), "Orders", "ORM^O01 order placed"),
        Moment(ago(58), "Worklist", "MPPS in progress, then completed", until=ago(26)),
        Moment(ago(16), "Images", "1 instance missing", "bad"),
        Moment(ago(11), "Results", "assigned", "move"),
    ]


def _rows(now: dt.datetime) -> list[dict[str, Any]]:
    names = ["TRAUMA^Foxtrot 27", "PAPADOPOULOU^ELENI=Παπαδοπούλου^Ελένη", "", HOSTILE]
    left, scores = (-12, 16, 75, 3000), (64, 86, None, 5)
    return [
        {"id": number, "name": name, "due": now + dt.timedelta(minutes=minutes), "opened": now, "score": score}
        for number, name, minutes, score in zip(range(20391, 20395), names, left, scores, strict=True)
    ]


def _context() -> dict[str, Any]:
    now = timezone.now()
    return {
        "section": "exceptions",
        "heading": "Components",
        "rows": _rows(now),
        "evidence": _evidence(),
        "form": DestinationForm({"name": "CT_H_2", "ae_title": "CT_HARBOR_SECOND_ROOM", "port": "0104a"}),
        "moments": _moments(now),
        "tabs": [
            {"label": "All open", "url": "?view=open", "active": True, "count": 42},
            {"label": "Mine", "url": "?view=mine", "count": 9},
        ],
        "facets": [
            {
                "id": "due",
                "label": "Due",
                "choices": [
                    {"label": "Overdue", "url": "?due=over", "count": 1, "icon": "clock", "colour": "bad"},
                    {"label": "Today", "url": "?due=today", "count": 24, "active": True},
                ],
            }
        ],
        "actions": [
            {"label": "Assign to me", "url": "/undo/", "key": "a"},
            {"label": "Resolve…", "url": "/confirm/", "key": "e", "dialog": True},
        ],
        "candidates": [
            {
                "score": 86,
                "name": "OKONKWO-BRANDT^Adaeze",
                "line": "CT chest with contrast, South,",
                "accession_number": "S261116-0121",
                "patient_id": "S0771204",
                "evidence": _evidence(),
                "warning": "Same ID, other birth date",
            }
        ],
        "machines": [(name, list(machine.states.values)) for name, machine in MACHINES.items()],
        "dims": [{"label": "Custody", "machine": "study.custody", "value": "INCOMPLETE", "pill": True}],
        "log": [
            {
                "at": now,
                "icon": "user",
                "text": "Ines Prado assigned it",
                "sub": "“You know them.”",
                "undo_url": "/undo/",
            },
            {"at": now, "icon": "warn", "colour": "bad", "text": "823 of 824", "rail": "Images", "end": "Undone 09:39"},
        ],
        "figures": [5, 6, 7, 12],
        "low": [3] * 4,
        "high": [8] * 4,
        "job": {"pk": 3, "title": "Resolve 1,248", "status": "RUNNING", "total": 1248, "done": 811, "failed": 2},
    }


def sheet(request: HttpRequest) -> HttpResponse:
    return replies.page(request, "sheet.html", "_sheet.html", _context())


def confirm(request: HttpRequest) -> HttpResponse:
    form = ReasonForm(request.POST if "reason" in request.POST else None)
    if form.is_valid():
        return replies.done(request, f"Retried: {form.cleaned_data['reason']}", to="/", undo_url="/undo/")
    return replies.confirm(
        request,
        form,
        heading="Retry 3 failed deliveries?",
        submit="Retry 3",
        back="/",
        sentence="They go to NIGHT_PACS.",
        changes=[{"label": "Patient name", "tag": "0010,0010", "before": "A^B", "after": "A^C"}],
        follows=[{"icon": "undo", "text": "Can be undone"}],
    )


def undo(request: HttpRequest) -> HttpResponse:
    return replies.done(request, "Taken back.", to="/", stay=True)


def fault(request: HttpRequest) -> HttpResponse:
    return render(request, "500.html", status=500)


def error(request: HttpRequest, name: str) -> HttpResponse:
    return render(request, f"{name}.html", status=int(name[:3]) if name[:3].isdecimal() else 403)


urlpatterns = [
    path("", sheet),
    path("confirm/", confirm),
    path("undo/", undo),
    path("fault/", fault),
    path("error/<path:name>/", error),
    path("", include("orchestrator.views.routes")),
]
