"""What tests of routing share: received studies with real files, rules in force, and a peer that answers as told."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from socketserver import BaseServer
from typing import Any

from django.utils import timezone
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid
from pynetdicom import AE, _config, build_context, evt

from orchestrator import storage
from orchestrator.models import ExceptionCase, IdentityClaim, ImagingServiceRequest, Study
from orchestrator.services import registration, studies
from orchestrator.services.corrections import recompute
from orchestrator.states import Identity, MatchedBy
from routing.models import Delivery, Destination, Line, RuleSet
from routing.services import destinations, rulesets
from routing.services.deliver import serve
from routing.services.route import route_study
from tests.factories import claimed, make_order, make_site, make_user, step_of
from tests.peers import LOOPBACK, free_port

PIXELS = bytes(range(256)) * 32


def image(order: ImagingServiceRequest, *, number: int = 1, charset: str = "ISO_IR 100", **changed: Any) -> Dataset:
    """A small CT image as a modality makes it that used the order's worklist entry, but for what is `changed`."""
    said = claimed(order)
    ds = Dataset()
    if charset:
        ds.SpecificCharacterSet = charset
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID = step_of(order).procedure.study_instance_uid, f"2.25.5{order.pk}"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = said["patient_name"], said["patient_id"], said["birth_date"]
    ds.PatientSex, ds.AccessionNumber, ds.Modality = said["sex"], said["accession_number"], "CT"
    ds.IssuerOfPatientID = "MAIN"
    ds.StudyDescription, ds.StudyDate, ds.StudyTime, ds.ReferringPhysicianName = "CT head", "20260705", "1030", ""
    ds.InstanceNumber, ds.ImageComments = number, "as made"
    item = Dataset()
    item.RequestedProcedureDescription = "CT head"
    ds.RequestAttributesSequence = DicomSequence([item])
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 64, 64, 16, 12, 11
    ds.PixelRepresentation, ds.SamplesPerPixel, ds.PhotometricInterpretation = 0, 1, "MONOCHROME2"
    ds.PixelData = PIXELS
    for keyword, value in changed.items():
        setattr(ds, keyword, value)
    return ds


def receive(
    *images: Dataset, calling: str = "CT_NORTH", syntax: str = ExplicitVRLittleEndian, **encoding: bool
) -> Study:
    """Spool and register these objects as a modality's C-STORE does, and close their study."""
    batch = []
    for ds in images:
        path = storage.incoming() / ds.SOPInstanceUID
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = syntax  # type: ignore[assignment]  # pydicom takes text
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(path, enforce_file_format=True, **encoding)
        key = storage.accept(path, calling_ae_title=calling)
        batch.append(registration.Received(key, calling, LOOPBACK, timezone.now()))
    registration.register(batch)
    study = Study.objects.get(study_instance_uid=images[0].StudyInstanceUID)
    studies.close(study.pk)
    study.refresh_from_db()
    return study


def match(study: Study, order: ImagingServiceRequest) -> None:
    """All claims of the study belong to this order, with the corrections that follow from it."""
    study.claims.update(
        identity=Identity.MATCHED, matched_by=MatchedBy.AUTO, matched_patient=order.patient, order=order
    )
    for claim in study.claims.all():
        recompute(claim)


def hold(claim: IdentityClaim) -> None:
    """As an undone decision leaves a claim."""
    IdentityClaim.objects.filter(pk=claim.pk).update(
        identity=Identity.HELD, matched_by="", matched_patient=None, order=None
    )
    claim.refresh_from_db()
    recompute(claim)


def matched_study(*, instances: int = 1, calling: str = "CT_NORTH", **changed: Any) -> Study:
    """A received study that matches its order; `changed` is what the modality says otherwise."""
    order = make_order()
    study = receive(*[image(order, number=n + 1, **changed) for n in range(instances)], calling=calling)
    match(study, order)
    return study


def destination(port: int = 0, *, name: str = "Archive", ae_title: str = "ARCHIVE", **more: Any) -> Destination:
    make_site()
    return destinations.create(name=name, ae_title=ae_title, host=LOOPBACK, port=port or free_port(), **more)


