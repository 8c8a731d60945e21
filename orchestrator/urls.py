"""Every address of the portal. Apps above are included by name: the ground imports none of them."""

from django.urls import URLPattern, URLResolver, include, path

# Pages get a page, programs get problem details.
handler400 = "orchestrator.api.errors.bad_request"
handler404 = "orchestrator.api.errors.not_found"
handler500 = "orchestrator.api.errors.server_error"

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("orchestrator.views.routes")),
    path("exceptions/", include("reconciliation.urls")),
    path("worklist/", include("worklists.urls")),
    path("", include("routing.urls")),
    path("api/v1/", include("orchestrator.api.routes")),
    path("api/v1/", include("reconciliation.api.routes")),
    path("api/v1/", include("routing.api.routes")),
    path("api/schema/", include("orchestrator.api.schema")),
]
