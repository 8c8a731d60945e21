"""The supervisor's side of the fork server: programs that are Python start in milliseconds and share their memory."""

import asyncio
import contextlib
import ctypes
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Self

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_PATIENCE = 60.0
"""Seconds for an answer. It loads first, on a machine that may be busy."""
_ROOM = " " * 1024
"""A last word that makes room for the command lines that forks show (fork_server.show_as)."""


class CannotLoad(Exception):
    """The product is broken: it cannot be imported, or Django's checks fail. The server has told why."""


class ForkServer:
    """The server's process. One that was killed is started again; meanwhile programs start by themselves."""

    def __init__(self, environment: Mapping[str, str], *, module: str = "orchestrator.supervisor.fork_server") -> None:
        self._environment, self._module, self._is_loaded = environment, module, False
        self._asking = asyncio.Lock()
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def fork(self, argv: Sequence[str], environment: Mapping[str, str], *, gate: int, output: int) -> int | None:
        """Start a program; its pid, or None when it must be started without us.

        Raises OSError when the machine has no room for a process.
        """
        async with self._asking:
            try:
                if not self._is_loaded:
                    self._is_loaded = await self._answer() == b"loaded"
            except TimeoutError:
                # It loads on, and is there for the next one.
                return None
            except ConnectionError:
                pass
            try:
                pid = await self._ask(argv, environment, gate, output) if self._is_loaded else 0
            except (ConnectionError, TimeoutError):
                pid = 0
            except BaseException:
                # Its answer would be taken for the next one's.
                self.close()
                raise
            if pid == 0:
                self.close()
                self._start()
            if pid == -1:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return pid or None

    async def _ask(self, argv: Sequence[str], environment: Mapping[str, str], gate: int, output: int) -> int:
        request = json.dumps((argv, dict(environment))).encode()
        socket.send_fds(self._socket, [request], [gate, output])
        return int(await self._answer() or 0)

    def load(self) -> None:
        """Wait until it has loaded. Raises CannotLoad; one that is killed, or takes long, is not needed."""
        self._socket.settimeout(_PATIENCE)
        with contextlib.suppress(ConnectionError, TimeoutError):
            self._is_loaded = self._socket.recv(32) == b"loaded"
            if not self._is_loaded and self._process.wait() > 0:
                raise CannotLoad
        self._socket.setblocking(False)

    def close(self) -> None:
        """End the server, and wait for it."""
        _adopt_orphans(0)
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setblocking(False)
        self._is_loaded = False
        _adopt_orphans(1)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
                # -P: never what lies in the folder that somebody happens to be in.
                [sys.executable, "-P", "-m", self._module, str(theirs.fileno()), _ROOM],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **self._environment},
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )

    async def _answer(self) -> bytes:
        async with asyncio.timeout(_PATIENCE):
            return await asyncio.get_running_loop().sock_recv(self._socket, 32)


def _adopt_orphans(adopt: int) -> None:
    """What the server forks off belongs to nobody, and so to the nearest ancestor that asked for that."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, adopt, 0, 0, 0)
