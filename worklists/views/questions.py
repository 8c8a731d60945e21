"""What a modality asked, in words: `CT, today, own AE`. Of patients it says only that one was meant."""

import datetime as dt
from typing import Any

from django.utils.text import capfirst

from worklists.models import WorklistQuery

_OF_ONE_PATIENT = {
    "PatientName", "PatientID", "AccessionNumber", "StudyInstanceUID", "RequestedProcedureID",
    "ScheduledProcedureStepID",
}  # fmt: skip


def said(query: WorklistQuery, *, waiting: int, today: dt.date) -> dict[str, Any]:
    """For the board: when, how many answers, in which words; amber when it left out what waits, or was refused."""
    if query.status == 0xA900:
        return {"at": query.last_at, "colour": "wait", "icon": "warn", "got": "refused", "words": "not understood"}
    got_nothing = waiting > 0 and query.number_of_answers == 0
    return {
        "at": query.last_at,
        "colour": "wait" if got_nothing else "good",
        "icon": "warn" if got_nothing else "check",
        "got": f"given {query.number_of_answers}",
        "words": in_words(query, today),
    }


def in_words(query: WorklistQuery, today: dt.date) -> str:
    keys = {keyword: text for keyword, text in query.keys.items() if text != "*"}
    station = keys.get("ScheduledStationAETitle", "")
    date = keys.get("ScheduledProcedureStepStartDate", "")
    words = [
        keys.get("Modality", ""),
        "today" if date == f"{today:%Y%m%d}" else _range(date, _date),
        _range(keys.get("ScheduledProcedureStepStartTime", ""), _time),
        "own AE" if station == query.ae_title else station or "any AE",
        "one patient" if keys.keys() & _OF_ONE_PATIENT else "",
    ]
    return capfirst(", ".join(filter(None, words)))


def _range(text: str, write: Any) -> str:
    low, dash, high = text.partition("-")
    if not dash:
        return str(write(low))
    return f"{write(low)} to {write(high)}".strip() if low else f"until {write(high)}"


def _date(text: str) -> str:
    try:
        return f"{dt.datetime.strptime(text, '%Y%m%d'):%d %b}"  # noqa: DTZ007  a wall-clock date
    except ValueError:
        return text


def _time(text: str) -> str:
    return f"{text[:2]}:{text[2:4]}" if len(text) >= 4 else text
