"""`manage.py listen_hl7`: the MLLP listener."""

import asyncio
import signal
import ssl
from functools import partial
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from orchestrator.hl7 import intake
from orchestrator.hl7.bell import Bell
from orchestrator.hl7.mllp import Listener
from orchestrator.supervisor.loaded import keep_loaded
from orchestrator.supervisor.notify import notify_ready


class Command(BaseCommand):
    help = "Take HL7 messages over MLLP on FIDUCIAL_HL7_HOST and FIDUCIAL_HL7_PORT until SIGTERM."

    def handle(self, **options: Any) -> None:
        try:
            tls = _tls()
        except (OSError, ssl.SSLError) as error:
            raise CommandError(
                f"FIDUCIAL_TLS_CERT, FIDUCIAL_TLS_KEY or FIDUCIAL_TLS_CA cannot be used for HL7: {error}."
            ) from error
        try:
            asyncio.run(self._listen(tls))
        except OSError as error:
            raise CommandError(
                f"Port {settings.HL7_PORT} on {settings.HL7_HOST} cannot be used for HL7 ({error.strerror}): "
                "set FIDUCIAL_HL7_PORT."
            ) from error

    async def _listen(self, tls: ssl.SSLContext | None) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        bell = Bell()
        listener = Listener(partial(intake.store, ring=bell.ring))
        try:
            await listener.run(settings.HL7_HOST, settings.HL7_PORT, stop, tls=tls, ready=self._ready)
        finally:
            bell.stop()

    def _ready(self, port: int) -> None:
        keep_loaded()
        notify_ready()
        self.stdout.write(f"HL7 listens on {settings.HL7_HOST}:{port}")


def _tls() -> ssl.SSLContext | None:
    if settings.TLS_CERT is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(settings.TLS_CERT, settings.TLS_KEY)
    if settings.TLS_CA is not None:
        context.load_verify_locations(settings.TLS_CA)
        context.verify_mode = ssl.CERT_REQUIRED
    return context
