"""The embedded broker: on its socket only, for its user only, and kill -9 loses nothing."""

import asyncio
import io
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import redis

from orchestrator.supervisor.broker import answers, broker_command, set_aside
from orchestrator.supervisor.console import Console
from orchestrator.supervisor.keeper import CannotStart, Keeper, Patience
from orchestrator.supervisor.process import Program
from orchestrator.supervisor.readiness import BrokerAnswers
from orchestrator.supervisor.reaping import Reaper
from tests.peers import wait_for


@contextmanager
def _broker(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        broker_command(data_dir=folder, socket_path=folder / "s"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: answers(folder / "s"), what="the broker's socket")
        yield process
    finally:
        process.kill()
        process.wait()


def test_it_listens_on_its_socket_only_and_for_its_user_only(tmp_path: Path) -> None:
    assert not answers(tmp_path / "s")
    with _broker(tmp_path) as process, redis.Redis(unix_socket_path=str(tmp_path / "s")) as client:
        assert client.config_get("port")["port"] == "0"
        assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
        descriptors = Path(f"/proc/{process.pid}/fd")
        inodes = {link.readlink().name.removeprefix("socket:[").rstrip("]") for link in descriptors.iterdir()}
        tcp = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        assert not [line for line in tcp.splitlines()[1:] if line.split()[9:10] and line.split()[9] in inodes]


def test_kill_9_loses_no_queued_task(tmp_path: Path) -> None:
    with _broker(tmp_path) as process, redis.Redis(unix_socket_path=str(tmp_path / "s")) as client:
        for number in range(200):
            client.lpush("hl7", number)
        process.kill()
        process.wait()
    # The stale socket of the killed server is in the way of nothing.
    assert (tmp_path / "s").exists()
    with _broker(tmp_path), redis.Redis(unix_socket_path=str(tmp_path / "s")) as client:
        assert [int(each) for each in client.lrange("hl7", 0, -1)] == list(reversed(range(200)))


def _damage(folder: Path, how: str) -> None:
    """As a disk or a crash leaves an append-only file."""
    [file] = (folder / "appendonlydir").glob("*.incr.aof")
    if how == "cut short":
        file.write_bytes(file.read_bytes()[:-7])
    elif how == "overwritten":
        file.write_bytes(b"\0" * 100 + file.read_bytes()[100:])
    else:
        file.unlink()


async def _kept(folder: Path) -> str:
    """Let a keeper start the broker on this folder until it answers; what the keeper said."""
    said = io.StringIO()
    reaper = Reaper()
    program = Program(
        "broker", tuple(broker_command(data_dir=folder, socket_path=folder / "s")), 0, BrokerAnswers(folder / "s"),
        mend=partial(set_aside, folder),
    )  # fmt: skip
    keeper = Keeper(program, reaper=reaper, console=Console(said, ["broker"]), patience=Patience(look_every=0.01))
    ready = asyncio.create_task(keeper.was_ready.wait())
    try:
        await asyncio.wait({ready, keeper.task}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
        assert keeper.was_ready.is_set(), said.getvalue()
    finally:
        ready.cancel()
        await keeper.stop(asyncio.Event())
        reaper.close()
    return said.getvalue()


@pytest.mark.parametrize("how", ["cut short", "overwritten", "deleted"])
def test_a_damaged_file_does_not_keep_it_from_starting(tmp_path: Path, how: str) -> None:
    with _broker(tmp_path), redis.Redis(unix_socket_path=str(tmp_path / "s")) as client:
        client.lpush("hl7", *range(50))
    _damage(tmp_path, how)
    said = asyncio.run(_kept(tmp_path))
    # What is cut short the server loads by itself; else the damaged file is kept beside, and it is said.
    assert (tmp_path / "damaged").exists() == (how != "cut short")
    assert ("broker ended (exit status 1)" in said and "no work is lost" in said) == (how != "cut short")


async def _refused(folder: Path) -> str:
    """Let a keeper start the broker on a socket that cannot be made; what the keeper said before it gave up."""
    said, reaper, socket_path = io.StringIO(), Reaper(), folder / "none" / "s"
    program = Program(
        "broker", tuple(broker_command(data_dir=folder, socket_path=socket_path)), 0, BrokerAnswers(socket_path),
        mend=partial(set_aside, folder),
    )  # fmt: skip
    keeper = Keeper(program, reaper=reaper, console=Console(said, ["broker"]), patience=Patience(look_every=0.01))
    try:
        with pytest.raises(CannotStart):
            await asyncio.wait_for(keeper.task, timeout=60)
    finally:
        await keeper.stop(asyncio.Event())
        reaper.close()
    return said.getvalue()


def test_what_setting_the_file_aside_does_not_help_is_tried_once_and_then_given_up(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    said = asyncio.run(_refused(tmp_path))
    assert said.count("is set aside") == 1
