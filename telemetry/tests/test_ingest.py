"""POST /v1/analytics/events:ingest"""

import hashlib
import json
import logging
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from config import limits
from courses.models import Course, Enrollment
from telemetry.models import AnalyticsEvent
from tests.cast import Actor, error_code
from tests.races import in_thread, run_at_once, wait_until_blocked

URL = "/v1/analytics/events:ingest"
TIME = "2026-03-01T08:30:00.123456Z"
SECRET = "sk-ant-api03-PLANTEDplanted0123456789"


def event(**fields: Any) -> dict[str, Any]:
    return {"event_type": "chapter_opened", "event_time": TIME, **fields}


def send(actor: Actor, *events: Any) -> dict[str, Any]:
    # Dumped here: the test client's own encoder stumbles over lone surrogates and NaN.
    response = actor.client.post(URL, json.dumps({"events": events}), content_type="application/json")
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    assert answer["accepted"] + answer["failed"] == len(events)
    assert answer["failed"] == len(answer["errors"])
    assert answer["duplicates"] <= answer["accepted"]
    return answer


def stored() -> list[AnalyticsEvent]:
    return list(AnalyticsEvent.objects.order_by("event_time", "event_id"))


def test_events_are_stored_as_sent(learner: Actor, course: Course) -> None:
    before = timezone.now()
    sent = event(
        event_id="e-1",
        course_id=str(course.id).upper(),
        chapter_id="ch1_intro",
        session_id="s-1",
        payload={
            "seconds": 1.5,
            "text": "größer 😀 'quoted' \"twice\" \\ {a,b} %s",
            "list": [1, None, True, {"x": []}],
        },
        invented="ignored",
    )
    assert send(learner, sent) == {"accepted": 1, "failed": 0, "duplicates": 0, "errors": []}
    (row,) = stored()
    assert row.user == learner.user
    assert row.event_id == "e-1"
    assert row.event_type == "chapter_opened"
    assert row.event_time == datetime(2026, 3, 1, 8, 30, 0, 123456, tzinfo=UTC)
    assert before <= row.received_at <= timezone.now()
    assert row.course_id == course.id
    assert (row.chapter_id, row.session_id) == ("ch1_intro", "s-1")
    assert row.payload == sent["payload"]


def test_chapter_by_uuid(learner: Actor, course: Course) -> None:
    chapter_id = str(course.chapters.first().id)  # type: ignore[union-attr]
    send(learner, event(course_id=str(course.id), chapter_id=chapter_id))
    assert stored()[0].chapter_id == chapter_id


@pytest.mark.parametrize(
    "absent", [{}, dict.fromkeys(("event_id", "course_id", "chapter_id", "session_id", "payload"))]
)
def test_optional_fields_absent_or_null(outsider: Actor, absent: dict[str, Any]) -> None:
    assert send(outsider, event(**absent))["accepted"] == 1
    (row,) = stored()
    assert (row.course_id, row.chapter_id, row.session_id, row.payload) == (None, "", "", {})


def test_empty_list(learner: Actor) -> None:
    assert send(learner) == {"accepted": 0, "failed": 0, "duplicates": 0, "errors": []}


@pytest.mark.parametrize("count", [1, 1000])
def test_two_queries(learner: Actor, course: Course, count: int, django_assert_num_queries: Any) -> None:
    """Authentication, and the insert with the budget; one more when not all was new."""
    events = [event(event_id=f"e-{n}", course_id=str(course.id), payload={"n": n}) for n in range(count)]
    with django_assert_num_queries(2):
        assert send(learner, *events)["duplicates"] == 0
    with django_assert_num_queries(3):
        assert send(learner, *events)["duplicates"] == count
    assert AnalyticsEvent.objects.count() == count


def test_wrong_method(learner: Actor) -> None:
    assert error_code(learner.get(URL)) == "METHOD_NOT_ALLOWED"


def test_trailing_slash_is_not_found(learner: Actor) -> None:
    assert error_code(learner.post(f"{URL}/", {"events": []})) == "NOT_FOUND"


def test_escaped_colon(learner: Actor) -> None:
    assert learner.post(URL.replace(":", "%3A"), {"events": [event()]}).status_code == 200


