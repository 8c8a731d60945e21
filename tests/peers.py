"""Finding peers (other people's programs that Fiducial talks to) and starting them for a test.

A test that needs one is marked `@pytest.mark.peer("dcmtk", "orthanc")`: where a peer is missing it is skipped and
named, or fails when FIDUCIAL_REQUIRE_PEERS=1. Every starter is a context manager that listens on a free loopback
port and ends its process afterwards. DCMTK and Orthanc run with TCP_NODELAY=1: without it each object stalls 44 ms.
"""

import contextlib
import grp
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
_FOLDERS = ["/usr/sbin", "/usr/lib/postgresql/17/bin", "/usr/lib/postgresql/16/bin", "/usr/lib/postgresql/15/bin"]

# peer -> (Debian packages, programs that must be there)
PEERS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "dcmtk": ("dcmtk", ("echoscu", "findscu", "storescu", "storescp", "wlmscpfs", "dcmdump")),
    "dicom3tools": ("dicom3tools", ("dciodvfy",)),
    "orthanc": ("orthanc orthanc-dicomweb", ("Orthanc",)),
    "chromium": ("chromium", ("chromium",)),
    "postgresql": ("postgresql", ("initdb", "postgres")),
    "redis": ("redis-server", ("redis-server",)),
    "strace": ("strace", ("strace",)),
    "openssl": ("openssl", ("openssl",)),
}


def program(name: str) -> str | None:
    """The path of a peer's program. The virtual environment is left out: pynetdicom has a `storescp` there too."""
    own = {str(Path(sys.prefix) / "bin"), str(Path(sys.executable).parent)}
    folders = [folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder not in own]
    return shutil.which(name, path=os.pathsep.join([*folders, *_FOLDERS]))


def missing(peer: str) -> str:
    """Why a peer cannot be used, or an empty string."""
    packages, programs = PEERS[peer]
    absent = [name for name in programs if program(name) is None]
    if absent:
        return f"{peer} is not installed ({', '.join(absent)} not found; apt-get install {packages}, or make peers)"
    if peer == "postgresql" and os.geteuid() == 0 and not _has_user("postgres"):
        return "postgresql refuses to run as root and there is no user postgres"
    return ""


def required() -> bool:
    """Whether a missing peer is a failure (CI) and not a skip."""
    return os.environ.get("FIDUCIAL_REQUIRE_PEERS") == "1"


def _has_user(name: str) -> bool:
    with contextlib.suppress(KeyError):
        return bool(pwd.getpwnam(name))
    return False


# --- waiting ------------------------------------------------------------------------------------------


def wait_for(condition: Callable[[], Any], *, what: str, seconds: float = 30.0) -> Any:
    """The first true answer of `condition`; AssertionError naming `what` when none came in time."""
    end = time.monotonic() + seconds
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.02)


# Below the ports that the kernel gives to outgoing connections: what nobody listens on stays free until it is used.
# The runs on the two databases go on at the same time (tests/on_each_database.py): each has ports of its own.
_PORTS = range(26_000, 32_000) if os.environ.get("DATABASE_URL") else range(20_000, 26_000)
_given: set[int] = set()


def free_port() -> int:
    """A loopback port that nobody listens on, and that this process was not given before."""
    while True:
        # Not `random`: hypothesis seeds it, and two runs at the same time must not get the same ports.
        number = secrets.choice(_PORTS)
        if number in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, number))
                _given.add(number)
                return number


def listens(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


# --- processes ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _running(
    argv: Sequence[str], *, port: int, log: Path, stop: signal.Signals = signal.SIGTERM, user: str | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A peer that listens on `port`, until the block ends."""
    path = program(argv[0])
    assert path is not None, missing(argv[0]) if argv[0] in PEERS else f"{argv[0]} is not installed"
    group = grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name if user else None
    with log.open("ab") as output:
        process = subprocess.Popen(
            [path, *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "TCP_NODELAY": "1"},
            user=user,
            group=group,
            cwd="/",
        )
    try:
        wait_for(lambda: listens(port) or process.poll() is not None, what=f"{argv[0]} on port {port}", seconds=30)
        if process.poll() is not None:
            raise AssertionError(f"{argv[0]} ended at once:\n{log.read_text(errors='replace')[-2000:]}")
        yield process
    finally:
        process.send_signal(stop)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# --- DCMTK --------------------------------------------------------------------------------------------


def dcmtk(*argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a DCMTK tool (`dcmtk("echoscu", "-aec", "FIDUCIAL", "127.0.0.1", "11112")`); its output in `stdout`."""
    path = program(argv[0])
    assert path is not None, missing("dcmtk")
    return subprocess.run(
        [path, *argv[1:]],
        check=check,
        text=True,
        errors="replace",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        env={**os.environ, "TCP_NODELAY": "1"},
    )


@dataclass(frozen=True)
class StoreScp:
    """A running DCMTK storescp: takes any SOP class and transfer syntax, writes what it reads as it reads it."""

    port: int
    ae_title: str
    folder: Path
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_file())


