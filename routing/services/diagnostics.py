"""What `manage.py doctor` asks of the peers that we send to (settings.DOCTOR_CHECKS)."""

from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from django.db import DatabaseError

from orchestrator.services.diagnostics import Finding, Level
from routing.models import Destination
from routing.transports.echo import echo

_AT_ONCE = 8


def check_destinations() -> list[Finding]:
    """Each destination answers a C-ECHO. One that does not is a warning: what is for it waits, and nothing is lost."""
    try:
        destinations = list(Destination.objects.filter(kind="dicom").order_by("name"))
    except DatabaseError:
        return []  # said by check_database
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(_finding, destinations))


def _finding(destination: Destination) -> Finding:
    peer = f"peer {destination.name}"
    if destination.paused:
        return Finding(Level.WARN, f"{peer}: paused", "Resume it in the portal when it may receive again.")
    heard = echo(ae_title=destination.ae_title, host=destination.host, port=destination.port)
    if heard.ok:
        return Finding(Level.OK, f"{peer}: answers C-ECHO in {heard.milliseconds} ms")
    where = f"{destination.ae_title} at {destination.host} port {destination.port}"
    return Finding(Level.WARN, f"{peer}: {heard.error}", f"Look at {where}; it must know us as {settings.AE_TITLE}.")