def test_no_token(api: APIClient) -> None:
    response = api.post(URL, {"events": [event()]}, format="json")
    assert response.status_code == 401
    assert error_code(response) == "UNAUTHORIZED"


# --- Whose course -----------------------------------------------------------------------------------------------


def test_event_for_a_course_of_others_fails_alone(learner: Actor, course: Course) -> None:
    other = Course.objects.create(course_code="OTH100", title="Other")
    refused = [str(other.id), str(uuid.uuid4()), "TST100", course.id.hex, "\x00", "x" * 5000]
    events = [event(event_id=f"e-{n}", course_id=course_id) for n, course_id in enumerate(refused)]
    answer = send(learner, *events, event(event_id="good", course_id=str(course.id)))
    assert answer["accepted"] == 1
    assert [(error["index"], error["event_id"], error["code"]) for error in answer["errors"]] == [
        (n, f"e-{n}", "COURSE_ACCESS_DENIED") for n in range(len(refused))
    ]
    assert all(error["message"] for error in answer["errors"])
    assert [row.event_id for row in stored()] == ["good"]


def test_removed_learner(learner: Actor, course: Course) -> None:
    Enrollment.objects.update(removed_at=timezone.now())
    answer = send(learner, event(course_id=str(course.id)), event())
    assert (answer["accepted"], answer["errors"][0]["code"]) == (1, "COURSE_ACCESS_DENIED")


def test_deactivated_course_still_takes_events(learner: Actor, course: Course) -> None:
    Course.objects.update(is_active=False)
    assert send(learner, event(course_id=str(course.id)))["accepted"] == 1


# --- Sent again -------------------------------------------------------------------------------------------------


def test_again_is_accepted_and_stored_once(learner: Actor) -> None:
    assert send(learner, event(event_id="e-1"))["duplicates"] == 0
    assert send(learner, event(event_id="e-1")) == {"accepted": 1, "failed": 0, "duplicates": 1, "errors": []}
    assert len(stored()) == 1


def test_again_within_the_batch(learner: Actor) -> None:
    answer = send(learner, event(event_id="e-1", payload={"n": 1}), event(event_id="e-1", payload={"n": 1.0}))
    assert (answer["accepted"], answer["duplicates"]) == (2, 1)
    assert [row.payload for row in stored()] == [{"n": 1}]


def test_same_moment_written_otherwise_is_the_same_event(learner: Actor) -> None:
    send(learner, event(event_id="e-1", event_time="2026-03-01T08:30:00Z"))
    answer = send(learner, event(event_id="e-1", event_time="2026-03-01T09:30:00.000+01:00"))
    assert answer["duplicates"] == 1


def test_other_user_or_time_is_another_event(learner: Actor, fellow: Actor) -> None:
    send(learner, event(event_id="e-1"))
    assert send(fellow, event(event_id="e-1"))["duplicates"] == 0
    assert send(learner, event(event_id="e-1", event_time="2026-03-01T08:30:00.123457Z"))["duplicates"] == 0
    assert len(stored()) == 3


@pytest.mark.parametrize("event_id", [{}, {"event_id": None}, {"event_id": ""}])
def test_blind_retry_without_an_id(learner: Actor, course: Course, event_id: dict[str, Any]) -> None:
    sent = event(course_id=str(course.id), payload={"b": 1, "a": "ä"}) | event_id
    send(learner, sent)
    assert send(learner, sent)["duplicates"] == 1
    (row,) = stored()
    content = ["chapter_opened", "2026-03-01T08:30:00.123456+00:00", str(course.id), "", "", {"a": "ä", "b": 1}]
    canonical = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert row.event_id == f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


@pytest.mark.parametrize(
    "change",
    [
        {"event_type": "other"},
        {"event_time": "2026-03-01T08:30:00.123457Z"},
        {"course_id": None},
        {"chapter_id": "other"},
        {"session_id": "other"},
        {"payload": {"n": 2}},
    ],
)
def test_other_content_without_an_id_is_another_event(learner: Actor, course: Course, change: dict[str, Any]) -> None:
    first = event(course_id=str(course.id), chapter_id="c", session_id="s", payload={"n": 1})
    answer = send(learner, first, first | change)
    assert (answer["accepted"], answer["duplicates"]) == (2, 0)
    assert len(stored()) == 2


