"""`manage.py listen_dicom`: the DICOM listener, pre-forked."""

import os
import resource
import signal
import socket
import sys
import threading
import time
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from orchestrator import storage
from orchestrator.dimse import server
from orchestrator.dimse.afterwards import afterwards
from orchestrator.dimse.registrar import register_inbox
from orchestrator.dimse.store_scp import registrar
from orchestrator.supervisor.loaded import keep_loaded
from orchestrator.supervisor.notify import notify_ready

_BACKLOG = 256
# How long a stop waits for associations that are in the middle of something; the supervisor waits longer.
_GRACE_SECONDS = 5.0


class Command(BaseCommand):
    help = "Answer DICOM associations on FIDUCIAL_DICOM_HOST and FIDUCIAL_DICOM_PORT until SIGTERM."

    def handle(self, **options: Any) -> None:
        storage.clear_incoming()
        left = register_inbox()
        if left:
            self.stdout.write(f"registered {left} objects that a crash had left in the inbox")
        listening = _listen()
        _raise_file_limit()
        connections.close_all()
        keep_loaded()
        children = {_fork(listening) for _ in range(settings.DICOM_PROCESSES)}
        stopping = threading.Event()

        def stop(number: int, frame: FrameType | None) -> None:
            stopping.set()
            for pid in children:
                os.kill(pid, signal.SIGTERM)

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        notify_ready()
        self.stdout.write(f"{settings.AE_TITLE} listens on {settings.DICOM_HOST}:{settings.DICOM_PORT}")
        while children:
            pid, status = os.wait()
            children.discard(pid)
            if not stopping.is_set():
                self.stderr.write(f"listener process {pid} ended ({status}); starting another")
                # A child that dies at once must not become a storm of forks.
                time.sleep(0.5)
                children.add(_fork(listening))


def _listen() -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.DICOM_HOST else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.DICOM_HOST, settings.DICOM_PORT))
    except OSError as error:
        raise CommandError(
            f"Port {settings.DICOM_PORT} on {settings.DICOM_HOST} cannot be used for DICOM ({error.strerror}): "
            "set FIDUCIAL_DICOM_PORT."
        ) from error
    listening.listen(_BACKLOG)
    return listening


def _raise_file_limit() -> None:
    """An association holds a connection and a file, and more may wait than the usual soft limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _fork(listening: socket.socket) -> int:
    """A child that serves until SIGTERM or until its parent is gone; its pid."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        _serve(listening, parent)
    finally:
        sys.stdout.flush()
        os._exit(0)


def _serve(listening: socket.socket, parent: int) -> None:
    listener = server.Listener(listening)
    registrar.start()
    afterwards.start()
    done = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: done.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serving = threading.Thread(target=listener.serve, daemon=True)
    serving.start()
    # Without that thread the process would only look alive: the parent starts another.
    while not done.wait(1.0) and os.getppid() == parent and serving.is_alive():
        pass
    listener.stop(_GRACE_SECONDS)
    registrar.stop()
    afterwards.stop()
