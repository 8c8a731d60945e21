"""Users with their roles, a person's own tokens, and who looked at what."""

from django import forms
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET, require_http_methods

from orchestrator import selectors
from orchestrator.audit import record_access
from orchestrator.forms import RoleForm, TokenForm, UserForm
from orchestrator.models import AccessEvent, ApiToken, RoleAssignment, User
from orchestrator.permissions import ACTIONS, can, may_manage, require
from orchestrator.services import access_log, tokens, users

from . import lists, replies, viewer_of


@require_GET
def user_list(request: HttpRequest) -> HttpResponse:
    """Everybody who may come in, and with which roles where."""
    viewer = viewer_of(request)
    require(viewer, "users.view")
    context = {
        "section": "users",
        "heading": "Users",
        "rows": list(selectors.users(viewer)),
        "may_edit": can(viewer, "users.edit"),
    }
    return replies.page(request, "orchestrator/users.html", "orchestrator/_users.html", context)


@require_http_methods(["GET", "POST"])
def add_user(request: HttpRequest) -> HttpResponse:
    """A new user, with a first role."""
    viewer = viewer_of(request)
    require(viewer, "users.edit")
    form = UserForm(request.POST or None, viewer=viewer)
    if form.is_valid():
        user = users.create_user(**form.cleaned_data)
        return replies.done(request, f"{user.username} may come in.", to="/users/")
    return replies.confirm(
        request, form, heading="Add a user", submit="Add", icon="plus", back="/users/",
        sentence="They sign in with this password, which you hand to them yourself.", context={"keep": "Do not add"},
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def add_role(request: HttpRequest, pk: int) -> HttpResponse:
    """One more role, at one site or at all."""
    viewer = viewer_of(request)
    require(viewer, "users.edit")
    user = get_object_or_404(selectors.users(viewer), pk=pk)
    form = RoleForm(request.POST or None, viewer=viewer)
    if form.is_valid():
        users.assign_role(user=user, **form.cleaned_data)
        return replies.done(request, f"{user.username} has the role.", to="/users/")
    return replies.confirm(
        request, form, heading=f"A role for {user.username}", submit="Give", icon="plus", back="/users/"
    )


@require_http_methods(["GET", "POST"])
def remove_role(request: HttpRequest, pk: int) -> HttpResponse:
    """Take a role away; the last administrator's stays."""
    viewer = viewer_of(request)
    require(viewer, "users.edit")
    seen = RoleAssignment.objects.filter(user__in=selectors.users(viewer).order_by().values("pk"))
    assignment = get_object_or_404(seen.select_related("user", "site"), pk=pk)
    # A role at all sites (no site) is taken by those who look after all.
    require(viewer, "users.edit", assignment.site_id or 0)
    if request.method == "POST":
        try:
            users.remove_role(assignment)
        except users.LastAdministrator as refusal:
            return replies.done(request, str(refusal), to="/users/", colour="wait")
        return replies.done(request, f"{assignment.user.username} no longer has the role.", to="/users/")
    return replies.confirm(
        request, forms.Form(), heading=f"Take this role from {assignment.user.username}?", submit="Take away",
        icon="x", danger=True, back="/users/", sentence=str(assignment),
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def switch_user(request: HttpRequest, pk: int) -> HttpResponse:
    """Let a person in no longer, or again."""
    viewer = viewer_of(request)
    require(viewer, "users.edit")
    user = get_object_or_404(selectors.users(viewer), pk=pk)
    if not may_manage(viewer, user):
        raise PermissionDenied
    active = not user.is_active
    if request.method == "POST":
        try:
            users.change_user(user=user, is_active=active)
        except users.LastAdministrator as refusal:
            return replies.done(request, str(refusal), to="/users/", colour="wait")
        said = "may come in again" if active else "can no longer come in"
        return replies.done(request, f"{user.username} {said}.", to="/users/")
    if active:
        return replies.confirm(
            request, forms.Form(), heading=f"Let {user.username} in again?", submit="Let in", icon="check",
            back="/users/", sentence="With the password, roles and tokens they had.",
        )  # fmt: skip
    return replies.confirm(
        request, forms.Form(), heading=f"Let {user.username} in no longer?", submit="Switch off", icon="ban",
        danger=True, back="/users/",
        sentence="What they have open asks them to sign in, and their tokens no longer work. Roles and history stay.",
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def change_password(request: HttpRequest) -> HttpResponse:
    """One's own password. Other sessions of the person end; this one goes on."""
    user = User.objects.get(pk=viewer_of(request).user_id)
    form = PasswordChangeForm(user, request.POST or None)
    if form.is_valid():
        users.change_user(user=user, password=form.cleaned_data["new_password1"])
        update_session_auth_hash(request, user)
        return replies.done(request, "Your password is changed.", to="/")
    return replies.confirm(
        request, form, heading="Change my password", submit="Change", icon="lock", back="/",
        sentence="Where you are signed in elsewhere, you are asked to sign in again.",
    )  # fmt: skip


@require_http_methods(["GET", "POST"])
def token_list(request: HttpRequest) -> HttpResponse:
    """One's own tokens for the REST API. A new key is shown once, in the answer to the POST that made it."""
    viewer = viewer_of(request)
    require(viewer, "tokens.edit")
    user = User.objects.get(pk=viewer.user_id)
    form, key = TokenForm(request.POST or None), ""
    if form.is_valid():
        scopes = (tokens.READ, tokens.WRITE) if form.cleaned_data["may_write"] else (tokens.READ,)
        key = tokens.create_token(
            user=user, name=form.cleaned_data["name"], scopes=scopes, days=form.cleaned_data["days"]
        )
        form = TokenForm()
    context = {
        "section": "tokens",
        "heading": "My tokens",
        "subtitle": "for the REST API",
        "rows": list(user.api_tokens.order_by("-created_at")),
        "form": form,
        "key": key,
    }
    status = 422 if form.is_bound and not form.is_valid() else 200
    return replies.page(request, "orchestrator/tokens.html", "orchestrator/_tokens.html", context, status=status)


@require_http_methods(["POST"])
def revoke_token(request: HttpRequest, pk: int) -> HttpResponse:
    """End one of one's own tokens. Cannot be taken back."""
    viewer = viewer_of(request)
    require(viewer, "tokens.edit")
    token = get_object_or_404(ApiToken, pk=pk, user_id=viewer.user_id)
    if token.revoked_at is None:
        tokens.revoke_token(token)
    return replies.done(request, f"Token {token.prefix}… is revoked.", to="/tokens/")


@require_GET
def access_list(request: HttpRequest) -> HttpResponse:
    """Who saw or changed what, the last first; and whether the chain over it holds, when asked."""
    viewer = viewer_of(request)
    require(viewer, "audit.view")
    queryset = AccessEvent.objects.all()
    person, action = request.GET.get("user", ""), request.GET.get("action", "")
    if (key := selectors.number_of(person)) is not None:
        queryset = queryset.filter(user_id=key)
    if action in ACTIONS:
        queryset = queryset.filter(action=action)
    found = lists.page_of(request, queryset, "at")
    record_access(
        viewer, "audit.view", "access", number_of_records=len(found.rows), address=request.META.get("REMOTE_ADDR")
    )
    verify = request.GET.get("verify") == "1"
    context = {
        "section": "audit",
        "heading": "Audit",
        "subtitle": "who saw or changed what",
        "found": found,
        "verify": verify,
        "broken": access_log.first_break() if verify else None,
        "clear": "/audit/" if person or action else "",
    }
    return replies.page(request, "orchestrator/audit.html", "orchestrator/_audit.html", context)
