"""LLM keys and bearer tokens are planted wherever a client may write, and looked for wherever they may land."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from courses.models import Chapter, Course
from telemetry.models import AnalyticsEvent, ChapterProgress
from tests.cast import Actor

EVENTS = "/v1/analytics/events:ingest"
PROGRESS = "/v1/progress/chapter"
TIME = "2026-03-01T08:30:00Z"

MARK = "PLANTEDplanted0123456789"
"""In every secret, so that whatever is left of one is found."""

SECRETS = {
    "OpenAI": f"sk-{MARK}",
    "OpenAI project": f"sk-proj-{MARK}",
    "Anthropic": f"sk-ant-api03-{MARK}",
    "Google": f"AIza{MARK}abcdefghijk",
    "Hugging Face": f"hf_{MARK}",
    "JWT": f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI{MARK}.{MARK}",
    "PEM": f"-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----",
    "bearer": f"Bearer {MARK}",
    "bearer in lower case": f"bearer {MARK}",
}

secrets = pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)

NAMED = {
    "api_key": MARK,
    "OPENAI_API_KEY": MARK,
    "llmKey": MARK,
    "Authorization": f"Basic {MARK}",
    "x-auth-token": MARK,
    "password": MARK,
    "client_secret": MARK,
}
"""Secrets that have no shape, under a name that gives them away."""


def payloads(secret: str) -> Iterator[Any]:
    """The secret in every kind of place that a JSON object has."""
    yield {"text": secret}
    yield {"text": f"It said: '{secret}', and ended."}
    yield {secret: 1}
    yield {f"called with {secret}": {"n": 1}}
    yield {"deep": [[{"deeper": [1, {"list": [secret]}]}]]}
    yield {"deep": {"deeper": {secret: secret}}}
    yield {"json in a text": json.dumps({"headers": {"a": secret}})}
    yield {"twice": json.dumps(json.dumps([secret]))}
    yield {"headers": [["X-Some", secret], {"name": "X-Other", "value": secret}]}
    yield {"url": f"https://llm.example/?q=1&k={secret}"}


def bad_payloads(secret: str) -> Iterator[Any]:
    """Places in what is refused: the answer must not repeat it."""
    yield secret
    yield [secret]
    yield {"text": secret, "nul": "\x00"}
    yield {secret: float("nan")}
    yield {"text": secret, "surrogate": "\ud800"}
    yield {"text": [secret, 2**70]}


def events(secret: str) -> Iterator[dict[str, Any]]:
    """The secret in every field of an event, of the right type and of a wrong one."""
    event = {"event_type": "opened", "event_time": TIME, "event_id": None}
    for field in ("event_id", "event_type", "event_time", "course_id", "chapter_id", "session_id", "invented"):
        yield {**event, field: secret}
        yield {**event, field: f"see {secret}"}
        yield {**event, field: [secret]}
        yield {**event, field: {secret: secret}}
        yield {**event, field: secret + "\x00"}
        yield {**event, field: secret + "\ud800"}
        yield {**event, field: secret * 20}
    yield {**event, secret: secret}
    yield {"event_id": secret, "event_type": secret}
    for number, payload in enumerate((*payloads(secret), *bad_payloads(secret))):
        yield {**event, "payload": payload}
        yield {**event, "event_id": f"e-{number}", "payload": payload}


def database_text() -> str:
    """All that the columns of this room's tables hold, whatever their names."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND table_name LIKE 'telemetry\\_%%'"
            "AND data_type NOT IN ('uuid', 'timestamp with time zone')",
            [],
        )
        columns = cursor.fetchall()
        assert {"payload", "event_id", "task_snapshot", "session_id"} <= {column for _, column in columns}
        texts = []
        for table, column in columns:
            cursor.execute(f'SELECT coalesce(string_agg("{column}"::text, chr(10)), \'\') FROM "{table}"')
            texts.append(cursor.fetchone()[0])
    return "\n".join(texts)


def assert_nowhere(*answers: str, log: str) -> None:
    for place, text in {"database": database_text(), "answers": "\n".join(answers), "log": log}.items():
        # Escapes within escapes, and whatever cuts a secret into halves.
        for part in (MARK, MARK[:12], MARK[12:]):
            assert part not in text, f"{place}: {text[max(0, text.find(part) - 80) :][:200]}"


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Also each statement with its parameters, as when an operator looks for a slow one."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "django.db.backends")
    connection.force_debug_cursor = True
    yield caplog
    connection.force_debug_cursor = False


