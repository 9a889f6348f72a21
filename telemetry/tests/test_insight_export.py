"""The export from a course's page: of this course only, as far as the person may know, bounded, and audited."""

import csv
import gzip
import io
import json
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client

from config import limits
from config.places import Places
from config.tests.processes import eventually
from courses.models import Course, CourseInstructor, Enrollment
from telemetry.tests.insight_data import Taught, at, browser_of, day, hidden_name, make_instructor, make_taught, send
from tests.cast import Actor

# An export reads on a connection of its own, which sees what was committed only.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def taught(transactional_db: None) -> Taught:
    """With a learner who is in another course too."""
    taught, other = make_taught("TST101"), make_taught("OTH100", "Another", event_type="elsewhere")
    Enrollment.objects.create(course=other.course, user=taught.through.user)
    send(taught.through, other.course, at(1, 11), "elsewhere")
    return taught


@pytest.fixture
def anna(taught: Taught) -> Client:
    return browser_of(make_instructor("anna", taught.course))


@pytest.fixture
def bert(taught: Taught) -> Client:
    return browser_of(make_instructor("bert", taught.course, may_see_emails=True))


def exported(browser: Client, taught: Taught, **fields: Any) -> bytes:
    response: Any = browser.post(taught.export_url, {"format": "ndjson", **fields})
    assert response.status_code == 200
    assert response.streaming, response.context["form"].errors
    content = b"".join(response.streaming_content)
    response.close()
    return content


