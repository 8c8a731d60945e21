"""`python -m tests.orchestrator.supervisor.runner FILE`: a supervisor over the programs in a JSON file."""

import asyncio
import contextlib
import json
import sys
from pathlib import Path

from orchestrator.supervisor.console import Console
from orchestrator.supervisor.forks import ForkServer
from orchestrator.supervisor.keeper import CannotStart, Patience
from orchestrator.supervisor.lock import take_lock
from orchestrator.supervisor.process import Program
from orchestrator.supervisor.readiness import AtOnce, Notifies
from orchestrator.supervisor.supervision import Supervisor


def main(path: Path) -> int:
    plan = json.loads(path.read_text())
    here = {"PYTHONPATH": str(Path(__file__).parents[3])}
    forks = ForkServer(here, module="tests.orchestrator.supervisor.bare_fork_server") if plan["forked"] else None
    programs = [
        Program(
            each["name"],
            tuple(each["argv"]),
            each.get("wave", 0),
            Notifies() if each.get("notifies") else AtOnce(),
            grace=each.get("grace", 5.0),
            forks=forks,
        )
        for each in plan["programs"]
    ]
    console = Console(sys.stdout, [program.name for program in programs])
    supervisor = Supervisor(
        programs, console, lock=take_lock(path.parent / "up.lock"), patience=Patience(**plan["patience"])
    )
    try:
        with forks or contextlib.nullcontext():
            asyncio.run(supervisor.run(lambda: console.say("all up")))
    except CannotStart as error:
        console.say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
