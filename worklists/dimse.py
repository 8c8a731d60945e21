"""Modality Worklist (PS3.4 annex K) and MPPS (annex F) as the listener calls them: decode, call, answer."""

from collections.abc import Callable, Iterable, Mapping

from pydicom.uid import ImplicitVRLittleEndian

from orchestrator.dimse.messages import Request, Response
from orchestrator.models import Actor, ActorKind, ApplicationEntity, acting
from worklists import selectors
from worklists.datasets.encoding import Unreadable, cut, in_character_set
from worklists.datasets.keys import read_question
from worklists.datasets.performed import Json, read_performed, write_performed
from worklists.matching import BadKey
from worklists.services import mpps
from worklists.services.queries import record_query

_SUCCESS, _CANCELLED = 0x0000, 0xFE00
_PENDING, _PENDING_WITH_WARNING = 0xFF00, 0xFF01
_IDENTIFIER_DOES_NOT_MATCH = 0xA900
_PROCESSING_FAILURE = 0x0110
# Typed failure → (status, Error ID) (PS3.7 annex C; A710: PS3.4 F.7.2.2.3).
_REFUSALS: Mapping[type[mpps.Refused], tuple[int, int | None]] = {
    mpps.InvalidValue: (0x0106, None),
    mpps.NoLongerUpdatable: (_PROCESSING_FAILURE, 0xA710),
    mpps.DuplicateInstance: (0x0111, None),
    mpps.NoSuchInstance: (0x0112, None),
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
        yield Response(_IDENTIFIER_DOES_NOT_MATCH, error_comment=" ".join(error.args)[:64])
        return
    except Unreadable:
        yield Response(_IDENTIFIER_DOES_NOT_MATCH, error_comment="The identifier cannot be read")
        return
    pending = _PENDING if question.all_supported else _PENDING_WITH_WARNING
    implicit = request.transfer_syntax_uid == ImplicitVRLittleEndian
    sent: list[int] = []
    # What stands when the peer goes away in the middle.
    final = _CANCELLED
    try:
        for step_id, character_set, answer in selectors.answers(question.keys, site_id=request.peer.site_id):
            if request.is_cancelled():
                break
            said = in_character_set(answer, answer_set) if answer_set not in ("", character_set) else answer
            yield Response(pending, cut(said, question.wanted, implicit=implicit))
            sent.append(step_id)
        else:
            final = _SUCCESS
    finally:
        record_query(
            site_id=request.peer.site_id,
            ae_title=request.peer.ae_title,
            address=request.peer.address,
            keys=question.asked,
            status=final,
            step_ids=sent,
        )
    yield Response(final)


def create_mpps(request: Request) -> Iterable[Response]:
    """N-CREATE of a performed step; the instance UID comes from the modality."""
    sender = mpps.Sender(request.peer.ae_title, request.peer.site_id)
    yield _performed(
        request, lambda sent: mpps.create(sop_instance_uid=request.sop_instance_uid, performed=sent, sender=sender)
    )


def set_mpps(request: Request) -> Iterable[Response]:
    """N-SET of a performed step."""
    yield _performed(request, lambda sent: mpps.update(sop_instance_uid=request.sop_instance_uid, performed=sent))


def get_mpps(request: Request) -> Iterable[Response]:
    """N-GET of a performed step (PS3.4 F.8.2): what was asked for and is there, or all of it."""
    performed = selectors.performed_step(request.sop_instance_uid, site_id=request.peer.site_id)
    if performed is None:
        yield Response(_REFUSALS[mpps.NoSuchInstance][0], error_comment="No such performed procedure step")
        return
    asked = request.attribute_identifiers
    yield Response(_SUCCESS, write_performed(performed.dataset, request.transfer_syntax_uid, only=asked))


def _performed(request: Request, keep: Callable[[Json], object]) -> Response:
    """Decode, keep on behalf of the modality, and turn a refusal into its status."""
    default_set, _ = _character_sets(request)
    try:
        sent = read_performed(request.dataset, request.transfer_syntax_uid, default_character_set=default_set)
        with acting(Actor(ActorKind.AE, request.peer.ae_title)):
            keep(sent)
    except Unreadable:
        return Response(_PROCESSING_FAILURE, error_comment="The data set cannot be read")
    except mpps.Refused as error:
        status, error_id = _REFUSALS[type(error)]
        return Response(status, error_comment=str(error)[:64], error_id=error_id)
    return Response(_SUCCESS)
