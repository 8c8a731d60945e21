"""For supervisors and balancers: alive, and able to work. Open to all, and telling nothing else."""

from celery import current_app
from django.contrib.auth.decorators import login_not_required
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from kombu.exceptions import OperationalError


@login_not_required
@require_safe
def alive(request: HttpRequest) -> HttpResponse:
    """/healthz: this process answers."""
    return JsonResponse({"status": "alive"})


@login_not_required
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """/readyz: database and broker answer; 503 with what does not."""
    problems = [name for name, answers in (("database", _database), ("broker", _broker)) if not answers()]
    if problems:
        return JsonResponse({"status": "not ready", "waiting_for": problems}, status=503)
    return JsonResponse({"status": "ready"})


def _database() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def _broker() -> bool:
    try:
        with current_app.connection_for_write() as broker:
            broker.ensure_connection(max_retries=1, timeout=2)
    except OperationalError:
        return False
    return True
