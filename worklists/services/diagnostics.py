"""What `manage.py doctor` looks at of the worklists (settings.DOCTOR_CHECKS)."""

from orchestrator.services.diagnostics import Finding, Level
from worklists.services import lost


def check_stations() -> list[Finding]:
    """Every entry of the worklist is found by its stations."""
    if number := lost.count_lost():
        what = f"worklist: {number:,} steps are missing at their stations"
        return [Finding(Level.FAIL, what, "Run `manage.py worklist --mend`.")]
    return [Finding(Level.OK, "worklist: every step is found by its stations")]
