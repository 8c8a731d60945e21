"""Applying kept messages in order, one interface at a time (promise 10)."""

import logging
import math
import time
import traceback
from zoneinfo import ZoneInfo

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, connection, transaction
from django.utils.module_loading import import_string

from orchestrator.hl7 import handlers
from orchestrator.hl7.handlers import Effect
from orchestrator.hl7.messages import Malformed, Message, read
from orchestrator.models import Actor, ActorKind, InboundMessage, acting
from orchestrator.services import messages

logger = logging.getLogger(__name__)


# Seconds: SQLite lets one write at a time, and those who wait look again after at most that long.
_LONGEST_PAUSE = 0.1


def apply_messages(interface_id: int, *, turn: float = math.inf) -> int:
    """Apply all that waits on an interface, in its order; answers how many messages were looked at.

    After `turn` seconds the bell rings for the rest, and the other interfaces come first: a worker would otherwise
    stay with one to which messages come as fast as they are applied.
    """
    number = 0
    begun = started = time.monotonic()
    while _apply_next(interface_id):
        number += 1
        if time.monotonic() - begun > turn:
            messages.ring_for(interface_id)
            break
        # Without a transaction, which on SQLite would keep all others from writing.
        if not messages.has_next(interface_id):
            break
        if connection.vendor == "sqlite":
            # Without a pause, acknowledgements and all other writes would starve behind a long queue.
            time.sleep(min(_LONGEST_PAUSE, time.monotonic() - started))
        started = time.monotonic()
    return number


@transaction.atomic
def _apply_next(interface_id: int) -> bool:
    """The next message in one transaction."""
    inbound = messages.next_message(interface_id)
    if inbound is None:
        return False
    with acting(Actor(ActorKind.INTERFACE, inbound.interface.name if inbound.interface else "")):
        _apply(inbound)
    return True


def _apply(inbound: InboundMessage) -> None:
    keys: set[str] = set()
    try:
        message = _read(inbound)
        keys = handlers.keys_of(message, inbound)
        if messages.wait_behind_others(inbound, keys=keys):
            return
        effect = _take_effect(message, inbound)
    except Malformed as problem:
        messages.quarantine(inbound, where=problem.where, why=problem.why, keys=keys)
    except (OperationalError, InterfaceError):
        # The database's trouble, not the message's: nothing is written, and the bell rings again.
        raise
    except Exception as error:
        # Where, but not what: the error's text may quote the message.
        place = traceback.extract_tb(error.__traceback__)[-1]
        logger.error(  # noqa: TRY400  no traceback: see above
            "Message %d is set aside: %s in %s, line %s", inbound.pk, type(error).__name__, place.name, place.lineno
        )
        why = f"it could not be applied ({type(error).__name__})"
        messages.quarantine(inbound, where="message", why=why, keys=keys)
    else:
        messages.applied(inbound, patient_id=effect.patient.pk, order_id=effect.order.pk if effect.order else None)


def _read(inbound: InboundMessage) -> Message:
    interface = inbound.interface
    default, site = (interface.default_charset, interface.site) if interface else ("", inbound.site)
    return read(bytes(inbound.raw), default_charset=default, zone=ZoneInfo(site.time_zone))


def _take_effect(message: Message, inbound: InboundMessage) -> Effect:
    """All that a message does, or nothing of it."""
    handler = import_string(settings.HL7_HANDLERS[inbound.message_type])
    try:
        with transaction.atomic():
            return handler(message, inbound)  # type: ignore[no-any-return]  # by a dotted name
    except IntegrityError:
        # Another interface's worker was faster with the same new patient, visit or order: now they are known. What this
        # one has learned was rolled back.
        inbound.site.refresh_from_db(fields=["default_issuer"])
        with transaction.atomic():
            return handler(message, inbound)  # type: ignore[no-any-return]  # by a dotted name
