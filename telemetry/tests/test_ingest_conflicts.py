"""POST /v1/analytics/events:ingest: one key with several contents, and what a mixture of all kinds comes to."""

import json
import uuid
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config import limits
from courses.models import Course, Enrollment
from telemetry.models import AnalyticsEvent
from tests.cast import Actor
from tests.races import in_thread, run_at_once, wait_until_blocked

URL = "/v1/analytics/events:ingest"
TIME = "2026-03-01T08:30:00Z"


def event(**fields: Any) -> dict[str, Any]:
    return {"event_type": "opened", "event_time": TIME, "event_id": "e-1", "payload": {"n": 1}, **fields}


def send(actor: Actor, *events: Any) -> dict[str, Any]:
    response = actor.client.post(URL, json.dumps({"events": events}), content_type="application/json")
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def conflicts(answer: dict[str, Any]) -> list[int]:
    assert {error["code"] for error in answer["errors"]} <= {"EVENT_CONFLICT"}
    return [error["index"] for error in answer["errors"]]


CHANGES = {
    "type": {"event_type": "closed"},
    "course": {"course_id": None},
    "chapter": {"chapter_id": "ch2"},
    "session": {"session_id": None},
    "payload": {"payload": {"n": 2}},
    "no payload": {"payload": None},
    "more payload": {"payload": {"n": 1, "m": None}},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_same_key_with_other_content(learner: Actor, course: Course, change: dict[str, Any]) -> None:
    first = event(course_id=str(course.pk), chapter_id="ch1", session_id="s")
    send(learner, first)
    answer = send(learner, first | change, event(event_id="e-2"))
    assert (answer["accepted"], answer["failed"], answer["duplicates"]) == (1, 1, 0)
    (error,) = answer["errors"]
    assert (error["index"], error["event_id"], error["code"]) == (0, "e-1", "EVENT_CONFLICT")
    assert error["message"]
    kept = AnalyticsEvent.objects.get(event_id="e-1")
    assert (kept.event_type, str(kept.course_id), kept.chapter_id, kept.session_id, kept.payload) == (
        *("opened", str(course.pk), "ch1", "s"),
        {"n": 1},
    )
    assert send(learner, first) == {"accepted": 1, "failed": 0, "duplicates": 1, "errors": []}


@pytest.mark.parametrize(
    "same",
    [
        {"event_time": "2026-03-01T10:30:00+02:00"},
        {"payload": {"n": 1.0}},
        {"chapter_id": ""},
        {"invented": "field"},
    ],
)
def test_same_content_written_otherwise_is_no_conflict(learner: Actor, same: dict[str, Any]) -> None:
    send(learner, event())
    assert send(learner, event(**same)) == {"accepted": 1, "failed": 0, "duplicates": 1, "errors": []}


def test_order_of_names_is_no_content(learner: Actor) -> None:
    send(learner, event(payload={"a": 1, "b": [1, 2]}))
    assert send(learner, event(payload={"b": [1, 2], "a": 1}))["duplicates"] == 1
    assert conflicts(send(learner, event(payload={"a": 1, "b": [2, 1]}))) == [0]


def test_first_of_a_batch_wins(learner: Actor) -> None:
    one, two = event(), event(payload={"n": 2})
    answer = send(learner, one, two, one, event(event_id="e-2"), two)
    assert (answer["accepted"], answer["failed"], answer["duplicates"]) == (3, 2, 1)
    assert conflicts(answer) == [1, 4]
    assert AnalyticsEvent.objects.get(event_id="e-1").payload == {"n": 1}


def test_batch_is_judged_by_what_is_stored_not_by_its_first(learner: Actor) -> None:
    one, two = event(), event(payload={"n": 2})
    send(learner, two)
    answer = send(learner, one, two, one)
    assert (answer["accepted"], answer["duplicates"]) == (1, 1)
    assert conflicts(answer) == [0, 2]


def test_events_without_an_id_never_conflict(learner: Actor) -> None:
    answer = send(learner, event(event_id=None), event(event_id=None, payload={"n": 2}), event(event_id=""))
    assert answer == {"accepted": 3, "failed": 0, "duplicates": 1, "errors": []}


def test_id_that_another_event_would_derive(learner: Actor) -> None:
    """The event that is left out is not acknowledged, even if only its sender could have arranged that."""
    send(learner, event(event_id=None))
    derived = AnalyticsEvent.objects.get().event_id
    AnalyticsEvent.objects.all().delete()
    send(learner, event(event_id=derived, payload={"n": 2}))
    assert conflicts(send(learner, event(event_id=None))) == [0]


def test_other_learners_events_are_no_conflict(learner: Actor, fellow: Actor) -> None:
    send(learner, event())
    assert send(fellow, event(payload={"n": 2})) == {"accepted": 1, "failed": 0, "duplicates": 0, "errors": []}


def test_replay_of_a_redacted_event_is_no_conflict(learner: Actor) -> None:
    secret = event(payload={"api_key": "hunter2", "n": 1})
    send(learner, secret)
    assert send(learner, secret)["duplicates"] == 1


def test_replay_after_removal_from_the_course(learner: Actor, course: Course) -> None:
    send(learner, event(course_id=str(course.pk)))
    Enrollment.objects.update(removed_at=timezone.now())
    answer = send(learner, event(course_id=str(course.pk)), event(event_id="e-2", course_id=str(course.pk)))
    assert [error["code"] for error in answer["errors"]] == ["COURSE_ACCESS_DENIED"] * 2


def test_learner_who_joins_between_the_two_statements(outsider: Actor, course: Course) -> None:
    """What the first one left out for its course is not taken for stored by the second one."""

    def join_after_insert(execute: Any, sql: str, *arguments: Any) -> Any:
        result = execute(sql, *arguments)
        if "INSERT INTO telemetry_analyticsevent" in sql:
            Enrollment.objects.create(user=outsider.user, course=course)
        return result

    sent = event(course_id=str(course.pk))
    with connection.execute_wrapper(join_after_insert):
        answer = send(outsider, sent)
    assert [error["code"] for error in answer["errors"]] == ["COURSE_ACCESS_DENIED"]
    assert not AnalyticsEvent.objects.exists()
    assert send(outsider, sent)["accepted"] == 1


@pytest.mark.django_db(transaction=True)
def test_conflict_with_what_another_call_stored_while_ours_waited(learner: Actor) -> None:
    with transaction.atomic():
        AnalyticsEvent.objects.create(
            user=learner.user, event_id="e-1", event_time=TIME, event_type="opened", payload={"n": 2}
        )
        answer = in_thread(lambda: send(learner, event(), event(payload={"n": 2}), event(event_id="e-2")))
        wait_until_blocked()
    assert (answer.result()["accepted"], answer.result()["duplicates"]) == (2, 1)
    assert conflicts(answer.result()) == [0]


@pytest.mark.django_db(transaction=True)
def test_event_is_stored_when_the_call_that_was_waited_for_is_rolled_back(learner: Actor) -> None:
    with transaction.atomic():
        AnalyticsEvent.objects.create(user=learner.user, event_id="e-1", event_time=TIME, event_type="x")
        answer = in_thread(lambda: send(learner, event()))
        wait_until_blocked()
        transaction.set_rollback(True)
    assert answer.result() == {"accepted": 1, "failed": 0, "duplicates": 0, "errors": []}
    assert AnalyticsEvent.objects.get().event_type == "opened"


@pytest.mark.django_db(transaction=True)
def test_one_content_wins_among_calls_at_once(learner: Actor) -> None:
    batches = [[event(event_id=f"e-{n:02}", payload={"n": writer}) for n in range(50)] for writer in range(4)]
    answers = run_at_once(*(lambda batch=batch: send(learner, *batch) for batch in batches))
    assert sum(answer["accepted"] for answer in answers) == 50
    assert sum(answer["failed"] for answer in answers) == 150
    assert sum(answer["duplicates"] for answer in answers) == 0
    for writer, answer in enumerate(answers):
        assert AnalyticsEvent.objects.filter(payload={"n": writer}).count() == answer["accepted"]


@pytest.mark.django_db(transaction=True)
def test_account_that_is_deleted_meanwhile(learner: Actor) -> None:
    with transaction.atomic():
        AnalyticsEvent.objects.create(user=learner.user, event_id="e-1", event_time=TIME, event_type="x")
        response = in_thread(
            lambda: learner.client.post(URL, json.dumps({"events": [event()]}), content_type="application/json")
        )
        wait_until_blocked()
        learner.user.delete()
    assert response.result().status_code == 401
    assert response.result().json()["error"]["code"] == "INVALID_USER"
    assert not AnalyticsEvent.objects.exists()


# --- Any mixture, against a model -------------------------------------------------------------------------------

COURSE = uuid.uuid4()
FOREIGN = uuid.uuid4()

GOOD = st.fixed_dictionaries(
    {
        "event_type": st.sampled_from(["a", "b"]),
        "event_time": st.sampled_from([TIME, "2026-03-02T08:30:00Z"]),
        "payload": st.sampled_from([None, {"n": 1}, {"n": 2}]),
    },
    optional={
        "event_id": st.sampled_from([None, "", "e-1", "e-2", "e-3"]),
        "course_id": st.sampled_from([None, str(COURSE), str(COURSE).upper()]),
        "session_id": st.sampled_from(["s", "t"]),
    },
)
DENIED = GOOD.map(lambda good: {**good, "course_id": str(FOREIGN)})
BAD = st.builds(
    lambda good, fault: {**good, **fault},
    GOOD,
    st.sampled_from(
        [
            {"event_type": None},
            {"event_type": "\x00"},
            {"event_time": "never"},
            {"event_id": "\ud800"},
            {"event_id": 5},
            {"payload": []},
            {"payload": {"n": float("nan")}},
            {"payload": {"n": 2**63}},
            {"payload": {"\x00": 1}},
            {"payload": {"n": "x" * limits.EVENT_MAX_BYTES}},
            {"session_id": "s" * 256},
        ]
    ),
)
KINDS = st.one_of(
    GOOD.map(lambda event: ("good", event)),
    GOOD.map(lambda event: ("good", event)),
    DENIED.map(lambda event: ("denied", event)),
    BAD.map(lambda event: ("bad", event)),
)


class Model:
    """What the server should do, event by event."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}

    def ingest(self, batch: list[tuple[str, dict[str, Any]]]) -> tuple[int, int, dict[int, str]]:
        """Return the numbers of accepted and duplicate events, and the codes of the failed ones by index."""
        before, errors = len(self.rows), {}
        for index, (kind, sent) in enumerate(batch):
            if kind != "good":
                errors[index] = "COURSE_ACCESS_DENIED" if kind == "denied" else "VALIDATION_ERROR"
            elif not self._keep(sent):
                errors[index] = "EVENT_CONFLICT"
        accepted = len(batch) - len(errors)
        return accepted, accepted - (len(self.rows) - before), errors

    def _keep(self, sent: dict[str, Any]) -> bool:
        course = (sent.get("course_id") or "").lower()
        content = (sent["event_type"], course, sent.get("session_id") or "", (sent["payload"] or {}).get("n"))
        key = (sent.get("event_id") or content, sent["event_time"])
        return self.rows.setdefault(key, content) == content

    def contents(self) -> list[str]:
        return sorted(repr((time, content)) for (_, time), content in self.rows.items())


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(KINDS, max_size=12), min_size=1, max_size=3))
def test_whatever_mixture_the_table_is_as_the_model_says(
    learner: Actor, monkeypatch: pytest.MonkeyPatch, batches: list[list[tuple[str, dict[str, Any]]]]
) -> None:
    monkeypatch.setattr(limits, "EVENTS_PER_USER", (1_000_000, 60))
    AnalyticsEvent.objects.all().delete()
    own, _ = Course.objects.get_or_create(pk=COURSE, course_code="OWN")
    Enrollment.objects.get_or_create(user=learner.user, course=own)
    model = Model()
    for batch in [*batches, batches[0]]:
        accepted, duplicates, errors = model.ingest(batch)
        answer = send(learner, *(sent for _, sent in batch))
        assert answer["accepted"] + answer["failed"] == len(batch)
        assert (answer["accepted"], answer["duplicates"]) == (accepted, duplicates)
        assert [(error["index"], error["code"]) for error in answer["errors"]] == sorted(errors.items())
    rows = AnalyticsEvent.objects.values_list("event_time", "event_type", "course_id", "session_id", "payload")
    assert model.contents() == sorted(
        repr((f"{time:%Y-%m-%dT%H:%M:%SZ}", (kind, str(course or ""), session, payload.get("n"))))
        for time, kind, course, session, payload in rows
    )
