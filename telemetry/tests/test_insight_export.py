"""The export from a course's page: of this course only, as far as the person may know, bounded, and audited."""

import codecs
import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.db import connection
from django.test import Client

from config import limits
from config.places import Places
from config.tests.processes import eventually
from courses.models import Course, CourseInstructor, Enrollment
from telemetry.insights.downloads import DownloadTookTooLongError
from telemetry.tests.exported import fill
from telemetry.tests.insight_data import (
    Taught,
    at,
    browser_of,
    day,
    hidden_name,
    make_instructor,
    make_taught,
    send,
    text_of,
)
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
            assert len(list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"))))) == 3
        if chosen == "parquet":
            assert content.startswith(b"PAR1")
    compressed = exported(anna, taught, compressed="on")
    assert len(events_of(gzip.decompress(compressed))) == 3
    assert exported(anna, taught, format="parquet", compressed="on").startswith(b"PAR1")


def test_excel_reads_chinese_in_csv(taught: Taught, anna: Client, tmp_path: Path) -> None:
    """It takes for UTF-8 only what begins with the mark of it; other formats and the command's files have none."""
    send(taught.through, taught.course, at(1, 12), "打开")
    plain = exported(anna, taught, format="csv")
    assert plain.startswith(codecs.BOM_UTF8)
    assert gzip.decompress(exported(anna, taught, format="csv", compressed="on")) == plain
    rows = list(csv.DictReader(io.StringIO(plain.decode("utf-8-sig"))))
    assert [row["event_type"] for row in rows] == ["opened", "opened", "other", "打开"]
    assert next(iter(rows[0])) == "learner"
    for chosen in ("ndjson", "xapi"):
        assert not exported(anna, taught, format=chosen).startswith(codecs.BOM_UTF8)
    call_command("export_events", tmp_path / "a.csv", course=["TST101"], without_payload=True, verbosity=0)
    assert (tmp_path / "a.csv").read_bytes() == plain.removeprefix(codecs.BOM_UTF8)


def test_what_is_left_out_is_said_before_the_download(
    taught: Taught, anna: Client, bert: Client, admin_page: Client
) -> None:
    """And nobody is sent to a history that they can't open."""
    history = "This course's history tells who exported what."
    pages = [text_of(browser.get(taught.export_url)) for browser in (anna, bert, admin_page)]
    left_out = "Email addresses are left out, and so are payloads (what the desktop app reported freely"
    assert [left_out in page for page in pages] == [True, False, False]
    assert ["When off, learners are pseudonyms" in page for page in pages] == [False, True, True]
    assert [history in page for page in pages] == [False, False, True]
    assert ["It is recorded who exported what." in page for page in pages] == [True, True, False]
    for page, browser in zip(pages, (anna, bert, admin_page), strict=True):
        opened = browser.get(f"/admin/courses/course/{taught.course.pk}/history/").status_code
        assert (opened == 200) is (history in page)


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


def test_one_that_takes_too_long_breaks_off(taught: Taught, anna: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an error, so that the part isn't taken for the whole; nothing is held any more."""
    places = Places(1)
    monkeypatch.setattr("telemetry.insights.downloads._places", places)
    fill(taught.absent.user, taught.course, 1_200)
    assert eventually(lambda: _connections() == 1)
    response: Any = anna.post(taught.export_url, {"format": "ndjson"})
    parts = iter(response.streaming_content)
    assert next(parts)
    assert next(parts)
    monkeypatch.setattr("config.limits.EXPORT_DOWNLOAD_MAX_SECONDS", 0)
    with pytest.raises(DownloadTookTooLongError):
        next(parts)
    response.close()
    assert places.qsize() == 1
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