@pytest.mark.django_db(transaction=True)
def test_batches_at_once_store_each_event_once(learner: Actor, course: Course) -> None:
    events = [event(event_id=f"e-{n:03}", course_id=str(course.id)) for n in range(300)]
    batches = [events, events[::-1], events[150:] + events[:150], events[::2] + events[1::2]]
    for _ in range(3):
        AnalyticsEvent.objects.all().delete()
        answers = run_at_once(*(lambda batch=batch: send(learner, *batch) for batch in batches))
        assert [answer["accepted"] for answer in answers] == [300] * 4
        assert sum(answer["accepted"] - answer["duplicates"] for answer in answers) == 300
        assert AnalyticsEvent.objects.count() == 300


@pytest.mark.django_db(transaction=True)
def test_keys_are_taken_in_order(learner: Actor) -> None:
    """Two batches can't deadlock: whoever waits for a key holds none that comes after it."""
    moment = datetime.fromisoformat(TIME)
    events = [event(event_id=event_id) for event_id in ("e-3", "e-2", "e-1")]
    with transaction.atomic():
        AnalyticsEvent.objects.create(user=learner.user, event_id="e-2", event_time=moment, event_type="chapter_opened")
        answer = in_thread(lambda: send(learner, *events))
        wait_until_blocked()
        AnalyticsEvent.objects.create(user=learner.user, event_id="e-3", event_time=moment, event_type="chapter_opened")
    assert answer.result() == {"accepted": 3, "failed": 0, "duplicates": 2, "errors": []}


# --- Malformed --------------------------------------------------------------------------------------------------

DEEP: dict[str, Any] = {}
for _ in range(limits.JSON_MAX_DEPTH):
    DEEP = {"a": [], "b": DEEP}

MALFORMED: dict[str, dict[str, Any]] = {
    "id is a number": {"event_id": 5},
    "id is too long": {"event_id": "x" * 129},
    "id with NUL": {"event_id": "a\x00"},
    "id with a lone surrogate": {"event_id": "\ud800"},
    "type is missing": {"event_type": None},
    "type is empty": {"event_type": ""},
    "type is a list": {"event_type": ["x"]},
    "type is too long": {"event_type": "x" * 129},
    "type with NUL": {"event_type": "\x00"},
    "time is missing": {"event_time": None},
    "time is empty": {"event_time": ""},
    "time is a number": {"event_time": 1772353800},
    "time is prose": {"event_time": "yesterday"},
    "time with NUL": {"event_time": "2026-03-01T08:30:00Z\x00"},
    "time with a lone surrogate": {"event_time": "\ud800"},
    "time of no day": {"event_time": "2026-02-30T00:00:00Z"},
    "time before year 1": {"event_time": "0001-01-01T00:00:00+01:00"},
    "time after year 9999": {"event_time": "9999-12-31T23:59:59-01:00"},
    "time in year 10000": {"event_time": "10000-01-01T00:00:00Z"},
    "course is a number": {"course_id": 5},
    "course is false": {"course_id": False},
    "chapter is a number": {"chapter_id": 1},
    "chapter is too long": {"chapter_id": "x" * 256},
    "chapter with NUL": {"chapter_id": "\x00"},
    "session is a list": {"session_id": []},
    "session is too long": {"session_id": "x" * 256},
    "session with a lone surrogate": {"session_id": "a\udfff"},
    "payload is a list": {"payload": []},
    "payload is a text": {"payload": "text"},
    "payload is false": {"payload": False},
    "payload with NUL": {"payload": {"a": [{"b": "\x00"}]}},
    "payload with NUL in a name": {"payload": {"a\x00": 1}},
    "payload with a lone surrogate": {"payload": {"a": "\ud83d"}},
    "payload with a huge integer": {"payload": {"a": 2**63}},
    "payload with a huge negative integer": {"payload": {"a": [-(2**63) - 1]}},
    "payload too deep": {"payload": DEEP},
    "payload with NaN": {"payload": {"a": [float("nan")]}},
    "payload with infinity": {"payload": {"a": float("-inf")}},
    "payload with too many names": {"payload": {"a": [{"b": n} for n in range(limits.EVENT_PAYLOAD_NAMES_MAX)]}},
    "payload too large": {"payload": {"a": "x" * limits.EVENT_MAX_BYTES}},
    "payload with an integer of many digits": {"payload": {"a": 10**4000}},
    "unknown field with a lone surrogate": {"invented": "\ud800"},
}


