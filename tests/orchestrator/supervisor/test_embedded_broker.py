"""The embedded broker: on its socket only, for its user only, and kill -9 loses nothing."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from orchestrator.supervisor.broker import answers, broker_command
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
