"""Addresses of the exceptions queue."""

from django.urls import URLPattern, URLResolver, path

from reconciliation.views import actions, bulk, case, decisions, queue

urlpatterns: list[URLPattern | URLResolver] = [
    path("", queue.queue, name="exceptions"),
    path("claim/", bulk.claim_many, name="exceptions-claim"),
    path("hand-back/", bulk.hand_back_picked, name="exceptions-hand-back"),
    path("bulk/<str:act>/", bulk.bulk_act, name="exceptions-bulk"),
    path("<int:pk>/", case.case_page, name="case"),
    path("<int:pk>/presence/", case.who_is_here, name="case-presence"),
    path("<int:pk>/claim/", actions.claim, name="case-claim"),
    path("<int:pk>/take-over/", actions.take_over, name="case-take-over"),
    path("<int:pk>/hand-back/", actions.hand_back, name="case-hand-back"),
    path("<int:pk>/snooze/", actions.snooze, name="case-snooze"),
    path("<int:pk>/escalate/", actions.escalate, name="case-escalate"),
    path("<int:pk>/match/<int:order_id>/", decisions.match, name="case-match"),
    path("<int:pk>/reject/", decisions.reject, name="case-reject"),
    path("<int:pk>/undo/", decisions.undo, name="case-undo"),
    path("<int:pk>/dismiss/", actions.dismiss, name="case-dismiss"),
]
