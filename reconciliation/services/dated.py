"""What of reconciliation is set back with an exam (orchestrator.services.dating)."""

from orchestrator.models import IdentityClaim
from orchestrator.services.dating import Dated
from reconciliation.models import MatchRun

DATED = (Dated(MatchRun, ("at",), {IdentityClaim: "claim_id"}),)
