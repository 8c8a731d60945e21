"""The spool: received objects as files of ours, durable before they are acknowledged (promise 1).

`incoming/` holds what is still arriving, `inbox/` what is durable but perhaps not registered yet,
`objects/YYYY/MM/DD/` what has rows, `unreadable/` what could not be read. A file's name carries what its bytes do not:
the day it came, and the calling AE title, so that a scan of the inbox can register what a crash left behind.
"""

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings


def _folder(name: str) -> Path:
    path = Path(settings.SPOOL_DIR) / name
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def incoming() -> Path:
    """Where arriving objects are written: on the spool's own file system, so that a rename is enough."""
    return _folder("incoming")


def clear_incoming() -> None:
    """Drop what was arriving when everything stopped: it was never answered, so its sender has it."""
    for path in incoming().iterdir():
        # Folders belong to workers, which make corrected copies there.
        if path.is_file():
            path.unlink(missing_ok=True)


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


def set_aside(key: str) -> str:
    """Out of the inbox, since no rows can be made of it; kept for a person to look at. Answers its new name."""
    return keep_unreadable(_folder("inbox") / key)


def discard(key: str) -> None:
    """Drop an object that is already here with the same bytes."""
    (_folder("inbox") / key).unlink(missing_ok=True)


def waiting(*, older_than: float = 0.0) -> Iterator[str]:
    """Keys in the inbox: those being registered right now, and those that a crash left (`older_than` seconds)."""
    latest = time.time() - older_than
    with os.scandir(_folder("inbox")) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            if (_folder("inbox") / name).stat().st_mtime <= latest:
                yield name


def calling_ae_title_of(key: str) -> str:
    """Who sent it, as its name tells."""
    return bytes.fromhex(key.rpartition("-")[2].removesuffix(".dcm")).decode()
