"""Our listener in a thread of the test's own process, without a database, and who calls it."""

import contextlib
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import
from pytest_django import Settings

from orchestrator.dimse import server
from tests.orchestrator.dimse.raw import ACCEPTED, RawCaller, command
from tests.peers import LOOPBACK

ECHO = command(0x0030, Verification)


@contextlib.contextmanager
def serving() -> Iterator[int]:
    """Our server in a thread of this process; its port."""
    with socket.create_server((LOOPBACK, 0)) as listening, accepting(listening):
        yield int(listening.getsockname()[1])


@contextlib.contextmanager
def accepting(listening: socket.socket) -> Iterator[None]:
    """A server on that socket, as one process of ours is."""
    listener = server.Listener(listening)
    thread = threading.Thread(target=listener.serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.stop(10)
        thread.join()


@contextlib.contextmanager
def associated(port: int, sop_class_uid: str = Verification) -> Iterator[RawCaller]:
    with RawCaller(port, sop_class_uid) as caller:
        caller.associate()
        assert caller.pdu()[0] == ACCEPTED
        yield caller


def is_served(port: int) -> bool:
    """Whether a caller is let in and answered."""
    # The connection may be closed instead of an answer.
    with contextlib.suppress(struct.error, ConnectionError), RawCaller(port, Verification) as caller:
        caller.associate()
        if caller.pdu()[0] != ACCEPTED:
            return False
        caller.send(ECHO, last=True, is_command=True)
        return caller.status() == 0x0000
    return False


def tls(folder: Path, settings: Settings) -> ssl.SSLContext:
    """Set our server up for TLS with a new certificate; what its callers need to trust it."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    settings.TLS_CERT, settings.TLS_KEY, settings.TLS_CA = certificate, key, None
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    return context
