"""Addresses of the ground's pages."""

from django.contrib.auth import views as auth
from django.urls import URLPattern, URLResolver, path

from . import search, shell, studies

urlpatterns: list[URLPattern | URLResolver] = [
    path("login/", auth.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", auth.LogoutView.as_view(), name="logout"),
    path("search/", search.search, name="search"),
    path("search/<str:key>/", search.result, name="search-result"),
    path("shell/counts/", shell.counts, name="shell-counts"),
    path("shell/site/", shell.switch_site, name="shell-site"),
    path("studies/", studies.study_list, name="studies"),
    path("studies/<str:key>/", studies.study_page, name="study"),
    path("studies/<str:key>/series/<int:series>/", studies.instances, name="study-series"),
]
