"""Addresses of routing's REST resources."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from routing.api.deliveries import DeliveryResource, Send
from routing.api.destinations import DestinationResource
from routing.api.rule_sets import RuleSetResource

router = SimpleRouter()
# Names of their own: the pages have `destination-pause` and the like.
router.register("destinations", DestinationResource, basename="api-destination")
router.register("rule-sets", RuleSetResource, basename="api-rule-set")
router.register("deliveries", DeliveryResource, basename="api-delivery")

urlpatterns: list[URLPattern | URLResolver] = [
    path("studies/<str:study_instance_uid>/send/", Send.as_view()),
    *router.urls,
]
