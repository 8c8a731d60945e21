"""Addresses of routing, destinations and deliveries."""

from django.urls import URLPattern, URLResolver, path

from routing.views import bulk, deliveries, destinations, publishing, rule_editor, rules

urlpatterns: list[URLPattern | URLResolver] = [
    path("routing/", rules.room, name="routing"),
    path("routing/presence/", rules.who_is_here, name="routing-presence"),
    path("routing/add/", rule_editor.add, name="rule-add"),
    path("routing/rules/<int:position>/", rule_editor.edit, name="rule-edit"),
    path("routing/rules/<int:position>/remove/", rules.remove, name="rule-remove"),
    path("routing/rules/<int:position>/<str:act>/", rules.change, name="rule-change"),
    path("routing/try/", rules.try_study, name="rule-evaluate"),
    path("routing/publish/", publishing.publish, name="rule-set-publish"),
    path("routing/versions/<int:number>/", publishing.version_page, name="rule-set-version"),
    path("routing/versions/<int:number>/back/", publishing.roll_back, name="rule-set-rollback"),
    path("destinations/", destinations.destination_list, name="destinations"),
    path("destinations/add/", destinations.add, name="destination-add"),
    path("destinations/<int:pk>/", destinations.destination_page, name="destination"),
    path("destinations/<int:pk>/presence/", destinations.who_is_here, name="destination-presence"),
    path("destinations/<int:pk>/edit/", destinations.edit, name="destination-edit"),
    path("destinations/<int:pk>/echo/", destinations.echo, name="destination-echo"),
    path("destinations/<int:pk>/pause/", destinations.pause, name="destination-pause"),
    path("destinations/<int:pk>/resume/", destinations.resume, name="destination-resume"),
    path("deliveries/", deliveries.delivery_list, name="deliveries"),
    path("deliveries/bulk/<str:act>/", bulk.bulk_act, name="deliveries-bulk"),
    path("deliveries/<int:pk>/", deliveries.delivery_page, name="delivery"),
    path("deliveries/<int:pk>/retry/", deliveries.retry, name="delivery-retry"),
    path("deliveries/<int:pk>/cancel/", deliveries.cancel, name="delivery-cancel"),
]
