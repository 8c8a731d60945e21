"""All programs together: start wave by wave, keep, stop in reverse."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from itertools import groupby

from orchestrator.supervisor.console import Console
from orchestrator.supervisor.keeper import Keeper, Patience
from orchestrator.supervisor.process import Program
from orchestrator.supervisor.reaping import Reaper

_LOOK_AT_REAPER_EVERY = 2.0
_PATIENCE = Patience()
_ONE_SIGNAL = 1.0
"""Seconds within which a signal to us and the same signal passed on by our parent (make) count as one."""


class Supervisor:
    """Runs `programs` until SIGTERM, SIGINT or SIGHUP. A second signal ends them without grace."""

    def __init__(
        self,
        programs: Sequence[Program],
        console: Console,
        *,
        lock: int | None = None,
        patience: Patience = _PATIENCE,
    ) -> None:
        self._waves = [list(wave) for _, wave in groupby(sorted(programs, key=_wave), key=_wave)]
        self._console, self._lock, self._patience = console, lock, patience
        self._keepers: list[list[Keeper]] = []

    async def run(self, when_up: Callable[[], None]) -> None:
        """Start everything, call `when_up`, wait for a signal, stop everything.

        Raises CannotStart, after stopping what had started, when a program does not become ready.
        """
        self._stop, self._hurry = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._signalled)
        self._reaper = Reaper(self._lock)
        watch = asyncio.create_task(self._watch_reaper())
        try:
            await self._start()
            if not self._stop.is_set():
                when_up()
            await self._until_stopped()
        finally:
            await self._stop_all()
            watch.cancel()
            self._reaper.close()

    async def _start(self) -> None:
        stopped = asyncio.create_task(self._stop.wait())
        for wave in self._waves:
            keepers = [self._keeper(program) for program in wave]
            self._keepers.append(keepers)
            ready = asyncio.create_task(_all_ready(keepers))
            await asyncio.wait({ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                ready.cancel()
                return
            await ready
        stopped.cancel()

    async def _until_stopped(self) -> None:
        """Until a signal. A keeper never ends by itself: if one does, that is a defect and ends the run loudly."""
        stopped = asyncio.create_task(self._stop.wait())
        tasks = [keeper.task for keepers in self._keepers for keeper in keepers]
        await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            stopped.cancel()
            await asyncio.gather(*(task for task in tasks if task.done()))

    def _keeper(self, program: Program) -> Keeper:
        return Keeper(program, reaper=self._reaper, console=self._console, patience=self._patience)

    async def _stop_all(self) -> None:
        for keepers in reversed(self._keepers):
            self._console.say(f"stopping {', '.join(keeper.program.name for keeper in keepers)}")
            await asyncio.gather(*(keeper.stop(self._hurry) for keeper in keepers))
        self._console.say("stopped")

    def _signalled(self) -> None:
        now = asyncio.get_running_loop().time()
        if not self._stop.is_set():
            self._asked_at = now
            self._stop.set()
        elif now - self._asked_at > _ONE_SIGNAL:
            self._hurry.set()

    async def _watch_reaper(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_AT_REAPER_EVERY)
            if self._reaper.revive():
                self._console.say("the reaper was killed; started it again")


def _wave(program: Program) -> int:
    return program.wave


async def _all_ready(keepers: Sequence[Keeper]) -> None:
    """Until each program was ready once. Raises CannotStart as soon as one fails."""

    async def wait() -> None:
        for keeper in keepers:
            await keeper.was_ready.wait()

    tasks = [keeper.task for keeper in keepers]
    ready = asyncio.create_task(wait())
    await asyncio.wait({ready, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        ready.cancel()
        await asyncio.gather(*(task for task in tasks if task.done()))
