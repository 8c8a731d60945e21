"""The peers that are configured: application entities and the devices that speak as them."""

from typing import Any

from django.db import transaction

from orchestrator.models import ApplicationEntity, Device, Site


@transaction.atomic
def add_application_entity(*, device_name: str, kind: str, site: Site, **columns: Any) -> ApplicationEntity:
    """A peer that may talk to us. A device of that name is taken as it is, else it is made."""
    device, _ = Device.objects.get_or_create(name=device_name, defaults={"kind": kind, "site": site})
    return ApplicationEntity.objects.create(device=device, **columns)
