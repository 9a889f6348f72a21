"""Every table that refers to a person, or hints at one, is covered by what PERSONAL_DATA names."""

import re
from typing import Final

import pytest
from django.apps import apps
from django.core.checks import run_checks
from django.db import connection
from pytest_django.fixtures import Settings

from accounts.models import DeviceSession, User
from config.personal_data import Holding, get_holdings

pytestmark = pytest.mark.django_db

PEOPLE: Final = {User._meta.db_table, DeviceSession._meta.db_table}
"""Tables of which a row is a person, or one's device."""

HINTS: Final = re.compile(
    r"(^|_)(user|users|owner|learner|student|actor|author|instructor|editor|person|email|mail|device|session|address|ip"
    r"|phone|login|created_by|updated_by|made_by)(_|$)"
)
"""What a column is called that may hold a person, or what one is known by."""


def covered() -> set[str]:
    return {table for holding in get_holdings() for table in holding.tables}


def rows(statement: str) -> list[tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def test_foreign_keys_of_the_database() -> None:
    """Of partitioned tables, the parent stands for all partitions."""
    keys = rows(
        "SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint JOIN pg_class ON conrelid = oid"
        " WHERE contype = 'f' AND NOT relispartition".replace("= oid", "= pg_class.oid")
    )
    referring = {table for table, target in keys if target in PEOPLE}
    assert len(referring) >= 10
    assert referring - covered() == set()


def test_relations_of_the_models() -> None:
    """Also those that the database doesn't hold to."""
    referring = {
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        for field in model._meta.get_fields(include_hidden=True)
        if field.concrete and field.related_model is not None and field.related_model._meta.db_table in PEOPLE
    }
    assert "telemetry_learnerday" in referring
    assert referring - covered() == set()


def test_names_of_columns() -> None:
    """Text, UUIDs and JSON only: a number of learners is no learner."""
    columns = rows(
        "SELECT attrelid::regclass::text, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
        " WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace = 'public'::regnamespace AND attnum > 0"
        " AND NOT attisdropped AND format_type(atttypid, NULL) NOT IN ('integer', 'smallint', 'boolean')"
    )
    hinting = {table for table, column in columns if HINTS.search(column)}
    assert {"accounts_emailverificationcode", "django_session"} <= hinting
    assert hinting - covered() == set()


def test_every_holding_is_a_table_of_ours() -> None:
    existing = {table for table, _ in rows("SELECT relname, relkind FROM pg_class WHERE relkind IN ('r', 'p')")}
    assert covered() - existing == set()


def test_every_holding_says_what_it_is() -> None:
    """GDPR, article 15(1): the purposes, the recipients, how long, and where it comes from."""
    holdings = get_holdings()
    for holding in holdings:
        for text in (holding.purpose, holding.origin, holding.recipients, holding.kept_for, holding.upon_erasure):
            assert text.endswith("."), (holding.name, text)
        assert re.fullmatch("[a-z_]+", holding.name)
        assert holding.title
        assert holding.tables
        assert holding.upon_erasure.startswith(("Kept", "Revoked")) is holding.stays
    assert len({holding.name for holding in holdings}) == len(holdings)
    assert len({holding.title for holding in holdings}) == len(holdings)


def test_the_account_comes_last() -> None:
    last: Holding = get_holdings()[-1]
    assert last.name == "account"


def test_a_source_that_is_none_fails_the_checks(settings: Settings) -> None:
    assert not run_checks(tags=["admin"])
    settings.PERSONAL_DATA = [*settings.PERSONAL_DATA, "accounts.personal_data.nothing"]
    assert [found.id for found in run_checks(tags=["admin"])] == ["config.E003"]