def events_of(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def test_the_events_of_this_course_by_pseudonym(taught: Taught, anna: Client) -> None:
    content = exported(anna, taught)
    assert [(event["learner"], event["event_type"], event["course_code"]) for event in events_of(content)] == [
        (hidden_name(taught.stopped_in), "opened", "TST101"),
        (hidden_name(taught.through), "opened", "TST101"),
        (hidden_name(taught.through), "other", "TST101"),
    ]
    text = content.decode()
    for identity in (taught.through.user.email, str(taught.through.user.pk), "TST101!", "payload", "OTH100"):
        assert identity not in text


def test_who_may_not_see_emails_can_not_ask_for_them(taught: Taught, anna: Client) -> None:
    """Nor for payloads, in which learners may name themselves."""
    for chosen in ("ndjson", "csv", "xapi"):
        content = exported(anna, taught, format=chosen, identify="on", with_payload="on").decode()
        for identity in (taught.through.user.email, str(taught.through.user.pk), "TST101!"):
            assert identity not in content
    page = anna.get(taught.export_url).content.decode()
    assert 'name="identify"' not in page
    assert 'name="with_payload"' not in page


def test_who_may_see_emails_chooses(taught: Taught, bert: Client) -> None:
    page = bert.get(taught.export_url).content.decode()
    assert 'name="identify"' in page
    plain = exported(bert, taught).decode()
    assert taught.through.user.email not in plain
    assert "TST101!" not in plain
    named = events_of(exported(bert, taught, identify="on", with_payload="on"))
    assert [event["email"] for event in named[1:]] == [taught.through.user.email] * 2
    assert named[1]["payload"] == {"said": "TST101!"}


def test_the_range_of_days(taught: Taught, anna: Client) -> None:
    types = [
        [event["event_type"] for event in events_of(exported(anna, taught, **fields))]
        for fields in (
            {"first": day(1)},
            {"last": day(30)},
            {"first": day(30), "last": day(1)},
            {"first": day(29), "last": day(2)},
            {"first": day(1), "last": day(1)},
        )
    ]
    assert types == [["opened", "other"], ["opened"], ["opened", "opened", "other"], [], ["opened", "other"]]


@pytest.mark.parametrize(
    "fields",
    [
        {"first": "2026-01-02", "last": "2026-01-01"},
        {"first": "yesterday"},
        {"last": "2026-02-30"},
        {"format": "exe"},
        {"format": ""},
    ],
)
def test_what_makes_no_sense_is_said_at_its_field(taught: Taught, anna: Client, fields: dict[str, str]) -> None:
    response = anna.post(taught.export_url, {"format": "csv", **fields})
    assert not response.streaming
    assert response.context["form"].errors
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("last", ["9999-12-31", "0001-01-01"])
def test_the_ends_of_the_calendar(taught: Taught, anna: Client, last: str) -> None:
    assert len(events_of(exported(anna, taught, last=last))) == (3 if last.startswith("9") else 0)


def test_the_formats(taught: Taught, anna: Client) -> None:
    for chosen, name, kind in (
        ("csv", ".csv", "text/csv"),
        ("ndjson", ".ndjson", "application/x-ndjson"),
        ("parquet", ".parquet", "application/vnd.apache.parquet"),
        ("xapi", ".xapi.ndjson", "application/x-ndjson"),
    ):
        response: Any = anna.post(taught.export_url, {"format": chosen})
        assert response["Content-Disposition"] == f'attachment; filename="TST101-events{name}"'
        assert response["Content-Type"].startswith(kind)
        content = b"".join(response.streaming_content)
        response.close()
        if chosen == "csv":
            assert len(list(csv.DictReader(io.StringIO(content.decode())))) == 3
        if chosen == "parquet":
            assert content.startswith(b"PAR1")
    compressed = exported(anna, taught, compressed="on")
    assert len(events_of(gzip.decompress(compressed))) == 3
    assert exported(anna, taught, format="parquet", compressed="on").startswith(b"PAR1")


def test_it_is_written_into_the_courses_history(taught: Taught, anna: Client, bert: Client, staff: Actor) -> None:
    exported(anna, taught, format="csv", first=day(3))
    exported(bert, taught, identify="on", with_payload="on")
    first, second = LogEntry.objects.order_by("pk")
    assert [entry.user.email for entry in (first, second)] == ["anna@example.com", "bert@example.com"]
    for entry in (first, second):
        assert entry.content_type == ContentType.objects.get_for_model(Course)
        assert entry.object_id == str(taught.course.pk)
    assert first.get_change_message() == f"Added export of events by pseudonym “CSV, {day(3)} / …”."
    assert second.get_change_message() == "Added export of events with email addresses “NDJSON, … / …, payload”."
    history = browser_of(staff.user).get(f"/admin/courses/course/{taught.course.pk}/history/").content.decode()
    by_pseudonym = f"Exported events by pseudonym: CSV, {day(3)} / …"
    assert by_pseudonym in history
    assert history.index("Exported events with email addresses: NDJSON, … / …, payload") < history.index(by_pseudonym)
    assert "anna@example.com" in history


def test_who_may_see_insights_only_can_not_export(taught: Taught, anna: Client) -> None:
    user = make_instructor("carl", taught.course)
    user.groups.get().permissions.remove(*user.groups.get().permissions.filter(codename="export_courseinsights"))
    browser = browser_of(user)
    assert browser.get(taught.export_url).status_code == 403
    assert browser.post(taught.export_url, {"format": "csv"}).status_code == 403
    assert taught.export_url not in browser.get(taught.url).content.decode()
    assert not LogEntry.objects.exists()


def test_another_course_can_not_be_exported(taught: Taught, anna: Client) -> None:
    other = Course.objects.get(course_code="OTH100")
    page = taught.export_url.replace(str(taught.course.pk), str(other.pk))
    assert anna.post(page, {"format": "csv"}).status_code == 404
    assert anna.post(taught.export_url, {"format": "csv", "course": str(other.pk)}).status_code == 200
    assert LogEntry.objects.get().object_id == str(taught.course.pk)


def test_a_bounded_number_at_once(taught: Taught, anna: Client, bert: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are told so at once; who leaves makes room."""
    places = Places(2)
    monkeypatch.setattr("telemetry.insights.downloads._places", places)
    first: Any = anna.post(taught.export_url, {"format": "csv"})
    next(iter(first.streaming_content))
    again = anna.post(taught.export_url, {"format": "csv"})
    assert (again.status_code, again["Retry-After"]) == (503, str(limits.RETRY_AFTER_BUSY_SECONDS))
    assert "Other exports are under way. Please try again in a moment." in again.content.decode()
    second: Any = bert.post(taught.export_url, {"format": "csv"})
    assert second.streaming, "nobody takes all places"
    assert places.qsize() == 0
    assert LogEntry.objects.count() == 2
    first.close()
    second.close()
    assert places.qsize() == 2
    assert len(events_of(exported(anna, taught))) == 3
    assert places.qsize() == 2


def test_who_leaves_in_the_middle_leaves_nothing_behind(taught: Taught, anna: Client) -> None:
    """The reader's connection to the database is closed, whatever was being read."""
    assert eventually(lambda: _connections() == 1)
    response: Any = anna.post(taught.export_url, {"format": "ndjson"})
    assert next(iter(response.streaming_content))
    response.close()
    assert eventually(lambda: _connections() == 1)


def test_no_timeout_for_requests_ends_it(taught: Taught, anna: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"options": "-c statement_timeout=1"})
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", None)
    assert len(events_of(exported(anna, taught))) == 3


def test_a_binding_that_ends_shows_no_emails_any_more(taught: Taught, bert: Client) -> None:
    assert taught.through.user.email in exported(bert, taught, identify="on").decode()
    CourseInstructor.objects.update(may_see_emails=False)
    assert taught.through.user.email not in exported(bert, taught, identify="on").decode()


def _connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return int(cursor.fetchone()[0])
