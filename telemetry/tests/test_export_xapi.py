"""Exported statements, judged by the models of a learning record store (Ralph), which know xAPI 1.0.3."""

import copy
import json
import re
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from ralph.models.xapi.base.statements import BaseXapiStatement

from config.pseudonyms import pseudonym
from courses.models import Chapter, Course
from telemetry.exports import Export, Format, Selection, stream
from telemetry.exports.xapi import VERBS_OF_ACTS
from telemetry.tests.exported import HOSTILE_TEXTS, NOON, make_event
from tests.cast import Actor

pytestmark = pytest.mark.django_db(transaction=True)

Json = dict[str, Any]
BASE = "https://lrs.example.org"
ADL = "http://adlnet.gov/expapi/verbs/"
# RFC 3339, with the offset that part two, section 4.2.7 asks for.
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,9}Z")


@pytest.fixture(autouse=True)
def _base(settings: Any) -> None:
    settings.XAPI_BASE_URL = BASE


def export(**options: Any) -> tuple[list[Json], Export]:
    """Return the statements, each of which is a line of its own and keeps to the specification."""
    export = stream(Format.XAPI, Selection(), **options)
    content = b"".join(export).decode()
    statements = [json.loads(line) for line in content.split("\n")[:-1]]
    for statement in statements:
        check(statement)
    return statements, export


def check(statement: Json) -> None:
    """Hold the statement to the models, and to what they read more leniently than the specification says."""
    BaseXapiStatement.model_validate(statement)
    assert all(isinstance(outcome, bool) for outcome in statement.get("result", {}).values())
    assert TIME.fullmatch(statement["timestamp"])
    assert TIME.fullmatch(statement["stored"])
    assert uuid.UUID(statement["id"]).version == 5
    assert statement["version"] == "1.0.0"


@pytest.fixture
def statement(learner: Actor, course: Course) -> Json:
    make_event(learner.user, "one", course=course, event_type="chapter_completed", payload={"minutes": 5, "no": None})
    (statement,), _ = export()
    return statement


def test_a_statement(statement: Json, learner: Actor, course: Course, chapter: Chapter) -> None:
    statement_id = statement.pop("id")
    extensions = statement["context"].pop("extensions")
    assert statement == {
        "actor": {"objectType": "Agent", "account": {"homePage": BASE, "name": pseudonym(learner.user.pk)}},
        "verb": {"id": f"{ADL}completed", "display": {"en": "completed"}},
        "object": {
            "objectType": "Activity",
            "id": f"{BASE}/xapi/courses/{course.pk}/chapters/{chapter.pk}",
            "definition": {"type": "http://adlnet.gov/expapi/activities/module", "name": {"und": "Introduction"}},
        },
        "context": {
            "platform": "LLM Course",
            "contextActivities": {
                "parent": [
                    {
                        "objectType": "Activity",
                        "id": f"{BASE}/xapi/courses/{course.pk}",
                        "definition": {
                            "type": "http://adlnet.gov/expapi/activities/course",
                            "name": {"und": "Testing"},
                        },
                    }
                ]
            },
        },
        "timestamp": "2026-03-01T12:00:00.000000Z",
        "stored": "2026-03-01T12:00:05.000000Z",
        "version": "1.0.0",
        "result": {"completion": True},
    }
    assert uuid.UUID(statement_id)
    session = extensions.pop(f"{BASE}/xapi/extensions/session-id")
    assert re.fullmatch("s[0-9a-f]{32}", session)
    assert extensions == {
        f"{BASE}/xapi/extensions/event-type": "chapter_completed",
        f"{BASE}/xapi/extensions/payload": {"minutes": 5, "no": None},
    }


def _set(*path: Any, to: Any) -> Callable[[Json], None]:
    def change(statement: Json) -> None:
        place: Any = statement
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = to

    return change


@pytest.mark.parametrize(
    "broken",
    [
        _set("further", to=1),
        _set("id", to="one"),
        _set("version", to="2.0.0"),
        _set("timestamp", to="yesterday"),
        _set("actor", to={"objectType": "Agent"}),
        _set("actor", "mbox", to="mailto:ada@example.com"),
        _set("actor", "account", "homePage", to="school"),
        _set("actor", "account", "name", to=""),
        _set("verb", "id", to="completed"),
        _set("verb", "display", to={"no language": "x"}),
        _set("object", "id", to="chapter 1"),
        _set("object", "objectType", to="Chapter"),
        _set("object", "definition", "type", to="chapter"),
        _set("object", "definition", "name", to="Introduction"),
        _set("context", "extensions", to={"payload": {}}),
        _set("context", "contextActivities", to={"above": []}),
        _set("context", "platform", to=None),
        _set("result", "completion", to="yes"),
    ],
)
def test_a_broken_statement_is_seen(broken: Callable[[Json], None], statement: Json) -> None:
    """Or nothing would follow from the others being good."""
    changed = copy.deepcopy(statement)
    broken(changed)
    with pytest.raises((ValidationError, AssertionError)):
        check(changed)


