"""Modality Worklist (PS3.4 annex K) and MPPS (annex F) as the listener calls them: decode, call, answer."""

import logging
from collections.abc import Iterable, Mapping
from typing import Protocol

from django.db import OperationalError, connection
from pydicom.datadict import tag_for_keyword
from pydicom.uid import ImplicitVRLittleEndian

from orchestrator.dimse.afterwards import afterwards
from orchestrator.dimse.messages import Request, Response
from orchestrator.models import Actor, ActorKind, ApplicationEntity, acting
from worklists import selectors
from worklists.datasets.encoding import Unreadable, cut, in_character_set
from worklists.datasets.keys import read_question
from worklists.datasets.performed import Json, read_performed, write_performed
from worklists.matching import BadKey
from worklists.services import mpps, refusals
from worklists.services.queries import Asked, record_queries

logger = logging.getLogger(__name__)

_SUCCESS, _CANCELLED = 0x0000, 0xFE00
_PENDING, _PENDING_WITH_WARNING = 0xFF00, 0xFF01
_IDENTIFIER_DOES_NOT_MATCH = 0xA900
_PROCESSING_FAILURE = 0x0110
_SCHEDULED_STATION_AE_TITLE = 0x00400001
# Typed failure → (status, Error ID) (PS3.7 annex C; A710: PS3.4 F.7.2.2.3).
_REFUSALS: Mapping[type[mpps.Refused], tuple[int, int | None]] = {
    mpps.InvalidValue: (0x0106, None),
    mpps.NoLongerUpdatable: (_PROCESSING_FAILURE, 0xA710),
    mpps.Repeated: (_PROCESSING_FAILURE, 0xA710),
    mpps.DuplicateInstance: (0x0111, None),
    mpps.NoSuchInstance: (0x0112, None),
    mpps.InvalidInstance: (0x0117, None),
    mpps.MissingAttribute: (0x0120, None),
    mpps.MissingValue: (0x0121, None),
}


def _character_sets(request: Request) -> tuple[str, str]:
    """(what to read the caller's data sets as when they say nothing, what to answer in; empty: our choice)."""
    if request.peer.application_entity_id is None:
        return "", ""
    caller = ApplicationEntity.objects.get(pk=request.peer.application_entity_id)
    return caller.default_character_set, caller.answer_character_set


def find_worklist(request: Request) -> Iterable[Response]:
    """C-FIND: each step that fits, then the end (success, or cancelled as soon as the peer says so)."""
    default_set, answer_set = _character_sets(request)
    try:
        question = read_question(request.dataset, request.transfer_syntax_uid, default_character_set=default_set)
    except BadKey as error:
        keyword, problem = error.args
        yield from _not_understood(request, f"{keyword} {problem}", tag_for_keyword(keyword))
        return
    except Unreadable:
        yield from _not_understood(request, "The identifier cannot be read")
        return
    pending = _PENDING if question.all_supported else _PENDING_WITH_WARNING
    implicit = request.transfer_syntax_uid == ImplicitVRLittleEndian
    at_any_station = {_SCHEDULED_STATION_AE_TITLE: question.station or request.peer.ae_title}
    sent: list[int] = []
    # What stands when the peer goes away in the middle.
    final = _CANCELLED
    try:
        for answer in selectors.answers(question.keys, site_id=request.peer.site_id):
            if request.is_cancelled():
                break
            identifier = answer.identifier
            if answer_set not in ("", answer.character_set):
                identifier = in_character_set(identifier, answer_set)
            instead = at_any_station if answer.any_station else {}
            yield Response(pending, cut(identifier, question.wanted, implicit=implicit, instead=instead))
            sent.append(answer.step_id)
        else:
            final = _SUCCESS
    finally:
        _record(request, question.asked, final, sent)
    yield Response(final)


def _not_understood(request: Request, why: str, tag: int | None = None) -> Iterable[Response]:
    _record(request, {}, _IDENTIFIER_DOES_NOT_MATCH, [])
    yield Response(_IDENTIFIER_DOES_NOT_MATCH, error_comment=why[:64], offending_elements=() if tag is None else (tag,))


def _record(request: Request, keys: Mapping[str, str], status: int, sent: list[int]) -> None:
    """Behind the answer: a slow writer is not the modality's concern."""
    peer = request.peer
    afterwards.do(record_queries, Asked(peer.site_id, peer.ae_title, peer.address, keys, status, sent))


def create_mpps(request: Request) -> Iterable[Response]:
    """N-CREATE of a performed step; the instance UID comes from the modality."""
    yield _performed(request, mpps.create)


def set_mpps(request: Request) -> Iterable[Response]:
    """N-SET of a performed step."""
    yield _performed(request, mpps.update)


def get_mpps(request: Request) -> Iterable[Response]:
    """N-GET of a performed step (PS3.4 F.8.2): what was asked for and is there, or all of it."""
    performed = selectors.performed_step(request.sop_instance_uid, site_id=request.peer.site_id)
    if performed is None:
        yield Response(_REFUSALS[mpps.NoSuchInstance][0], error_comment="No such performed procedure step")
        return
    asked = request.attribute_identifiers
    yield Response(_SUCCESS, write_performed(performed.dataset, request.transfer_syntax_uid, only=asked))


class _Take(Protocol):
    def __call__(self, *, sop_instance_uid: str, performed: Json, sender: mpps.Sender) -> object: ...


def _performed(request: Request, take: _Take) -> Response:
    """Decode, keep on behalf of the modality, and turn a refusal into its status; what is refused is kept too."""
    peer, uid = request.peer, request.sop_instance_uid
    report = refusals.Report(
        request.command, uid, peer.ae_title, peer.site_id, request.transfer_syntax_uid, request.dataset
    )
    default_set, _ = _character_sets(request)
    with acting(Actor(ActorKind.AE, peer.ae_title)):
        try:
            sent = read_performed(request.dataset, request.transfer_syntax_uid, default_character_set=default_set)
            _take_twice(take, sop_instance_uid=uid, performed=sent, sender=mpps.Sender(peer.ae_title, peer.site_id))
        except Unreadable:
            refusal = Response(_PROCESSING_FAILURE, error_comment="The data set cannot be read")
        except mpps.Refused as error:
            status, error_id = _REFUSALS[type(error)]
            refusal = Response(status, error_comment=str(error)[:64], error_id=error_id)
            if isinstance(error, mpps.Repeated):
                return refusal
        except Exception:
            # Many modalities never say it again: a failure of ours is kept for a person as well.
            logger.exception("%s failed (association %s)", request.command, peer.association_id)
            refusal = Response(_PROCESSING_FAILURE, error_comment="Internal error")
        else:
            refusals.settle(report)
            return Response(_SUCCESS)
        refusals.keep(report, status=refusal.status, reason=refusal.error_comment)
    return refusal


def _take_twice(take: _Take, *, sop_instance_uid: str, performed: Json, sender: mpps.Sender) -> None:
    """Again at once when another writer was in the way (a deadlock, a lock), or the connection was lost."""
    try:
        take(sop_instance_uid=sop_instance_uid, performed=performed, sender=sender)
    except OperationalError:
        logger.warning("A performed step is taken once more", exc_info=True)
        connection.close_if_unusable_or_obsolete()
        take(sop_instance_uid=sop_instance_uid, performed=performed, sender=sender)
