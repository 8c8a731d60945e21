"""The spool: received objects as files of ours, durable before they are acknowledged (promise 1).

`incoming/` holds what is still arriving, `inbox/` what is durable but perhaps not registered yet,
`objects/YYYY/MM/DD/` what has rows, `unreadable/` what could not be read. A file's name carries what its bytes do not:
the day it came, and the calling AE title, so that a scan of the inbox can register what a crash left behind.
"""

import contextlib
import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

_KEY = re.compile(r"\d{8}-[0-9a-f]{32}-(?:[0-9a-f]{2})*\.dcm")


def _folder(name: str) -> Path:
    path = Path(settings.SPOOL_DIR) / name
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def incoming() -> Path:
    """Where arriving objects are written: on the spool's own file system, so that a rename is enough."""
    return _folder("incoming")


def incoming_path() -> Path:
    """A place for one arriving object; made even when its folder cannot be."""
    with contextlib.suppress(OSError):
        incoming()
    return Path(settings.SPOOL_DIR) / "incoming" / f"{uuid.uuid4().hex}.dcm"


def clear_incoming(*, older_than: float = 0.0) -> None:
    """Drop what was arriving when its listener stopped: it was never answered, so its sender has it.

    What another listener on this spool is writing is locked, and stays.
    """
    latest = time.time() - older_than
    for path in incoming().iterdir():
        # Folders belong to workers, which make corrected copies there.
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            if path.is_file() and path.stat().st_mtime <= latest:
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()


def free_bytes() -> int:
    return shutil.disk_usage(settings.SPOOL_DIR).free


def has_room() -> bool:
    """Whether another object may be taken before the reserve is touched (else A700)."""
    return free_bytes() > settings.SPOOL_RESERVE_BYTES


def accept(path: Path, *, calling_ae_title: str) -> str:
    """Make an arrived file durable: fsync, rename into the inbox, fsync the folder. Answers its key."""
    key = f"{datetime.now(tz=UTC):%Y%m%d}-{uuid.uuid4().hex}-{calling_ae_title.encode().hex()}.dcm"
    return _make_durable(path, _folder("inbox"), key)


def keep_unreadable(path: Path) -> str:
    """Keep what could not be read, for a person to look at. Answers its name in `unreadable/`."""
    return _make_durable(path, _folder("unreadable"), f"{uuid.uuid4().hex}.bin")


def _make_durable(path: Path, folder: Path, name: str) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.rename(folder / name)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return name


def _settled(key: str) -> Path:
    return Path(settings.SPOOL_DIR) / "objects" / key[:4] / key[4:6] / key[6:8] / key


def path_of(key: str) -> Path:
    """The file, wherever it stands. Raises FileNotFoundError."""
    # In this order: a file that is settled meanwhile is found where it went.
    for path in (_folder("inbox") / key, _settled(key)):
        if path.exists():
            return path
    raise FileNotFoundError(f"The spool has no file {key}.")


def settle(key: str) -> None:
    """Out of the inbox, now that its rows are committed. May be repeated."""
    target = _settled(key)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Another process may have settled it just now: a scan of the inbox, or the listener itself.
    with contextlib.suppress(FileNotFoundError):
        (_folder("inbox") / key).rename(target)


def set_aside(key: str) -> None:
    """Out of the inbox, since no rows can be made of it; kept by its name in `unreadable/` for a person to look at."""
    _make_durable(_folder("inbox") / key, _folder("unreadable"), key)


def discard(key: str) -> None:
    """Drop an object that is already here with the same bytes."""
    (_folder("inbox") / key).unlink(missing_ok=True)


@contextlib.contextmanager
def scanning_inbox() -> Iterator[bool]:
    """Whether this process scans the inbox now: one at a time, a second one would only repeat its work."""
    with (Path(settings.SPOOL_DIR) / "inbox.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def waiting(*, older_than: float = 0.0) -> Iterator[str]:
    """Keys in the inbox: those being registered right now, and those that a crash left (`older_than` seconds)."""
    latest = time.time() - older_than
    with os.scandir(_folder("inbox")) as entries:
        # What else lies there (a copying tool's temporary file) is not ours.
        names = sorted(entry.name for entry in entries if _KEY.fullmatch(entry.name))
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            if (_folder("inbox") / name).stat().st_mtime <= latest:
                yield name


def calling_ae_title_of(key: str) -> str:
    """Who sent it, as its name tells."""
    return bytes.fromhex(key.rpartition("-")[2].removesuffix(".dcm")).decode()
