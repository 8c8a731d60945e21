"""Millions of rows into an empty database: COPY on PostgreSQL, executemany on SQLite, indexes built afterwards."""

import contextlib
import json
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from django.core.management.color import no_style
from django.db import connection
from django.db.models import Model

# Between the keys of a row and of its copy; more than any table of one copy has rows.
STRIDE = 10_000_000
# Columns that name a row of the population (others name a site, a station, a person).
_KEYS = frozenset({
    "id", "patient_id", "visit_id", "order_id", "procedure_id", "step_id", "study_id", "series_id", "claim_id",
    "instance_id", "case_id", "delivery_id", "message_id", "subject_id", "matched_patient_id", "sequence",
})  # fmt: skip

Value = str | float | bool | bytes | None


class Table:
    """Rows that wait to be written: values for `columns`, in that order; the other columns get their defaults."""

    def __init__(self, model: type[Model], columns: str) -> None:
        fields = {field.attname: field for field in model._meta.concrete_fields}
        named = [fields.pop(name) for name in columns.split()]
        rest = [each for each in fields.values() if not each.primary_key]
        self.model = model
        self._kinds = [(field.attname, str(field.column), field.get_internal_type()) for field in (*named, *rest)]
        self.name = model._meta.db_table
        self._columns = [field.column for field in (*named, *rest)]
        self._defaults = tuple(_default(field) for field in rest)
        self._rows: list[tuple[Value, ...]] = []
        self.count = self._first = 0

    def add(self, *values: Value) -> None:
        self._rows.append(values + self._defaults)

    def flush(self) -> None:
        """Write what waits."""
        rows, self._rows = self._rows, []
        self.count += len(rows)
        columns = ", ".join(f'"{each}"' for each in self._columns)
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                with cursor.copy(f'COPY "{self.name}" ({columns}) FROM STDIN') as copy:
                    for row in rows:
                        copy.write_row(row)
            else:
                places = ", ".join(["%s"] * len(self._columns))
                cursor.executemany(f'INSERT INTO "{self.name}" ({columns}) VALUES ({places})', rows)  # noqa: S608  names of ours

    def copy(self, number: int, *, apart: Collection[str]) -> None:
        """Write the first rows once more, under other keys and, in the columns `apart`, other identifiers."""
        self._first = self._first or self.count
        told = [_copied(*kind, number, apart) for kind in self._kinds]
        columns = ", ".join(f'"{each}"' for each in self._columns)
        with connection.cursor() as cursor:
            made = f'SELECT {", ".join(told)} FROM "{self.name}" WHERE id <= {self._first}'  # noqa: S608  names of ours
            cursor.execute(f'INSERT INTO "{self.name}" ({columns}) {made}')
            self.count += cursor.rowcount


def _copied(name: str, column: str, kind: str, number: int, apart: Collection[str]) -> str:
    """What stands in a column of the copy: numbers of rows moved on, identifiers with the copy's number behind."""
    if kind == "UUIDField":
        return "gen_random_uuid()" if connection.vendor == "postgresql" else "lower(hex(randomblob(16)))"
    if name in apart:
        return f"""CASE WHEN "{column}" = '' THEN '' ELSE "{column}" || '.{number}' END"""
    is_key = kind in ("BigAutoField", "BigIntegerField", "ForeignKey") and name in _KEYS
    return f'"{column}" + {number * STRIDE}' if is_key else f'"{column}"'


def _default(field: Any) -> Value:
    value = None if field.has_db_default() else field.get_default()
    return json.dumps(value) if isinstance(value, list | dict) else value


@contextlib.contextmanager
def without_indexes(tables: Sequence[Table]) -> Iterator[None]:
    """Drop what would be kept up to date row by row, and build it again at the end. An interrupted fill is scrap."""
    names = [table.name for table in tables]
    drop, build = _postgresql(names) if connection.vendor == "postgresql" else _sqlite(names)
    _run(drop)
    yield
    _run(build)
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), [table.model for table in tables]):
            cursor.execute(statement)
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def _run(statements: Sequence[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _postgresql(names: Sequence[str]) -> tuple[list[str], list[str]]:
    # Foreign keys stay, unchecked: what is written here refers to what is written here.
    drop = ["SET session_replication_role = replica", "SET synchronous_commit = off"]
    build = ["SET maintenance_work_mem = '512MB'"]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE contype = 'u' AND conrelid = ANY(%s::regclass[])",
            [list(names)],
        )
        for table, name, definition in cursor.fetchall():
            drop.append(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')
            build.append(f'ALTER TABLE {table} ADD CONSTRAINT "{name}" {definition}')
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s) AND indexname NOT IN "
            "(SELECT conname FROM pg_constraint WHERE contype IN ('p', 'u'))",
            [list(names)],
        )
        for name, definition in cursor.fetchall():
            drop.append(f'DROP INDEX "{name}"')
            build.append(definition)
    return drop, [*build, "SET session_replication_role = DEFAULT"]


def _sqlite(names: Sequence[str]) -> tuple[list[str], list[str]]:
    drop, build = ["PRAGMA synchronous = OFF", "PRAGMA foreign_keys = OFF"], []
    with connection.cursor() as cursor:
        cursor.execute("SELECT tbl_name, name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        for table, name, definition in cursor.fetchall():
            if table in names:
                drop.append(f'DROP INDEX "{name}"')
                build.append(definition)
    return drop, [*build, "PRAGMA foreign_keys = ON", "PRAGMA synchronous = FULL"]
