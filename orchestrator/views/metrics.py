"""/metrics, for Prometheus: to this machine, or to a token that may see the figures of all sites."""

import ipaddress
from collections.abc import Iterable

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from orchestrator.permissions import Viewer
from orchestrator.services.metrics import measures
from orchestrator.services.tokens import find_token


class _Rows(Collector):
    """Our rows as they are at the scrape, whichever process answers it."""

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for each in measures():
            family = families.setdefault(
                each.name, GaugeMetricFamily(each.name, each.meaning, labels=sorted(each.labels))
            )
            family.add_metric([each.labels[label] for label in sorted(each.labels)], each.value)
        return families.values()


@login_not_required
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """The figures as text, or 401."""
    if not (_is_this_machine(request) or _has_token(request)):
        refusal = HttpResponse("A token is needed: Authorization: Token KEY\n", status=401, content_type="text/plain")
        refusal.headers["WWW-Authenticate"] = "Token"
        return refusal
    registry = CollectorRegistry()
    registry.register(_Rows())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _is_this_machine(request: HttpRequest) -> bool:
    # Whoever comes through the proxy seems to come from the proxy's machine, which may be this one.
    if settings.BEHIND_PROXY or "X-Forwarded-For" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


def _has_token(request: HttpRequest) -> bool:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    # Prometheus says Bearer unless it is told otherwise.
    token = find_token(key.strip()) if scheme.lower() in ("token", "bearer") else None
    return token is not None and Viewer.of(token.user).sites_for("kpis.view") is None
