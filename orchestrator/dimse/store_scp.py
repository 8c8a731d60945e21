"""Verification and Storage (PS3.4 A, B): durable, then answered; rows follow in batches."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime

from orchestrator import storage
from orchestrator.datasets import Header, Unreadable, read_header
from orchestrator.dimse.messages import Request, Response
from orchestrator.dimse.registrar import Registrar
from orchestrator.models import Site
from orchestrator.services.exceptions import open_case
from orchestrator.services.registration import Received

logger = logging.getLogger(__name__)

SUCCESS, OUT_OF_RESOURCES, DOES_NOT_MATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000

registrar = Registrar()


def echo(request: Request) -> Iterator[Response]:
    """C-ECHO (PS3.7 9.1.5)."""
    yield Response(SUCCESS)


def store(request: Request) -> Iterator[Response]:
    """C-STORE (PS3.7 9.1.1, statuses of PS3.4 B.2.3)."""
    path = request.path
    if path is None:
        yield Response(CANNOT_UNDERSTAND, error_comment="No data set was sent")
        return
    if not path.exists() or not path.stat().st_size:
        logger.warning("An object of %s was refused: there is no room in the spool", request.peer.ae_title)
        yield Response(OUT_OF_RESOURCES, error_comment="The spool's reserve is reached")
        return
    try:
        header = read_header(path, default_character_set=request.peer.default_character_set)
    except Unreadable as error:
        _keep(request, "UNREADABLE", f"An object cannot be read ({error}); its bytes are kept.")
        yield Response(CANNOT_UNDERSTAND, error_comment="The data set cannot be read; kept for review")
        return
    if problem := _mismatch(request, header):
        _keep(request, "DOES_NOT_MATCH", f"An object was refused and its bytes are kept: {problem}.")
        yield Response(DOES_NOT_MATCH, error_comment=problem[:64])
        return
    try:
        key = storage.accept(path, calling_ae_title=request.peer.ae_title)
    except OSError:
        logger.exception("An object of %s cannot be made durable: it is refused", request.peer.ae_title)
        yield Response(OUT_OF_RESOURCES, error_comment="The spool cannot be written to")
        return
    received = Received(key, request.peer.ae_title, request.peer.address, datetime.now(tz=UTC), header)
    registrar.add(received, association_id=request.peer.association_id, study_instance_uid=header.study_instance_uid)
    yield Response(SUCCESS)


def _mismatch(request: Request, header: Header) -> str:
    """Why this data set cannot be the object that the command named; empty when it can."""
    if not header.study_instance_uid:
        return "Study Instance UID (0020,000D) is missing"
    if not header.series_instance_uid:
        return "Series Instance UID (0020,000E) is missing"
    if header.sop_instance_uid != request.sop_instance_uid:
        return "SOP Instance UID (0008,0018) differs from the command"
    if header.sop_class_uid != request.sop_class_uid:
        return "SOP Class UID (0008,0016) differs from the command"
    if max(len(uid) for uid in (header.study_instance_uid, header.series_instance_uid, header.sop_instance_uid)) > 64:
        return "a UID is longer than 64 characters"
    return ""


def _keep(request: Request, reason_code: str, summary: str) -> None:
    """Keep refused bytes where a person finds them."""
    assert request.path is not None  # noqa: S101  the caller has looked
    name = storage.keep_unreadable(request.path)
    site = Site.objects.get(pk=request.peer.site_id)
    open_case(
        "unreadable_object",
        about=site,
        reason_code=reason_code,
        summary=summary,
        site=site,
        source=request.peer.ae_title,
        detail={"file": name, "sop_class_uid": request.sop_class_uid, "association": request.peer.association_id},
    )
