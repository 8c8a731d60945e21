"""What the palette offers beside what it finds: pages, and things to do that the viewer may (settings.COMMANDS)."""

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from django.conf import settings
from django.utils.module_loading import import_string

from orchestrator.permissions import Viewer, can, can_everywhere


class Command(NamedTuple):
    """Goes to `url`, or presses what `press` (a CSS selector) names on the page; `words` find it too."""

    label: str
    icon: str
    action: str = ""
    url: str = ""
    press: str = ""
    everywhere: bool = False
    words: str = ""

    def allowed(self, viewer: Viewer) -> bool:
        if not self.action:
            return True
        return can_everywhere(viewer, self.action) if self.everywhere else can(viewer, self.action)


COMMANDS = (
    Command("My exceptions", "inbox", "exceptions.view", url="/exceptions/?view=mine"),
    Command("Unassigned exceptions", "inbox", "exceptions.view", url="/exceptions/?view=unassigned"),
    Command("Overdue exceptions", "clock", "exceptions.view", url="/exceptions/?due=over&site=all", words="late"),
    Command("Messages set aside", "message", "messages.view", url="/messages/?status=QUARANTINED&site=all"),
    Command("Held studies", "hold", "studies.view", url="/studies/?identity=HELD&site=all"),
    Command("My jobs", "progress", "jobs.view", url="/jobs/", words="background bulk progress"),
    Command("Add a user", "plus", "users.edit", url="/users/add/"),
    Command("API tokens", "lock", "tokens.edit", url="/tokens/", words="key script"),
    Command("My password", "lock", url="/password/", words="change"),
    Command("Verify the audit chain", "audit", "audit.view", url="/audit/?verify=1"),
    Command("Dark theme", "theme", press="[data-set-theme=dark]", words="night colours"),
    Command("Light theme", "theme", press="[data-set-theme=light]", words="day colours"),
    Command("Theme as the system", "theme", press="[data-set-theme=system]"),
    Command("Dense rows", "panel", press="[data-set-density=dense]", words="compact"),
    Command("Comfortable rows", "panel", press="[data-set-density=comfortable]", words="large"),
    Command("Keys of this page", "ask", press="[data-open-dialog=keys]", words="shortcuts help keyboard"),
    Command("Print this page", "print", press="[data-print]"),
    Command("Sign out", "lock", press="[data-sign-out]", words="log out"),
)


def commands(viewer: Viewer, text: str) -> list[dict[str, Any]]:
    """The commands with all words of the text, for who may do them; none when nothing was typed."""
    wanted = text.lower().split()
    if not wanted:
        return []
    every = (each for name in settings.COMMANDS for each in cast("Iterable[Command]", import_string(name)))
    return [
        {"kind": "Commands", "icon": each.icon, "title": each.label, "url": each.url, "press": each.press}
        for each in every
        if all(word in f"{each.label} {each.words}".lower() for word in wanted) and each.allowed(viewer)
    ]
