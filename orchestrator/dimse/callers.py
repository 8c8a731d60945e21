"""Who may talk to us: configured peers, and by loopback trust any program of this machine."""

from dataclasses import dataclass

from django.conf import settings

from orchestrator.models import ApplicationEntity, Site, UnknownCaller
from orchestrator.services.callers import refuse

_LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Caller:
    """What is configured about a caller; no application entity where loopback trust lets an unknown one in."""

    application_entity_id: int | None
    site_id: int
    default_character_set: str = ""


class Refused(Exception):
    """This caller is not served; it has been recorded."""


def identify(ae_title: str, address: str) -> Caller:
    """Who calls. Raises Refused."""
    entity = ApplicationEntity.objects.select_related("device").filter(ae_title=ae_title).first()
    trusted = settings.TRUST == "loopback" and address in _LOOPBACK
    if entity is not None and entity.enabled and (trusted or not entity.host or entity.host == address):
        return Caller(entity.pk, entity.device.site_id, entity.default_character_set)
    if entity is None and trusted:
        return Caller(None, Site.objects.earliest("pk").pk)
    refuse(
        UnknownCaller.Protocol.DICOM,
        name=ae_title,
        address=address,
        summary=f"The application entity {ae_title} at {address} is not configured and was refused.",
    )
    raise Refused(f"The caller at {address} is not a configured application entity.")
