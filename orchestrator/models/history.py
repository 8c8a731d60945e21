"""Who changed what and why: the actor of the moment, and the columns every history row carries."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import models
from django.dispatch import receiver
from simple_history.manager import HistoryManager
from simple_history.models import HistoricalRecords
from simple_history.signals import pre_create_historical_record


class ActorKind(models.TextChoices):
    USER = "user", "User"
    INTERFACE = "interface", "HL7 interface"
    AE = "ae", "Application entity"
    SYSTEM = "system", "Fiducial"


@dataclass(frozen=True)
class Actor:
    """Who acts: a user (`user_id` set), an HL7 interface, an AE, or Fiducial itself."""

    kind: ActorKind
    name: str
    user_id: int | None = None


SYSTEM = Actor(ActorKind.SYSTEM, "Fiducial")

_actor: ContextVar[Actor] = ContextVar("actor", default=SYSTEM)
_reason: ContextVar[str] = ContextVar("reason", default="")


def current_actor() -> Actor:
    return _actor.get()


def current_reason() -> str:
    return _reason.get()


@contextmanager
def acting(actor: Actor, reason: str = "") -> Iterator[None]:
    """Everything written inside is recorded as done by `actor`, for `reason`."""
    actor_token, reason_token = _actor.set(actor), _reason.set(reason)
    try:
        yield
    finally:
        _actor.reset(actor_token)
        _reason.reset(reason_token)


def act_as(actor: Actor) -> None:
    """For the rest of the surrounding `acting`: a REST request knows its user only once its token is read."""
    _actor.set(actor)


class ActedOn(models.Model):
    """The columns that every history row has beside django-simple-history's own."""

    actor_kind = models.CharField(max_length=10, choices=ActorKind.choices, default=ActorKind.SYSTEM)
    actor_name = models.CharField(max_length=150, blank=True)

    class Meta:
        abstract = True


class _HistoryManager(HistoryManager):  # type: ignore[misc]  # the library has no types
    """Made of its class and its query set once: the library makes it anew for every row it writes."""

    @classmethod
    @cache
    def from_queryset(cls, queryset_class: type[models.QuerySet[Any]], class_name: str | None = None) -> Any:
        return super().from_queryset(queryset_class, class_name)


def history() -> HistoricalRecords:
    """The history manager of a record that a person or a message can change."""
    return HistoricalRecords(
        bases=[ActedOn], history_change_reason_field=models.TextField(null=True), history_manager=_HistoryManager
    )


@receiver(pre_create_historical_record)
def _stamp_actor(history_instance: Any, **kwargs: Any) -> None:
    actor = current_actor()
    history_instance.actor_kind = actor.kind
    history_instance.actor_name = actor.name
    history_instance.history_user_id = actor.user_id
    if not history_instance.history_change_reason:
        history_instance.history_change_reason = current_reason() or None
