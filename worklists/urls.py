"""Addresses of the worklist."""

from django.urls import URLPattern, URLResolver, path

from worklists.views import board

urlpatterns: list[URLPattern | URLResolver] = [path("", board.board, name="worklist")]
