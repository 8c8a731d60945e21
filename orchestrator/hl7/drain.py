"""Applying kept messages in order, one interface at a time (promise 10)."""

import logging
import traceback

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.utils.module_loading import import_string

from orchestrator.hl7.handlers import keys_of
from orchestrator.hl7.messages import Malformed, read
from orchestrator.models import Actor, ActorKind, HL7Application, InboundMessage, acting
from orchestrator.services import messages

logger = logging.getLogger(__name__)


def apply_messages(interface_id: int) -> int:
    """Apply all that waits on an interface, in its order; answers how many messages were looked at."""
    number = 0
    while _apply_next(interface_id):
        number += 1
    return number


@transaction.atomic
def _apply_next(interface_id: int) -> bool:
    """The next message in one transaction. The lock on the interface keeps the order between workers."""
    HL7Application.objects.select_for_update().get(pk=interface_id)
    inbound = messages.next_message(interface_id)
    if inbound is None:
        return False
    interface = inbound.interface
    with acting(Actor(ActorKind.INTERFACE, interface.name if interface else "")):
        _apply(inbound)
    return True


def _apply(inbound: InboundMessage) -> None:
    try:
        default = inbound.interface.default_charset if inbound.interface else ""
        message = read(bytes(inbound.raw), default_charset=default)
        inbound.patient_key, inbound.order_key = keys_of(message)
        InboundMessage.objects.filter(pk=inbound.pk).update(
            patient_key=inbound.patient_key, order_key=inbound.order_key
        )
        if blocker := messages.blocking(inbound):
            messages.wait_behind(inbound, blocker)
            return
        with transaction.atomic():
            effect = import_string(settings.HL7_HANDLERS[inbound.message_type])(message, inbound)
    except Malformed as problem:
        messages.quarantine(inbound, where=problem.where, why=problem.why)
    except (OperationalError, InterfaceError):
        # The database's trouble, not the message's: nothing is written, and the bell rings again.
        raise
    except Exception as error:
        # Where, but not what: the error's text may quote the message.
        place = traceback.extract_tb(error.__traceback__)[-1]
        logger.error(  # noqa: TRY400  no traceback: see above
            "Message %d is set aside: %s in %s, line %s", inbound.pk, type(error).__name__, place.name, place.lineno
        )
        messages.quarantine(inbound, where="message", why=f"it could not be applied ({type(error).__name__})")
    else:
        messages.applied(inbound, patient_id=effect.patient.pk, order_id=effect.order.pk if effect.order else None)
