"""Addresses of the exceptions queue's REST resources."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from reconciliation.api.candidates import Candidates
from reconciliation.api.exceptions import ExceptionResource

router = SimpleRouter()
router.register("exceptions", ExceptionResource)

urlpatterns: list[URLPattern | URLResolver] = [path("candidates/", Candidates.as_view()), *router.urls]