@pytest.mark.parametrize("place", ["chapter", "course"])
def test_verbs(place: str, learner: Actor, course: Course) -> None:
    for minutes, act in enumerate(VERBS_OF_ACTS):
        time = NOON + timedelta(minutes=minutes)
        make_event(learner.user, act, course=course, event_type=f"{place}_{act}", event_time=time)
    statements, made = export()
    expected = ["experienced", "initialized", "completed", "passed", "failed", "suspended", "resumed", "exited"]
    assert [statement["verb"]["id"] for statement in statements] == [f"{ADL}{verb}" for verb in expected]
    results = [statement.get("result") for statement in statements]
    assert results == [None, None, {"completion": True}, {"success": True}, {"success": False}, None, None, None]
    kinds = {statement["object"]["definition"]["type"].rpartition("/")[2] for statement in statements}
    assert kinds == {"module" if place == "chapter" else "course"}
    assert all(("contextActivities" in statement["context"]) == (place == "chapter") for statement in statements)
    assert made.left_out.total() == 0


def test_one_chapter_however_a_client_names_it(learner: Actor, course: Course, chapter: Chapter) -> None:
    for reference in (chapter.chapter_code, str(chapter.pk), str(chapter.pk).upper()):
        make_event(learner.user, reference, course=course, chapter_id=reference)
    statements, _ = export()
    assert len(statements) == 3
    assert {json.dumps(statement["object"]) for statement in statements} == {json.dumps(statements[0]["object"])}
    assert statements[0]["object"]["definition"]["name"] == {"und": "Introduction"}


def test_hostile_texts(learner: Actor, course: Course) -> None:
    for number, text in enumerate(HOSTILE_TEXTS):
        time = NOON + timedelta(seconds=number)
        make_event(
            learner.user,
            text[:128],
            course=course,
            chapter_id=text,
            session_id=text,
            payload={text: [text, 2**63 - 1]},
            event_time=time,
        )
    statements, _ = export(identify=True)
    payloads = [statement["context"]["extensions"][f"{BASE}/xapi/extensions/payload"] for statement in statements]
    assert payloads == [{text: [text, 2**63 - 1]} for text in HOSTILE_TEXTS]
    assert len({statement["object"]["id"] for statement in statements}) == len(HOSTILE_TEXTS)


def test_what_maps_to_no_verb_is_counted(learner: Actor, course: Course) -> None:
    sent: dict[str, dict[str, Any]] = {
        "one": {"course": course, "event_type": "message_sent"},
        "two": {"course": course, "event_type": "lesson_completed"},
        "three": {"course": course, "event_type": "chapter_exploded"},
        "four": {"event_type": "chapter_opened"},
        "five": {"course": course, "chapter_id": ""},
        "six": {"course": course, "event_type": "course_opened", "chapter_id": ""},
        "seven": {"course": course, "event_type": "message_sent"},
    }
    for name, fields in sent.items():
        make_event(learner.user, name, **fields)
    statements, made = export()
    assert len(statements) == 1
    assert made.rows == 7
    assert made.left_out == {
        "message_sent": 2,
        "lesson_completed": 1,
        "chapter_exploded": 1,
        "chapter_opened without a course": 1,
        "chapter_opened without a chapter": 1,
    }


def test_types_that_are_left_out_are_told_apart_within_bounds(learner: Actor) -> None:
    for number in range(150):
        make_event(learner.user, f"{number:03}", event_type=f"type {number:03}")
    _, made = export()
    assert len(made.left_out) == 101
    assert made.left_out["other types"] == 50


def test_exported_again_it_is_the_same_statement(learner: Actor, course: Course) -> None:
    for name in ("one", "two"):
        make_event(learner.user, name, course=course)
    first, _ = export()
    again, _ = export()
    assert again == first
    assert len({statement["id"] for statement in first}) == 2


def test_another_content_is_another_statement(learner: Actor, course: Course, settings: Any) -> None:
    """A store refuses a statement that differs from the one that it has under the id."""
    make_event(learner.user, "one", course=course)
    ids = [
        export(**options)[0][0]["id"]
        for options in ({}, {"identify": True}, {"with_payload": False}, {"identify": True, "with_payload": False})
    ]
    settings.XAPI_BASE_URL = "https://other.example.org"
    assert len({*ids, export()[0][0]["id"]}) == 5


def test_identified(learner: Actor, course: Course) -> None:
    make_event(learner.user, "one", course=course)
    (statement,), _ = export(identify=True)
    assert statement["actor"] == {"objectType": "Agent", "mbox": "mailto:learner@example.com"}
    assert statement["context"]["extensions"][f"{BASE}/xapi/extensions/user-id"] == str(learner.user.pk)
    assert statement["context"]["extensions"][f"{BASE}/xapi/extensions/session-id"] == "session-1"


def test_times_of_odd_clocks_are_marked(learner: Actor, course: Course) -> None:
    make_event(
        learner.user, "ahead", course=course, event_time=datetime.fromisoformat("9999-12-31T23:59:59Z"), time_mark=1
    )
    (statement,), _ = export()
    assert statement["context"]["extensions"][f"{BASE}/xapi/extensions/time-mark"] == "ahead"
