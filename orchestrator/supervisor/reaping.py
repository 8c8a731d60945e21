"""The supervisor's side of the reaper: which process groups are alive, told through a pipe."""

import subprocess
import sys
from pathlib import Path

from orchestrator.supervisor import reaper


class Reaper:
    """The reaper process and the list of groups it watches."""

    def __init__(self, lock: int | None = None) -> None:
        self._lock, self._groups = lock, set[int]()
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def watch(self, group: int) -> None:
        """From now on this group ends when the supervisor ends."""
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """The group has ended; its number may belong to others from now on."""
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def revive(self) -> bool:
        """Start the reaper again if it was killed itself; whether it was."""
        if self._process.poll() is None:
            return False
        self._process = self._start()
        self._tell("".join(f"+{group}\n" for group in self._groups))
        return True

    def close(self) -> None:
        """End the reaper, and whatever is still on its list, and wait for it."""
        self._process.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        # -I -S: nothing from the environment or site-packages, so it is up in milliseconds.
        return subprocess.Popen(  # noqa: S603  our own interpreter and file
            [sys.executable, "-I", "-S", str(Path(reaper.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            bufsize=0,
            pass_fds=[] if self._lock is None else [self._lock],
        )

    def _tell(self, lines: str) -> None:
        assert self._process.stdin is not None  # noqa: S101  opened by _start; for the type checker
        try:
            self._process.stdin.write(lines.encode())
        except BrokenPipeError:
            # Killed a moment ago. The new one learns the whole list.
            self._process.wait()
            self.revive()
