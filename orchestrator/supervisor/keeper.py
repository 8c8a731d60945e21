"""Keeps one program running: starts it, waits until it is ready, starts it again when it ends."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.supervisor.console import Console
from orchestrator.supervisor.process import Process, Program, describe
from orchestrator.supervisor.reaping import Reaper


class CannotStart(Exception):
    """A program never became ready. The text is one line for the operator."""


@dataclass(frozen=True)
class Patience:
    """All in seconds."""

    ready_within: float = 120.0
    first_pause: float = 0.5
    longest_pause: float = 30.0
    healthy_after: float = 60.0
    """A run at least this long makes its end a first failure again."""
    look_every: float = 0.1

    def pause(self, failures: int) -> float:
        """How long to wait after so many failures in a row."""
        # 2**30 pauses are past any longest one; the bound keeps the power small.
        return min(self.first_pause * 2.0 ** min(failures - 1, 30), self.longest_pause)


class Keeper:
    """One program and its runs."""

    def __init__(self, program: Program, *, reaper: Reaper, console: Console, patience: Patience) -> None:
        self.program = program
        self._reaper, self._console, self._patience = reaper, console, patience
        self._process: Process | None = None
        self._stopping = False
        self.was_ready = asyncio.Event()
        self.task: asyncio.Task[None] = asyncio.create_task(self._keep())

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    async def stop(self, hurry: asyncio.Event) -> None:
        """End the program and start it no more."""
        self._stopping = True
        if self._process is not None:
            await self._process.stop(grace=self.program.grace, hurry=hurry)
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _keep(self) -> None:
        """Raises CannotStart when the very first run does not become ready."""
        loop, failures, mended = asyncio.get_running_loop(), 0, False
        while True:
            started = loop.time()
            ready, reason = await self._one_run()
            if self._stopping:
                return
            if not ready and not mended and (deed := self.program.mend() if self.program.mend else ""):
                mended = True
                self._console.say(f"{self.program.name} ended ({reason}){self._last_line()}; {deed}")
                continue
            mended = mended and not ready
            if not self.was_ready.is_set():
                raise CannotStart(f"{self.program.name} could not start ({reason}){self._last_line()}")
            failures = 1 if loop.time() - started > self._patience.healthy_after else failures + 1
            pause = self._patience.pause(failures)
            self._console.say(f"{self.program.name} ended ({reason}); starting it again in {pause:g} s")
            await asyncio.sleep(pause)

    async def _one_run(self) -> tuple[bool, str]:
        """Until the process has ended: whether it was ready before, and why it ended."""
        try:
            process = self._process = await Process.start(self.program, self._reaper, self._line_writer())
        except OSError as error:
            return False, f"no process could be made: {error.strerror}"
        ready = await self._became_ready(process)
        if not ready and not process.ended.done():
            await process.kill()
            return False, f"not ready within {self._patience.ready_within:g} s"
        if ready and self.was_ready.is_set() and not process.ended.done():
            self._console.say(f"{self.program.name} is ready again (pid {process.pid})")
        if ready and (self.program.probe.only_ours or not process.ended.done()):
            self.was_ready.set()
        return ready, describe(await asyncio.shield(process.ended))

    async def _became_ready(self, process: Process) -> bool:
        """Ask its probe until it is ready (True), has ended, or has used up our patience."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._patience.ready_within
        while not process.ended.done() and loop.time() < end:
            if await self.program.probe.ready():
                return True
            await asyncio.wait({process.ended}, timeout=self._patience.look_every)
        # It may have said so with its last breath.
        return self.program.probe.only_ours and await self.program.probe.ready()

    def _last_line(self) -> str:
        return f": {self._process.last_line}" if self._process and self._process.last_line else ""

    def _line_writer(self) -> Callable[[str], None]:
        return lambda text: self._console.line(self.program.name, text)
