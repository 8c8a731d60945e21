"""Looking at the ports before anything starts: a taken port is one clear line, not a traceback in a child's log."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"  # include/net/tcp_states.h


class PortUnusable(Exception):
    """Nothing of ours can listen there; the text says why and which setting to change."""


@dataclass(frozen=True)
class Port:
    """An address that a process of ours is going to listen on."""

    what: str
    host: str
    number: int
    setting: str
    """Prefix of the settings: `{setting}_PORT` and `{setting}_HOST`."""


def check_ports(ports: Iterable[Port]) -> None:
    """Raise PortUnusable for the first port that cannot be had."""
    seen: dict[int, Port] = {}
    for port in ports:
        twin = seen.setdefault(port.number, port)
        if twin is not port:
            raise PortUnusable(
                f"{twin.setting}_PORT and {port.setting}_PORT are both {port.number}: change one of them."
            )
        _check(port)


def _check(port: Port) -> None:
    try:
        found = socket.getaddrinfo(port.host, port.number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise PortUnusable(f"{port.setting}_HOST={port.host} is not an address: {error.strerror}.") from None
    family, kind, protocol, _, address = found[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: closed connections of an earlier run, waiting out their time, are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            # Two sockets may be bound with SO_REUSEADDR; only one may listen.
            probe.listen(1)
        except OSError as error:
            raise PortUnusable(_why(port, error)) from None


def _why(port: Port, error: OSError) -> str:
    where = f"Port {port.number} ({port.what}, {port.setting}_PORT)"
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(port.number)
        return f"{where} is in use{f' by {holder}' if holder else ''}: stop that program or choose another port."
    if error.errno == errno.EACCES:
        return f"{where} needs more rights than this user has: choose a port above 1023."
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: {port.host} is not an address of this machine, see {port.setting}_HOST."
    return f"{where} at {port.host} cannot be used: {error.strerror}."


def spare_ports(preferred: int, number: int) -> int:
    """The first of so many free loopback ports in a row: the preferred ones, or any others when one is taken."""
    first = _spare_port(preferred)
    in_a_row = all(_spare_port(each) == each for each in range(first + 1, first + number))
    return first if in_a_row else spare_ports(0, number)


def _spare_port(preferred: int) -> int:
    """This loopback port, or any other free one when it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
            probe.listen(1)
        except OSError:
            return _spare_port(0)
        return int(probe.getsockname()[1])


def holder_of(number: int) -> str:
    """`name (pid 123)` of a process that listens on this TCP port, as far as this user may see it; else empty."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(number)}
    for process in Path("/proc").iterdir():
        if sockets and process.name.isdigit() and _open_files(process) & sockets:
            return f"{_name(process)} (pid {process.name})"
    return ""


def _listening_inodes(number: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == number:
                inodes.add(columns[9])
    return inodes


def _open_files(process: Path) -> set[str]:
    """What the process has open; nothing of one that is gone or another user's."""
    files = set()
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                files.add(os.readlink(descriptor))
    return files


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a program"
