"""Programs that are forked off a process that has loaded the product, and not loaded each by itself."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from django.conf import settings

from orchestrator.supervisor.forks import CannotLoad, ForkServer
from orchestrator.supervisor.process import Process, Program
from orchestrator.supervisor.reaping import Reaper
from tests.orchestrator.supervisor.environment import isolated

BARE = "tests.orchestrator.supervisor.bare_fork_server"
DYING = "tests.orchestrator.supervisor.dying_fork_server"
HERE = {"PYTHONPATH": str(settings.BASE_DIR)}
TELLS = """
import os, sys
leads, read = os.getsid(0) == os.getpid(), sys.stdin.read()
print(*sys.argv, os.environ["COLOUR"], leads, repr(read), "django.urls" in sys.modules)
print(open("/proc/self/cmdline").read().rstrip("\\0").replace("\\0", " "))
sys.exit(3)
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "tells.py"
    path.write_text(TELLS)
    return path


async def _run(program: Program, lines: list[str]) -> Process:
    reaper = Reaper()
    try:
        process = await Process.start(program, reaper, lines.append)
        await process.ended
        return process
    finally:
        reaper.close()


def test_a_fork_has_all_that_a_program_of_its_own_has_and_the_product_in_it(tmp_path: Path, script: Path) -> None:
    lines: list[str] = []
    with ForkServer({**HERE, **isolated(tmp_path)}) as forks:
        argv = (sys.executable, str(script), "one", "two words")
        process = asyncio.run(_run(Program("tells", argv, environment={"COLOUR": "red"}, forks=forks), lines))
        server = Path(f"/proc/{forks.pid}")
        # What two processes must not share is not there when it forks: no thread, no file, no connection but ours.
        assert "Threads:\t1\n" in (server / "status").read_text()
        opened = [os.readlink(each) for each in (server / "fd").iterdir()]
    assert lines == [f"{script} one two words red True '' True", " ".join(argv)]
    assert process.ended.result() == 3
    assert sorted(each.startswith("socket:") for each in opened[3:]) == [True]
    assert len(opened) == 4


def test_when_the_server_is_killed_its_forks_live_on_and_others_start_all_the_same(tmp_path: Path) -> None:
    sleeper = tmp_path / "sleeper.py"
    sleeper.write_text("import time\nprint('up', flush=True)\ntime.sleep(1000)\n")
    lines: list[str] = []

    async def play() -> None:
        reaper = Reaper()
        with ForkServer(HERE, module=BARE) as forks:
            program = Program("sleeper", (sys.executable, str(sleeper)), forks=forks)
            first = await Process.start(program, reaper, lines.append)
            killed = forks.pid
            os.kill(killed, signal.SIGKILL)
            alone, forked = [await Process.start(program, reaper, lines.append) for _ in range(2)]
            while len(lines) < 3:
                await asyncio.sleep(0.01)
            assert not first.ended.done()
            assert forks.pid != killed
            # Each is a child of ours, whoever started it.
            parents = [Path(f"/proc/{each.pid}/stat").read_text().split()[3] for each in (first, alone, forked)]
            assert parents == [str(os.getpid())] * 3
            for process in (first, alone, forked):
                await process.kill()
                assert process.ended.result() == -signal.SIGKILL
        reaper.close()

    asyncio.run(play())


def test_a_fork_whose_server_was_killed_before_it_told_of_it_never_begins(tmp_path: Path) -> None:
    orphan, lines = tmp_path / "orphan", list[str]()
    server = ForkServer({**HERE, "ORPHAN": str(orphan)}, module=DYING)
    with server as forks:
        program = Program("tells", (sys.executable, "-c", "print('begun')"), forks=forks)
        process = asyncio.run(_run(program, lines))
        assert process.ended.result() == 0
        assert lines == ["begun"]
        # It waited at a gate of its own, which nobody opened.
        _, status = os.waitpid(int(orphan.read_text()), 0)
        assert os.waitstatus_to_exitcode(status) == 1


def test_a_product_that_cannot_be_loaded_ends_the_start() -> None:
    with ForkServer(HERE, module="tests.nowhere") as forks, pytest.raises(CannotLoad):
        forks.load()


def test_a_server_that_is_killed_while_it_loads_is_done_without(tmp_path: Path) -> None:
    lines: list[str] = []
    with ForkServer({**HERE, **isolated(tmp_path)}) as forks:
        os.kill(forks.pid, signal.SIGKILL)
        forks.load()
        asyncio.run(_run(Program("tells", (sys.executable, "-c", "print('begun')"), forks=forks), lines))
    assert lines == ["begun"]
