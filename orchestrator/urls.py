"""Every address of the portal. Apps above are included by name: the ground imports none of them."""

from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("orchestrator.views.routes")),
    path("exceptions/", include("reconciliation.urls")),
    path("worklist/", include("worklists.urls")),
]