@contextlib.contextmanager
def storescp(
    folder: Path, *, ae_title: str = "STORESCP", options: Sequence[str] = (), verbose: bool = True
) -> Iterator[StoreScp]:
    """Start storescp writing into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    port, log = free_port(), folder.parent / f"{folder.name}.log"
    argv = ["storescp", *["-v"] * verbose, "--aetitle", ae_title, "--output-directory", str(folder), "--promiscuous"]
    with _running([*argv, "--accept-all", "-B", *options, str(port)], port=port, log=log) as process:
        yield StoreScp(port, ae_title, folder, log, process)


@contextlib.contextmanager
def wlmscpfs(folder: Path, *, options: Sequence[str] = ("-csk",)) -> Iterator[int]:
    """Start DCMTK's worklist over `folder`/<called AE title>/*.wl (a `lockfile` beside them); its port."""
    port, log = free_port(), folder.parent / f"{folder.name}.log"
    with _running(["wlmscpfs", *options, "--data-files-path", str(folder), str(port)], port=port, log=log):
        yield port


# --- Orthanc ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc with its REST API at `url` (DICOMweb below `url`/dicom-web/)."""

    dicom_port: int
    http_port: int
    ae_title: str
    log: Path
    process: subprocess.Popen[bytes] = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.http_port}"

    def rest(self, path: str, body: Any = None) -> Any:
        """GET a path of its REST API or, with a body, POST to it; the answer's JSON."""
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.url}{path}", data=data, timeout=20) as answer:  # noqa: S310  loopback
            return json.load(answer)

    def upload(self, file: Path) -> str:
        """Put a file into it; Orthanc's name for the instance."""
        with urllib.request.urlopen(f"{self.url}/instances", data=file.read_bytes(), timeout=20) as answer:  # noqa: S310  loopback
            return str(json.load(answer)["ID"])


@contextlib.contextmanager
def orthanc(
    folder: Path,
    *,
    ae_title: str = "ORTHANC",
    modalities: Mapping[str, tuple[str, str, int]] | None = None,
    **settings: Any,
) -> Iterator[Orthanc]:
    """Start Orthanc with its store in `folder`; `modalities` = {name: (AE title, host, port)}, `settings` override."""
    folder.mkdir(parents=True, exist_ok=True)
    dicom_port, http_port = free_port(), free_port()
    plugins = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    configuration = {
        "Name": ae_title,
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "DicomAet": ae_title,
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowEcho": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowMove": True,
        "DicomCheckCalledAet": False,
        "DicomModalities": {name: list(peer) for name, peer in (modalities or {}).items()},
        "StableAge": 1,
        "Plugins": [str(plugins)] if plugins.exists() else [],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **settings,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    log = folder / "orthanc.log"
    argv = ["Orthanc", str(folder / "orthanc.json")]
    with _running(argv, port=http_port, log=log) as process:
        wait_for(lambda: listens(dicom_port), what="Orthanc's DICOM port")
        yield Orthanc(dicom_port, http_port, ae_title, log, process)


# --- database and broker ------------------------------------------------------------------------------


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """A fresh PostgreSQL cluster, fast and not durable; its address as DATABASE_URL."""
    user = "postgres" if os.geteuid() == 0 else None
    # Below /tmp and not pytest's folder, which root's server user could not enter.
    folder = Path(tempfile.mkdtemp(prefix="fiducial-pg-"))
    try:
        if user:
            shutil.chown(folder, user)
        initdb = program("initdb")
        assert initdb is not None, missing("postgresql")
        subprocess.run(
            [initdb, "-D", str(folder / "data"), "-U", "fiducial", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            stdout=subprocess.DEVNULL,
            user=user,
            cwd="/",
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
        port = free_port()
        argv = ["postgres", "-D", str(folder / "data"), "-p", str(port), "-k", str(folder), "-h", LOOPBACK]
        argv += ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200"]
        # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
        with _running(argv, port=port, log=folder / "log", stop=signal.SIGINT, user=user):
            yield f"postgres://fiducial@{LOOPBACK}:{port}/postgres"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis server with its append-only file in `folder`; its address as REDIS_URL."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    argv = ["redis-server", "--bind", LOOPBACK, "--port", str(port), "--dir", str(folder), "--appendonly", "yes"]
    with _running(argv, port=port, log=folder / "redis.log"):
        yield f"redis://{LOOPBACK}:{port}/0"


def chromium() -> str:
    """Chromium's path, for playwright's `executable_path` (as root it needs `--no-sandbox`)."""
    path = program("chromium")
    assert path is not None, missing("chromium")
    return path
