"""The lines of the log."""

import io
import logging
import logging.config
from typing import Any

import pytest
from django.conf import settings
from django.db import DatabaseError, connection

from tests.cast import Actor


def logged(message: str, *arguments: Any, **options: Any) -> str:
    """Return what the configured formatter makes of a message."""
    formatter = settings.LOGGING["formatters"]["line"]
    configured: Any = logging.config.DictConfigurator({"version": 1}).configure_formatter(dict(formatter))
    handler = logging.StreamHandler(io.StringIO())
    handler.setFormatter(configured)
    record = logging.getLogger("probe").makeRecord(
        "probe", logging.WARNING, "f", 1, message, arguments, options.get("exc_info"), sinfo=options.get("sinfo")
    )
    record.request_id = "0123456789abcdef"
    handler.emit(record)
    return str(handler.stream.getvalue())


def test_a_line() -> None:
    assert logged("%s published %s", "夜间构建", "core").endswith(
        " WARNING probe [0123456789abcdef] 夜间构建 published core\n"
    )


@pytest.mark.parametrize("control", ["\n", "\r", "\x1b[2K", "\x00", "\x85", "\u2028", "\u202e", "\x7f", "\x9b"])
def test_nobody_forges_a_line(control: str) -> None:
    line = logged("The token %s is used", f"ci{control}2026-01-01 00:00:00,000 ERROR forged")
    assert line.endswith("is used\n")
    assert control not in line[:-1]
    assert line.count("\n") == 1
    assert "ci\\" in line


def test_a_traceback_keeps_its_lines_and_is_no_record() -> None:
    try:
        raise ValueError("one\n2026-01-01 00:00:00,000 ERROR forged\x1b")
    except ValueError as error:
        lines = logged("It failed", exc_info=(type(error), error, error.__traceback__)).splitlines()
    assert lines[0].endswith("It failed")
    assert lines[1] == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") for line in lines[1:])
    assert "\x1b" not in "".join(lines)


def test_a_stack_keeps_its_lines() -> None:
    lines = logged("Here", sinfo="Stack (most recent call last):\n  File x").splitlines()
    assert lines[1:] == ["  Stack (most recent call last):", "    File x"]


# --- Secrets ----------------------------------------------------------------------------------------------------

KEY = "sk-abcdefghijklmnop0123456789"


def test_a_secret_in_a_line_is_redacted() -> None:
    assert logged("Refused: %s", f"Authorization: Bearer {KEY}").endswith("Refused: Authorization: [redacted]\n")


@pytest.mark.parametrize(
    "statement",
    [
        # "Failing row contains (…)", "Key (…)=(…)", "invalid input syntax", and an excerpt of the statement
        f"INSERT INTO accounts_user (id, email) VALUES (gen_random_uuid(), '{KEY}')",
        f"CREATE TEMPORARY TABLE twice (a text UNIQUE); INSERT INTO twice VALUES ('{KEY}'), ('{KEY}')",
        f"SELECT '{KEY}'::uuid",
        f"SELECT '{KEY}' FROM nowhere",
    ],
)
@pytest.mark.django_db
def test_a_value_that_the_database_complains_of_is_redacted(statement: str) -> None:
    with pytest.raises(DatabaseError) as raised, connection.cursor() as cursor:
        cursor.execute(statement)
    assert KEY in str(raised.value)
    text = logged("It failed", exc_info=(raised.type, raised.value, raised.tb))
    assert KEY not in text
    assert "[redacted]" in text


def test_no_log_shows_what_a_statement_is_given(learner: Actor, caplog: pytest.LogCaptureFixture) -> None:
    """A chapter may have a code that looks like a key, so it goes to the database as it is."""
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "django.db.backends"):
        body = {"course_id": str(learner.user.pk), "chapter_id": "sk-learn-basics", "status": "COMPLETED"}
        assert learner.post("/v1/progress/chapter", body).status_code == 403
    assert "sk-learn-basics" not in caplog.text