@secrets
def test_events(learner: Actor, secret: str, everything_logged: pytest.LogCaptureFixture) -> None:
    sent = list(events(secret))
    body = json.dumps({"events": sent})
    response = learner.client.post(EVENTS, body, content_type="application/json")
    answer = response.json()
    assert answer["accepted"] + answer["failed"] == len(sent)
    assert answer["accepted"] > 30
    assert answer["failed"] > 30
    assert "telemetry_analyticsevent" in everything_logged.text
    alone = [
        learner.client.post(EVENTS, json.dumps({"events": [event]}), content_type="application/json").content.decode()
        for event in sent
    ]
    assert_nowhere(response.content.decode(), *alone, log=everything_logged.text)
    assert AnalyticsEvent.objects.exists()


@secrets
@pytest.mark.parametrize(
    "body", ["{{{secret}", '["{secret}"]', '{{"events": "{secret}"}}', '{{"events": ["{secret}"]}}']
)
def test_bodies_without_events(
    learner: Actor, secret: str, body: str, everything_logged: pytest.LogCaptureFixture
) -> None:
    text = body.replace("{secret}", json.dumps(secret)[1:-1]).replace("{{", "{").replace("}}", "}")
    response = learner.client.post(EVENTS, text, content_type="application/json")
    assert response.status_code in (400, 422)
    assert_nowhere(response.content.decode(), log=everything_logged.text)


def test_named_secrets(
    learner: Actor, course: Course, chapter: Chapter, everything_logged: pytest.LogCaptureFixture
) -> None:
    holders = [NAMED, {"deep": [{"request": {"headers": NAMED}}]}, {"n": [[name, NAMED[name]] for name in NAMED]}]
    holders += [{"pairs": [{"name": name, "value": value} for name, value in NAMED.items()]}]
    holders += [{name: {"inner": [value]}} for name, value in NAMED.items()]
    holders += [{"text": f"{name}={value}"} for name, value in NAMED.items()]
    sent = [{"event_type": "opened", "event_time": TIME, "payload": holder} for holder in holders]
    answers = [learner.post(EVENTS, {"events": sent})]
    assert answers[0].json()["accepted"] == len(sent)
    for holder in holders:
        answers.append(report(learner, course, task_snapshot=holder))
        assert answers[-1].status_code == 200
        assert_nowhere(*(answer.content.decode() for answer in answers), log=everything_logged.text)


def report(learner: Actor, course: Course, **fields: Any) -> Any:
    body = {"course_id": str(course.pk), "chapter_id": "ch1_intro", "status": "IN_PROGRESS", **fields}
    return learner.client.post(PROGRESS, json.dumps(body), content_type="application/json")


@secrets
def test_progress(
    learner: Actor, course: Course, chapter: Chapter, secret: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = []
    for payload in (*payloads(secret), *bad_payloads(secret)):
        answers.append(report(learner, course, task_snapshot=payload))
        assert_nowhere(answers[-1].content.decode(), log="")
    for field in ("course_id", "chapter_id", "session_id", "status", "task_snapshot", "invented"):
        for value in (secret, f"see {secret}", [secret], {secret: secret}, secret + "\x00", secret * 20):
            answers.append(report(learner, course, **{field: value}))
            assert_nowhere(answers[-1].content.decode(), log="")
    answers.append(report(learner, course, **{secret: secret}))
    statuses = {answer.status_code for answer in answers}
    assert statuses == {200, 400, 403, 404, 422}
    assert_nowhere(*(answer.content.decode() for answer in answers), log=caplog.text)
    assert ChapterProgress.objects.get().task_snapshot


def test_the_search_would_find_a_secret(
    learner: Actor, chapter: Chapter, everything_logged: pytest.LogCaptureFixture
) -> None:
    """In each of the three places: a search that finds nothing anywhere proves nothing."""
    AnalyticsEvent.objects.create(
        user=learner.user, event_id="e", event_time=TIME, event_type="t", payload={"a": [MARK]}
    )
    assert MARK in database_text()
    assert MARK in everything_logged.text
    with pytest.raises(AssertionError, match="database"):
        assert_nowhere(log="")
    AnalyticsEvent.objects.all().delete()
    ChapterProgress.objects.create(user=learner.user, chapter=chapter, status=10, task_snapshot={MARK: 1})
    with pytest.raises(AssertionError, match="database"):
        assert_nowhere(log="")
    ChapterProgress.objects.all().delete()
    with pytest.raises(AssertionError, match="log"):
        assert_nowhere(log=everything_logged.text)
    with pytest.raises(AssertionError, match="answers"):
        assert_nowhere(MARK, log="")
