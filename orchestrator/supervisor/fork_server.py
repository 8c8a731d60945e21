"""`python -m orchestrator.supervisor.fork_server DESCRIPTOR ROOM`: has loaded the product, and forks programs off it.

On the socket it gets what to run and the ends of its pipes, and answers the pid. It has one thread, no connection, no
event loop: a fork takes nothing along that two processes must not share. It forks twice, so that the supervisor, which
adopts orphans, is the parent of what was started: that lives on when this process ends.
"""

import ctypes
import gc
import json
import os
import runpy
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path

from orchestrator.supervisor.loaded import keep_loaded
from orchestrator.supervisor.process import wait_at_the_gate

_LARGEST_REQUEST = 64 * 1024
# What the programs would import beside Django's applications and the URLs.
_COMMANDS = ("web", "listen_dicom", "listen_hl7")
_MODULES = ("celery.bin.celery", "celery.apps.worker", "celery.apps.beat", "celery.concurrency.prefork")


def main(load: Callable[[], None]) -> None:
    """In the server, until the supervisor has closed the socket; in a fork, until its program ends."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    show_as([sys.executable, *sys.argv[:1]])
    gc.disable()
    load()
    gc.enable()
    keep_loaded()
    try:
        channel.send(b"loaded")
        asked = _serve(channel)
    except (BrokenPipeError, ConnectionResetError):
        return  # the supervisor is gone
    if asked:
        _run(*asked)


def _serve(channel: socket.socket) -> tuple[Sequence[str], Mapping[str, str]] | None:
    """In the server, until the supervisor has closed the socket: None. In a fork, at once: what it is to run."""
    while True:
        request, ends, _, _ = socket.recv_fds(channel, _LARGEST_REQUEST, 2)
        if not request:
            return None
        words, environment = json.loads(request)
        if (pid := _fork()) == 0:
            channel.close()
            wait_at_the_gate(*ends)
            return words, environment
        for end in ends:
            os.close(end)
        channel.send(str(pid).encode())


def load_the_product() -> None:
    """Import everything, and let Django check it: once for all programs."""
    from django import setup
    from django.core.management import CommandError, load_command_class
    from django.core.management.base import BaseCommand

    setup()
    try:
        BaseCommand().check()
    except CommandError as error:
        sys.exit(str(error))
    for command in _COMMANDS:
        load_command_class("orchestrator", command)
    for module in _MODULES:
        import_module(module)
    os.environ["CELERY_SKIP_CHECKS"] = "true"  # it was checked right now
    import_module("orchestrator.celery").app.loader.import_default_modules()


def _fork() -> int:
    """0 in the new process, which leads a session of its own; its pid in the server, -1 if there is no room for it."""
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as told:
        with open(writing, "wb", buffering=0) as telling:
            try:
                between = os.fork()
            except OSError:
                return -1
            if between == 0:
                _leave_an_orphan()
                os.setsid()
                telling.write(str(os.getpid()).encode())
                return 0
        pid = told.read()
    # From now on it is the supervisor's child.
    os.waitpid(between, 0)
    return int(pid or -1)


def _leave_an_orphan() -> None:
    """Fork, and return in the new process alone."""
    try:
        if os.fork() == 0:
            return
    except OSError:
        pass
    os._exit(0)


def _run(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Do what the interpreter does when it is started with `words`: `python FILE …` or `python -m MODULE …`."""
    os.environ.update(environment)
    show_as(words)
    if words[1] == "-m":
        sys.argv = list(words[2:])
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(words[1:])
        runpy.run_path(words[1], run_name="__main__")


def show_as(words: Sequence[str]) -> None:
    """Make `words` what `ps` and /proc/PID/cmdline show (proc(5)), as far as there is room."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end
    if (room := end - start - 1) > 0:
        ctypes.memmove(start, b"\0".join(map(os.fsencode, words))[:room].ljust(room, b"\0"), room)


if __name__ == "__main__":
    main(load_the_product)