def send_rule(*targets: Destination, name: str = "all", when: Any = None, keep: bool = False) -> dict[str, Any]:
    then: list[dict[str, Any]] = [{"action": "send", "destination": each.pk, "priority": "normal"} for each in targets]
    return {"name": name, "enabled": True, "when": when or {"all": []}, "then": [*then, *[{"action": "keep"}] * keep]}


def publish(*rules: dict[str, Any]) -> int:
    """Put these rules in force; the number of their version."""
    rule_set, _ = RuleSet.objects.get_or_create(name="default")
    rulesets.save_draft(rule_set=rule_set, rules=list(rules))
    return rulesets.publish(rule_set_id=rule_set.pk, comment="for a test", user=make_user()).number


def queued(study: Study, to: Destination) -> Delivery:
    """The delivery of a matched study, by a rule."""
    publish(send_rule(to))
    route_study(study.pk)
    return Delivery.objects.filter(study=study, destination=to).latest("pk")


@dataclass
class Peer:
    """A storage SCP that answers as `answer` says, called with the event; what it got is in `got`."""

    port: int
    got: list[Dataset] = field(default_factory=list)
    syntaxes: list[str] = field(default_factory=list)
    associations: int = 0
    answer: Callable[[evt.Event], int] = lambda _event: 0x0000

    def _on_store(self, event: evt.Event) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        status = self.answer(event)
        self.got.append(ds)
        self.syntaxes.append(str(event.context.transfer_syntax))
        return status

    def _on_accepted(self, _event: evt.Event) -> None:
        self.associations += 1


@contextlib.contextmanager
def peer(
    *,
    syntaxes: Sequence[str] = (ExplicitVRLittleEndian, ImplicitVRLittleEndian),
    sop_classes: Sequence[str] = (CTImageStorage,),
    only: str = "",
) -> Iterator[Peer]:
    """Start a peer on a free port. `only`: it accepts associations for this called AE title alone."""
    # Our listener, where a test imported it, lets pynetdicom take whatever is proposed; this peer is choosy.
    unrestricted, _config.UNRESTRICTED_STORAGE_SERVICE = _config.UNRESTRICTED_STORAGE_SERVICE, False
    ae = AE(ae_title="ARCHIVE")
    ae.require_called_aet = bool(only)
    ae.ae_title = only or "ARCHIVE"
    running = Peer(free_port())
    server = ae.make_server(
        (LOOPBACK, running.port),
        contexts=[build_context(each, list(syntaxes)) for each in sop_classes],
        evt_handlers=[(evt.EVT_C_STORE, running._on_store), (evt.EVT_ACCEPTED, running._on_accepted)],
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield running
    finally:
        # Not the server's own: it wants to take itself off a list that only start_server() fills.
        BaseServer.shutdown(server)
        thread.join()
        for association in server.active_associations:
            association.join(10)
        server.server_close()
        _config.UNRESTRICTED_STORAGE_SERVICE = unrestricted


def state(delivery: Delivery) -> tuple[str, list[str]]:
    delivery.refresh_from_db()
    return delivery.status, sorted(delivery.instances.values_list("status", flat=True))


def deliver(delivery_id: int) -> None:
    """A worker goes to where this delivery goes."""
    serve(Delivery.objects.select_related("destination__device").get(pk=delivery_id).destination)


def is_due_again(delivery: Delivery) -> None:
    """Its time has come: the wait of the back-off, or of a dead worker's lease, is over."""
    past = timezone.now() - timedelta(seconds=1)
    Delivery.objects.filter(pk=delivery.pk).update(next_attempt_at=past)
    Delivery.objects.filter(pk=delivery.pk, lease_until__isnull=False).update(lease_until=past)
    Line.objects.filter(destination=delivery.destination_id).update(next_attempt_at=past, lease_until=None)


def case(kind: str) -> ExceptionCase:
    return ExceptionCase.objects.get(kind=kind)
