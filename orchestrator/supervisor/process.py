"""One run of one program, in a session and process group of its own, with its output as lines."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, Self

from orchestrator.supervisor.forks import ForkServer
from orchestrator.supervisor.readiness import AtOnce, Probe
from orchestrator.supervisor.reaping import Reaper

_LONGEST_LINE = 64 * 1024
_LAST_BREATH = 2.0
"""Seconds that killed members of a group may take to disappear."""
# The child waits for a line from us, so that the reaper knows it before it does anything.
_GATE = ("/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "gate")


@dataclass(frozen=True)
class Program:
    """What to run, and how to tell that it is ready."""

    name: str
    argv: tuple[str, ...]
    wave: int = 0
    """Waves start one after the other and stop in reverse."""
    probe: Probe = field(default_factory=AtOnce)
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside, and over, the supervisor's own."""
    grace: float = 10.0
    """Seconds between SIGTERM and SIGKILL."""
    forks: ForkServer | None = None
    """Who has loaded it, if it is Python: it is forked off there."""
    mend: Callable[[], str] | None = None
    """Called when a run ended without ever being ready: what it put right (then the next run follows at once), or
    nothing. Once; after a run that was ready, once more.
    """


class _Child(Protocol):
    """A child process of ours, however it was started."""

    @property
    def pid(self) -> int: ...

    def wait(self) -> int:
        """Its exit status, negative for a signal."""


@dataclass(frozen=True)
class _Forked:
    pid: int

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class Process:
    """A running program. `start` it; then `ended` is its exit status, negative for a signal."""

    def __init__(self, child: _Child, output: int, reaper: Reaper, write_line: Callable[[str], None]) -> None:
        self.pid = child.pid
        self.last_line = ""
        self._child, self._output, self._reaper, self._write_line = child, output, reaper, write_line
        self.ended: asyncio.Task[int] = asyncio.create_task(self._run())

    @classmethod
    async def start(cls, program: Program, reaper: Reaper, write_line: Callable[[str], None]) -> Self:
        """Start `program`. Raises OSError when the machine has no room for a process; that there is no such program is
        seen as exit status 127.
        """
        program.probe.reset()
        begun = await _forked(program) or _executed(program)
        reaper.watch(begun.child.pid)
        with contextlib.suppress(BrokenPipeError), open(begun.go, "wb", buffering=0) as opened:
            opened.write(b"go\n")  # killed already, where it breaks: its exit status will say so
        return cls(begun.child, begun.output, reaper, write_line)

    async def stop(self, *, grace: float, hurry: asyncio.Event) -> None:
        """SIGTERM; after `grace` seconds, or as soon as `hurry` is set, SIGKILL to the whole group."""
        if not self.ended.done():
            # Not Popen.send_signal: it would reap the process behind the back of `ended`.
            os.kill(self.pid, signal.SIGTERM)
            hurried = asyncio.create_task(hurry.wait())
            await asyncio.wait({self.ended, hurried}, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL to the whole group, and wait."""
        if not self.ended.done():
            _kill_group(self.pid)
        await self.ended

    async def _run(self) -> int:
        output = asyncio.create_task(self._pump())
        await self._exited()
        # What is left of its group would hold its ports. Killed before the leader is waited for: until then the
        # number cannot be anybody else's.
        _kill_group(self.pid)
        status = self._child.wait()
        await _group_gone(self.pid)
        self._reaper.forget(self.pid)
        await asyncio.wait({output}, timeout=_LAST_BREATH)
        output.cancel()
        return status

    async def _exited(self) -> None:
        loop, exited = asyncio.get_running_loop(), asyncio.Event()
        descriptor = os.pidfd_open(self.pid)
        loop.add_reader(descriptor, exited.set)
        try:
            await exited.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def _pump(self) -> None:
        reader = asyncio.StreamReader(limit=_LONGEST_LINE)
        protocol = asyncio.StreamReaderProtocol(reader)
        output = open(self._output, "rb", buffering=0)  # noqa: SIM115  the transport closes it
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, output)
        try:
            while line := await _next_line(reader):
                text = line.decode(errors="backslashreplace").rstrip()
                self.last_line = text or self.last_line
                self._write_line(text)
        finally:
            transport.close()


class _Begun(NamedTuple):
    """A child that waits at its gate, and our ends of its pipes."""

    child: _Child
    go: int
    output: int


@contextlib.contextmanager
def _pipes() -> Iterator[tuple[int, int, Callable[[_Child], _Begun]]]:
    """A child's ends of a gate and an output, and what to call when it is there.

    Else our ends are closed too: whoever has come to this gate all the same, and told nobody, ends there.
    """
    gate, go = os.pipe()
    output, its_output = os.pipe()
    begun: list[_Begun] = []

    def is_there(child: _Child) -> _Begun:
        begun.append(_Begun(child, go, output))
        return begun[0]

    try:
        yield gate, its_output, is_there
    finally:
        for end in (gate, its_output, *(() if begun else (go, output))):
            os.close(end)


def _environment(program: Program) -> dict[str, str]:
    return {**program.environment, **program.probe.environment}


async def _forked(program: Program) -> _Begun | None:
    """None when it must be started without the server."""
    if program.forks is None:
        return None
    with _pipes() as (gate, output, is_there):
        pid = await program.forks.fork(program.argv, _environment(program), gate=gate, output=output)
        return is_there(_Forked(pid)) if pid else None


def _executed(program: Program) -> _Begun:
    with _pipes() as (gate, output, is_there):
        return is_there(
            subprocess.Popen(  # noqa: S603  a program of ours, from our own table
                [*_GATE, *program.argv],
                stdin=gate,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_environment(program)},
                start_new_session=True,
            )
        )


def wait_at_the_gate(gate: int, output: int) -> None:
    """The same, in a process that was forked off: take its ends of the pipes, and wait until the reaper knows it."""
    os.dup2(gate, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(gate)
    os.close(output)
    if not os.read(0, 3):
        os._exit(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)


async def _next_line(reader: asyncio.StreamReader) -> bytes:
    """The next line, or a piece of one that is too long; empty at the end."""
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as end:
        return end.partial
    except asyncio.LimitOverrunError as overrun:
        return await reader.read(overrun.consumed)


def _kill_group(group: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


async def _group_gone(group: int) -> None:
    """Wait until killed members let go of their ports and files. Those that are orphans now may be ours to reap."""
    with contextlib.suppress(ProcessLookupError, PermissionError, TimeoutError):
        async with asyncio.timeout(_LAST_BREATH):
            while True:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(-group, os.WNOHANG)
                os.killpg(group, 0)
                await asyncio.sleep(0.01)


def describe(status: int) -> str:
    """An exit status in words."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
