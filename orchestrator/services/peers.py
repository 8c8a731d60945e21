"""The peers that may talk to us: application entities and the devices that speak as them, HL7 applications."""

from typing import Any

from django.db import transaction

from orchestrator.models import ApplicationEntity, Device, HL7Application, Site, UnknownCaller, acting, current_actor
from orchestrator.services.exceptions import resolve_about

# PS3.5 6.2, AE: 1 to 16 characters of the default repertoire without backslash and controls, not only spaces.
AE_TITLE = r"^(?=.*[^ ])[ -\[\]-~]{1,16}\Z"
AE_TITLE_IS = "An AE title has 1 to 16 plain characters, without a backslash."


@transaction.atomic
def add_application_entity(*, device_name: str, kind: str, site: Site, **columns: Any) -> ApplicationEntity:
    """A peer that may talk to us. A device of that name is taken as it is, else it is made."""
    device, _ = Device.objects.get_or_create(name=device_name, defaults={"kind": kind, "site": site})
    return ApplicationEntity.objects.create(device=device, **columns)


@transaction.atomic
def introduce(caller: UnknownCaller, *, site: Site, reason: str) -> None:
    """A caller that was refused may talk to us from now on: under its name and, by DICOM, from its address."""
    with acting(current_actor(), reason):
        if caller.protocol == UnknownCaller.Protocol.HL7:
            application, _, facility = caller.name.partition("|")
            HL7Application.objects.update_or_create(
                sending_application=application,
                sending_facility=facility,
                defaults={"enabled": True},
                create_defaults={"name": " ".join(filter(None, (application, facility)))[:100], "site": site},
            )
        else:
            known = ApplicationEntity.objects.filter(ae_title=caller.name).first()
            if known is None:
                add_application_entity(
                    device_name=caller.name, kind=Device.Kind.MODALITY, site=site, ae_title=caller.name,
                    host=caller.address,
                )  # fmt: skip
            else:
                known.host, known.enabled = caller.address, True
                known.save()
    resolve_about("unknown_sender", about=caller, resolution="introduced")
    caller.delete()
