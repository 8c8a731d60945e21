"""When is a process ready? When it does what it is for, seen from outside."""

import asyncio
import contextlib
import os
import secrets
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from orchestrator.supervisor import broker

_PATIENCE = 5.0
"""Seconds for one answer."""


class Probe(Protocol):
    """Asked again and again until it says yes."""

    environment: Mapping[str, str]
    """What the process must find in its environment for this probe to work."""
    only_ours: bool
    """Whether a yes can come from no other process: then it counts even when ours has ended meanwhile."""

    def reset(self) -> None:
        """Forget what was seen: the process is started (again)."""

    async def ready(self) -> bool: ...


class _Stateless:
    environment: Mapping[str, str] = {}
    only_ours = False

    def reset(self) -> None:
        return


class AtOnce(_Stateless):
    """For a process that nobody waits for."""

    async def ready(self) -> bool:
        return True


class AnswersHttp(_Stateless):
    """Answers 200 to GET `path`."""

    def __init__(self, host: str, port: int, path: str, *, tls: bool) -> None:
        self._host, self._port, self._path = reachable(host), port, path
        self._tls = _any_certificate() if tls else None

    async def ready(self) -> bool:
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
                try:
                    writer.write(f"GET {self._path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
                    status = (await reader.readline()).split()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False
        return len(status) > 1 and status[1] == b"200"


class BrokerAnswers(_Stateless):
    """Answers PING behind its unix socket."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    async def ready(self) -> bool:
        return broker.answers(self._path)


class Notifies:
    """Says so itself: READY=1 to NOTIFY_SOCKET (see `notify`)."""

    only_ours = True

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        # An abstract name: no path, no length limit, nothing to clean up.
        name = f"fiducial-{os.getpid()}-{secrets.token_hex(8)}"
        self._socket.bind(f"\0{name}")
        self.environment: Mapping[str, str] = {"NOTIFY_SOCKET": f"@{name}"}
        self._said = False

    def reset(self) -> None:
        self._drain()
        self._said = False

    async def ready(self) -> bool:
        self._said = self._said or self._drain()
        return self._said

    def _drain(self) -> bool:
        said = False
        with contextlib.suppress(BlockingIOError):
            while True:
                said |= b"READY=1" in self._socket.recv(4096).split(b"\n")
        return said


def _any_certificate() -> ssl.SSLContext:
    """Whether a certificate is good is for its users to judge; here only: does our own process answer?"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def reachable(host: str) -> str:
    """The address by which this machine reaches a server bound to `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104  compared, not bound
