"""The upgrade that drops five indexes of messages can be taken back."""

from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection

from orchestrator.models import InboundMessage

pytestmark = pytest.mark.django_db


def _indexed() -> set[str]:
    """Columns with an index of their own."""
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, InboundMessage._meta.db_table)
    return {
        each["columns"][0]
        for name, each in found.items()
        if each["index"] and not each["unique"] and len(each["columns"]) == 1 and name.startswith("message_full")
    }


def test_the_indexes_that_were_dropped_are_made_again_and_dropped_again() -> None:
    migration = import_module("orchestrator.migrations.0015_message_indexes")
    editor = connection.schema_editor()
    migration.make_full_indexes(apps, editor)
    assert _indexed() == set(migration.COLUMNS)
    migration.drop_full_indexes(apps, editor)
    assert _indexed() == set()
