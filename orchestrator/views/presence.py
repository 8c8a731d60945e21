"""Who else has the same page open, told live on whatever two people can collide over."""

from orchestrator.models import User
from orchestrator.permissions import Viewer
from orchestrator.services import presence
from orchestrator.services.workflow import Subject


def names_present(about: Subject, viewer: Viewer) -> list[str]:
    """The others who look at it now; asking says that the viewer looks too."""
    user = User.objects.get(pk=viewer.user_id)
    return [other.get_full_name() or other.username for other in presence.present(about, user=user)]
