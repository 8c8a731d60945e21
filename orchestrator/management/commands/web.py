"""`manage.py web`: the portal and the APIs, served by gunicorn."""

import hashlib
import re
from collections.abc import Iterable, MutableMapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandParser
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.template.loader import get_template
from django.urls import get_resolver
from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.http.message import Request
from gunicorn.http.wsgi import Response

from orchestrator.supervisor.loaded import keep_loaded

_UID = re.compile(r"[0-9]+(?:\.[0-9]+){3,}")


class AccessLog(Logger):
    """The access log: the path without its query string, and UIDs in it only as a hash."""

    def access(self, resp: Response, req: Request, environ: MutableMapping[str, Any], request_time: timedelta) -> None:
        path = _UID.sub(_hashed, environ.get("PATH_INFO") or "")
        super().access(resp, req, {**environ, "PATH_INFO": path}, request_time)


def _hashed(uid: re.Match[str]) -> str:
    return f"uid:{hashlib.sha256(uid[0].encode()).hexdigest()[:12]}"


class Portal(BaseApplication):
    """gunicorn with our settings only: no configuration file, no GUNICORN_CMD_ARGS."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        # The URLs, and with them every view and template, are read before the fork: once, and not by the first request
        # of each process.
        _ = get_resolver().url_patterns
        folder = settings.BASE_DIR / "templates"
        for template in (*folder.rglob("*.html"), *folder.rglob("*.svg")):
            get_template(str(template.relative_to(folder)))
        application = get_wsgi_application()
        keep_loaded()
        return application


class Command(BaseCommand):
    help = "Serve the portal and the APIs over HTTP (HTTPS with FIDUCIAL_TLS_CERT and FIDUCIAL_TLS_KEY)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--processes", type=int, default=2)
        parser.add_argument("--threads", type=int, default=8, help="per process")

    def handle(self, *, processes: int, threads: int, **options: Any) -> None:
        collect_static_files()
        # Loaded once here and shared by the forked processes; no connection may be shared.
        connections.close_all()
        Portal(_options(processes, threads)).run()


def _options(processes: int, threads: int) -> dict[str, Any]:
    host = f"[{settings.HTTP_HOST}]" if ":" in settings.HTTP_HOST else settings.HTTP_HOST
    options: dict[str, Any] = {
        "bind": f"{host}:{settings.HTTP_PORT}",
        "worker_class": "gthread",
        "workers": processes,
        "threads": threads,
        "preload_app": True,
        "keepalive": 30,
        "timeout": 60,
        "graceful_timeout": 8,
        "accesslog": "-",
        "access_log_format": '%(h)s "%(m)s %(U)s" %(s)s %(B)s B %(M)s ms',
        "logger_class": AccessLog,
        "control_socket_disable": True,
        "proc_name": "fiducial-web",
    }
    if settings.TLS_CERT and settings.TLS_KEY:
        options |= {"certfile": str(settings.TLS_CERT), "keyfile": str(settings.TLS_KEY)}
    return options


def collect_static_files() -> None:
    """Collect, hash and compress the static files, unless they are those of the last start."""
    root = Path(settings.STATIC_ROOT)
    mark = root / ".collected"
    digest = _digest(_static_files())
    if mark.is_file() and mark.read_text() == digest:
        return
    call_command("collectstatic", interactive=False, verbosity=0, clear=True)
    mark.write_text(digest)


def _static_files() -> Iterable[Path]:
    for finder in get_finders():
        for name, storage in finder.list([]):
            yield Path(storage.path(name))


def _digest(files: Iterable[Path]) -> str:
    seen = hashlib.sha256()
    for file in sorted(files):
        stat = file.stat()
        seen.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return seen.hexdigest()
