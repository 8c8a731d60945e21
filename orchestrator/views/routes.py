"""Addresses of the ground's pages."""

from django.contrib.auth import views as auth
from django.urls import URLPattern, URLResolver, path

from . import control_room, health, interfaces, metrics, orders, patients, people, search, shell, studies

urlpatterns: list[URLPattern | URLResolver] = [
    path("", control_room.room, name="control-room"),
    path("healthz", health.alive, name="alive"),
    path("readyz", health.ready, name="ready"),
    path("metrics", metrics.metrics, name="metrics"),
    path("login/", auth.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("search/", search.search, name="search"),
    path("search/<str:key>/", search.result, name="search-result"),
    path("shell/counts/", shell.counts, name="shell-counts"),
    path("shell/site/", shell.switch_site, name="shell-site"),
    path("studies/", studies.study_list, name="studies"),
    path("studies/<str:key>/", studies.study_page, name="study"),
    path("studies/<str:key>/series/<int:series>/", studies.instances, name="study-series"),
    path("patients/", patients.patient_list, name="patients"),
    path("patients/<uuid:uid>/", patients.patient_page, name="patient"),
    path("orders/", orders.order_list, name="orders"),
    path("orders/<int:pk>/", orders.order_page, name="order"),
    path("interfaces/", interfaces.interface_list, name="interfaces"),
    path("interfaces/callers/<int:pk>/introduce/", interfaces.introduce, name="caller-introduce"),
    path("messages/", interfaces.message_list, name="messages"),
    path("messages/<int:pk>/", interfaces.message_page, name="message"),
    path("messages/<int:pk>/replay/", interfaces.replay, name="message-replay"),
    path("messages/<int:pk>/dismiss/", interfaces.dismiss, name="message-dismiss"),
    path("users/", people.user_list, name="users"),
    path("users/add/", people.add_user, name="user-add"),
    path("users/<int:pk>/roles/add/", people.add_role, name="role-add"),
    path("users/roles/<int:pk>/remove/", people.remove_role, name="role-remove"),
    path("users/<int:pk>/switch/", people.switch_user, name="user-switch"),
    path("password/", people.change_password, name="password"),
    path("tokens/", people.token_list, name="tokens"),
    path("tokens/<int:pk>/revoke/", people.revoke_token, name="token-revoke"),
    path("audit/", people.access_list, name="audit"),
]
