"""C-ECHO SCU: whether a peer is there and takes us."""

import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from pynetdicom import AE, build_context

_VERIFICATION = "1.2.840.10008.1.1"
_SECONDS = 5  # for the connection, and for each answer


@dataclass(frozen=True)
class Heard:
    """What came of a C-ECHO. The milliseconds are those of the whole association."""

    ok: bool
    milliseconds: int
    error: str = ""


def echo(*, ae_title: str, host: str, port: int) -> Heard:
    """C-ECHO (PS3.7 9.1.5) over an association of its own. What is wrong is said, never raised."""
    started = time.monotonic()
    error = _ask(ae_title, host, port)
    return Heard(not error, round((time.monotonic() - started) * 1000), error)


def _ask(ae_title: str, host: str, port: int) -> str:
    """What went wrong; empty when nothing did."""
    ae = AE(ae_title=settings.AE_TITLE)
    ae.connection_timeout, ae.acse_timeout, ae.dimse_timeout, ae.network_timeout = (_SECONDS,) * 4
    try:
        assoc: Any = ae.associate(host, port, [build_context(_VERIFICATION)], ae_title=ae_title)
    # A name that cannot be looked up is an OSError; one that cannot be a name at all a ValueError.
    except (OSError, ValueError):
        return "The host's name is not known."
    if not assoc.is_established:
        return _why_not(assoc)
    try:
        status = assoc.send_c_echo()
    except RuntimeError:
        return "The peer ended the association before it answered."
    assoc.release()
    if "Status" not in status:
        return "The peer gave no answer."
    return "" if status.Status == 0x0000 else f"The peer answered status {status.Status:04X}."


def _why_not(assoc: Any) -> str:
    if assoc.is_rejected:
        return f"The peer rejected the association: {assoc.acceptor.primitive.reason_str}."
    if assoc.rejected_contexts:
        return "The peer takes associations, but no C-ECHO."
    return "The peer could not be reached, or ended the association at once."