@pytest.mark.parametrize("change", MALFORMED.values(), ids=MALFORMED)
def test_malformed_event_fails_alone(learner: Actor, change: dict[str, Any]) -> None:
    bad = {"event_id": "bad", **event(), **change}
    answer = send(learner, event(event_id="one"), bad, event(event_id="two"))
    assert (answer["accepted"], answer["failed"]) == (2, 1)
    (error,) = answer["errors"]
    assert (error["index"], error["code"]) == (1, "VALIDATION_ERROR")
    assert error["event_id"] == (None if "event_id" in change else "bad")
    assert error["message"]
    assert [row.event_id for row in stored()] == ["one", "two"]


def test_number_out_of_range_in_a_payload(learner: Actor) -> None:
    body = json.dumps({"events": [event(payload={"a": 1}), event()]}).replace('{"a": 1}', '{"a": 1e999}')
    answer = learner.client.post(URL, body, content_type="application/json").json()
    assert (answer["accepted"], answer["failed"]) == (1, 1)


@pytest.mark.parametrize("event_time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "1969-12-31T23:59:59Z"])
def test_edges_of_time(learner: Actor, event_time: str) -> None:
    send(learner, event(event_time=event_time))
    assert stored()[0].event_time == datetime.fromisoformat(event_time)


@pytest.mark.parametrize(
    ("event_time", "instant"),
    [
        ("2026-03-01T08:30:00Z", "2026-03-01T08:30:00+00:00"),
        ("2026-03-01t08:30:00.5z", "2026-03-01T08:30:00.500000+00:00"),
        ("2026-03-01 08:30:00+05:30", "2026-03-01T03:00:00+00:00"),
        ("2026-03-01T08:30:00-12:00", "2026-03-01T20:30:00+00:00"),
        ("2026-03-01T08:30:00.123456789Z", "2026-03-01T08:30:00.123456+00:00"),
        ("2026-03-01T08:30:00", "2026-03-01T08:30:00+00:00"),
    ],
)
def test_spellings_of_time(learner: Actor, event_time: str, instant: str) -> None:
    send(learner, event(event_time=event_time))
    assert stored()[0].event_time.isoformat() == instant


def test_longest_fields(learner: Actor) -> None:
    text = "ü" * 255
    longest = event(event_id="ü" * 128, chapter_id=text, session_id=text) | {"event_type": "ü" * 128}
    assert send(learner, longest)["accepted"] == 1


@pytest.mark.parametrize(
    "body", ["[]", "null", "3", "{}", '{"events": null}', '{"events": {}}', '{"events": "x"}', '{"events": [{}, 1]}',
             '{"events": [[]]}', '{"events": [null]}']
)  # fmt: skip
def test_body_without_a_list_of_objects(learner: Actor, body: str) -> None:
    response = learner.client.post(URL, body, content_type="application/json")
    assert response.status_code == 422
    assert error_code(response) == "VALIDATION_ERROR"


@pytest.mark.parametrize("body", ["{", '{"events": [NaN]}', '{"events": ' + "[" * 100_000])
def test_body_that_is_no_json(learner: Actor, body: str) -> None:
    response = learner.client.post(URL, body, content_type="application/json")
    assert response.status_code == 400
    assert error_code(response) == "MALFORMED_REQUEST"


def test_too_many_events(learner: Actor) -> None:
    events = [event(event_id=str(n)) for n in range(limits.EVENTS_PER_CALL_MAX + 1)]
    response = learner.post(URL, {"events": events})
    assert response.status_code == 413
    assert error_code(response) == "PAYLOAD_TOO_LARGE"
    assert not stored()


def test_body_too_large(learner: Actor) -> None:
    response = learner.post(URL, {"events": [event(payload={"a": "x" * limits.EVENTS_BODY_MAX_BYTES})]})
    assert response.status_code == 413
    assert error_code(response) == "PAYLOAD_TOO_LARGE"


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
GOOD_EVENTS = st.builds(lambda n: event(event_id=f"e-{n}"), st.integers(0, 5))
ANY_EVENTS = st.fixed_dictionaries(
    {},
    optional={
        "event_id": JSON_VALUES | st.sampled_from(["e-1", "e-2"]),
        "event_type": JSON_VALUES | st.just("opened"),
        "event_time": JSON_VALUES | st.just(TIME),
        "course_id": JSON_VALUES | st.uuids().map(str),
        "chapter_id": JSON_VALUES,
        "session_id": JSON_VALUES,
        "payload": JSON_VALUES | st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=3),
    },
)


