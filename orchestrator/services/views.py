"""Saving views of lists: for oneself, or shared with everybody who may see that list."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import IntegrityError, transaction

from orchestrator.models import DefaultView, SavedView, User


class NameTaken(Exception):
    """The person has a view of this name on this list."""


@contextmanager
def _once(name: str) -> Iterator[None]:
    """The database holds that a person has a name once on a list, also when it is saved twice at one moment."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as twice:
        raise NameTaken(f"You have a view “{name}” here already.") from twice


def save_view(*, owner: User, page: str, name: str, query: str, shared: bool) -> SavedView:
    """Keep the filters under a name. Raises NameTaken."""
    with _once(name):
        return SavedView.objects.create(owner=owner, page=page, name=name, query=query, shared=shared)


@transaction.atomic
def change_view(view: SavedView, *, name: str, shared: bool, query: str | None = None) -> None:
    """Another name, other filters (None: as they are), shared or not. Raises NameTaken."""
    view.name, view.shared = name, shared
    if query is not None:
        view.query = query
    with _once(name):
        view.save()
    if not shared:
        DefaultView.objects.filter(view=view).exclude(user=view.owner).delete()


def delete_view(view: SavedView) -> None:
    """Gone for everybody; its history stays."""
    view.delete()


@transaction.atomic
def set_default(*, user: User, page: str, view: SavedView | None) -> None:
    """Begin this person's list with that view, or (None) with all."""
    if view is None:
        DefaultView.objects.filter(user=user, page=page).delete()
    else:
        DefaultView.objects.update_or_create(user=user, page=page, defaults={"view": view})
