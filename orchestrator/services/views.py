"""Saving views of lists: for oneself, or shared with everybody who may see that list."""

from django.db import transaction

from orchestrator.models import DefaultView, SavedView, User


class NameTaken(Exception):
    """The person has a view of this name on this list."""


@transaction.atomic
def save_view(*, owner: User, page: str, name: str, query: str, shared: bool) -> SavedView:
    """Keep the filters under a name. Raises NameTaken."""
    _refuse_twice(owner, page, name)
    return SavedView.objects.create(owner=owner, page=page, name=name, query=query, shared=shared)


@transaction.atomic
def change_view(view: SavedView, *, name: str, shared: bool, query: str | None = None) -> None:
    """Another name, other filters (None: as they are), shared or not. Raises NameTaken."""
    _refuse_twice(view.owner, view.page, name, but=view.pk)
    view.name, view.shared = name, shared
    if query is not None:
        view.query = query
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


def _refuse_twice(owner: User, page: str, name: str, *, but: int = 0) -> None:
    if SavedView.objects.filter(owner=owner, page=page, name=name).exclude(pk=but).exists():
        raise NameTaken(f"You have a view “{name}” here already.")