@hypothesis_settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(GOOD_EVENTS | ANY_EVENTS, max_size=12))
def test_whatever_mixture_every_event_is_accounted_for(learner: Actor, events: list[dict[str, Any]]) -> None:
    AnalyticsEvent.objects.all().delete()
    answer = send(learner, *events)
    indices = [error["index"] for error in answer["errors"]]
    assert indices == sorted(set(indices))
    assert set(indices) <= set(range(len(events)))
    assert AnalyticsEvent.objects.count() == answer["accepted"] - answer["duplicates"]
    again = send(learner, *events)
    assert again == answer | {"duplicates": answer["accepted"]}


# --- Secrets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"event_id": SECRET},
        {"event_type": SECRET},
        {"event_time": SECRET},
        {"course_id": SECRET},
        {"chapter_id": f"see {SECRET}"},
        {"session_id": f"Bearer {SECRET}"},
        {"payload": {"log": f"called with {SECRET}"}},
        {"payload": {SECRET: 1}},
        {"payload": {"deep": [{"api_key": "PLANTED"}, {"headers": {"X-Api-Key": ["PLANTED"]}}]}},
        {"payload": SECRET},
        {"event_id": SECRET, "event_type": 5},
        {SECRET: SECRET},
    ],
)
def test_secrets_do_not_land(learner: Actor, change: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer = send(learner, {"event_id": "e-1", **event(), **change})
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(string_agg(e::text, ' '), '') FROM telemetry_analyticsevent AS e")
        text = cursor.fetchone()[0]
    assert bool(text) == bool(answer["accepted"])
    assert "PLANTED" not in text
    assert "PLANTED" not in json.dumps(answer)
    assert "PLANTED" not in caplog.text


def test_secret_as_id_gives_way_to_a_derived_one(learner: Actor) -> None:
    send(learner, event(event_id=SECRET, payload={"n": 1}), event(event_id=SECRET, payload={"n": 2}))
    assert [row.event_id[:7] for row in stored()] == ["sha256:", "sha256:"]
    assert send(learner, event(event_id=SECRET, payload={"n": 1}))["duplicates"] == 1


def test_redaction_that_lengthens_a_full_field(learner: Actor) -> None:
    """Many short tokens become longer by redaction: cut, rather than an error of the database."""
    text = ("a.eyJ. " * 40)[: limits.REFERENCE_MAX_LENGTH]
    assert send(learner, event(chapter_id=text, session_id=text))["accepted"] == 1
    assert len(stored()[0].session_id) == limits.REFERENCE_MAX_LENGTH


# --- The learner's clock ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "mark"),
    [
        (timedelta(), AnalyticsEvent.TimeMark.PLAIN),
        (timedelta(hours=23, minutes=59), AnalyticsEvent.TimeMark.PLAIN),
        (timedelta(days=1, minutes=1), AnalyticsEvent.TimeMark.AHEAD),
        (timedelta(days=3_000), AnalyticsEvent.TimeMark.AHEAD),
        (-timedelta(days=99, hours=23), AnalyticsEvent.TimeMark.PLAIN),
        (-timedelta(days=100, minutes=1), AnalyticsEvent.TimeMark.EXPIRED),
        (-timedelta(days=20_000), AnalyticsEvent.TimeMark.EXPIRED),
    ],
)
def test_odd_times_are_marked_and_kept(
    learner: Actor, settings: Settings, offset: timedelta, mark: AnalyticsEvent.TimeMark
) -> None:
    settings.ANALYTICS_RETENTION_DAYS = 100
    before = timezone.now()
    moment = before + offset
    assert send(learner, event(event_time=moment.isoformat()))["accepted"] == 1
    (row,) = stored()
    assert row.event_time == moment
    assert before <= row.received_at <= timezone.now()
    assert row.time_mark == mark
