"""Addresses of routing's REST resources."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from routing.api.deliveries import DeliveryResource, Send
from routing.api.destinations import DestinationResource
from routing.api.rule_sets import RuleSetResource

router = SimpleRouter()
router.register("destinations", DestinationResource)
router.register("rule-sets", RuleSetResource)
router.register("deliveries", DeliveryResource)

urlpatterns: list[URLPattern | URLResolver] = [
    path("studies/<str:study_instance_uid>/send/", Send.as_view()),
    *router.urls,
]
