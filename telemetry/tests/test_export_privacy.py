"""Who can be recognised in an export, and whose events are in it."""

import json
import uuid
from typing import Any

import pytest

from config.pseudonyms import pseudonym
from courses.models import Course
from telemetry.exports import Format, Selection, stream
from telemetry.tests.exported import NOON, make_event, read_back
from tests.cast import Actor

pytestmark = pytest.mark.django_db(transaction=True)

TABULAR = [Format.NDJSON, Format.CSV, Format.PARQUET]


def exported(chosen: Format, selection: Selection | None = None, **options: Any) -> bytes:
    return b"".join(stream(chosen, selection or Selection(), **options))


@pytest.fixture
def telling(learner: Actor, course: Course) -> list[bytes]:
    """What nobody may find in a pseudonymous export of an event whose ids tell who it is of."""
    user = learner.user
    make_event(
        user,
        f"{user.pk}/{user.email}",
        course=course,
        session_id=f"{user.email} {user.pk}",
        payload={"said": "my name is Ada"},
    )
    return [user.email.encode(), b"learner@", str(user.pk).encode(), user.pk.hex.encode(), user.pk.bytes]


@pytest.mark.parametrize("chosen", list(Format))
def test_pseudonymous_by_default(chosen: Format, telling: list[bytes], learner: Actor) -> None:
    rows = exported(chosen)
    texts = json.dumps(read_back(rows, chosen) if chosen is not Format.XAPI else json.loads(rows), default=str)
    for secret in telling:
        assert secret not in rows
        assert secret.decode(errors="replace") not in texts
    assert pseudonym(learner.user.pk) in texts
    assert "my name is Ada" in texts


@pytest.mark.parametrize("chosen", list(Format))
def test_without_what_clients_say_freely(chosen: Format, telling: list[bytes]) -> None:
    content = exported(chosen, with_payload=False)
    texts = content.decode() if chosen is not Format.PARQUET else str(read_back(content, chosen))
    assert "Ada" not in texts
    assert "payload" not in texts


@pytest.mark.parametrize("chosen", TABULAR)
def test_identified_when_it_is_asked_for(chosen: Format, telling: list[bytes], learner: Actor) -> None:
    (row,) = read_back(exported(chosen, identify=True), chosen)
    user = learner.user
    assert (row["user_id"], row["email"]) == (str(user.pk), user.email)
    assert (row["event_id"], row["session_id"]) == (f"{user.pk}/{user.email}", f"{user.email} {user.pk}")
    (pseudonymous,) = read_back(exported(chosen), chosen)
    assert row["learner"] == pseudonymous["learner"] == pseudonym(user.pk)


def test_what_belongs_together_stays_together(learner: Actor, fellow: Actor, settings: Any) -> None:
    for number, actor in enumerate([learner, learner, fellow]):
        make_event(actor.user, f"{number}", session_id="1")
    make_event(learner.user, "0", session_id="2", event_time=NOON.replace(hour=13))
    make_event(learner.user, "4", session_id="", event_time=NOON.replace(hour=14))

    def by_time() -> list[dict[str, Any]]:
        return read_back(exported(Format.NDJSON), Format.NDJSON)

    rows = by_time()
    assert [row["learner"] for row in rows].count(pseudonym(learner.user.pk)) == 4
    assert len({row["event_id"] for row in rows}) == 5
    sessions: dict[str, set[str]] = {}
    for row in rows:
        sessions.setdefault(row["session_id"], set()).add(row["learner"])
    assert len(sessions) == 4
    assert "" in sessions
    assert all(len(learners) == 1 for learners in sessions.values())

    assert by_time() == rows
    settings.PSEUDONYM_KEY = "another key" * 4
    for row, other in zip(rows, by_time(), strict=True):
        assert row["learner"] != other["learner"]
        assert row["event_id"] != other["event_id"]
        assert row["session_id"] != other["session_id"] or row["session_id"] == ""


# --- One course is not another ------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", list(Format))
def test_a_course_has_its_own_events_only(chosen: Format, learner: Actor, course: Course) -> None:
    other = Course.objects.create(course_code="SECRET", title="Of another instructor")
    make_event(learner.user, "ours", course=course)
    make_event(learner.user, "theirs", course=other, event_type="chapter_completed", payload={"of": "SECRET"})
    make_event(learner.user, "of none", payload={"of": "SECRET"})
    content = exported(chosen, Selection().limited_to([course.pk]), identify=True)
    assert b"SECRET" not in content
    assert str(other.pk).encode() not in content
    assert len(read_back(content, chosen) if chosen is not Format.XAPI else content.splitlines()) == 1


def test_limits_only_narrow(course: Course) -> None:
    first, second = uuid.UUID(int=1), uuid.UUID(int=2)
    assert Selection().limited_to([first]).course_ids == frozenset([first])
    assert Selection(course_ids=frozenset([first, second])).limited_to([first]).course_ids == frozenset([first])
    assert Selection(course_ids=frozenset([second])).limited_to([first]).course_ids == frozenset()


def test_somebody_without_a_course_gets_nothing(learner: Actor, course: Course) -> None:
    make_event(learner.user, "one", course=course)
    make_event(learner.user, "two")
    for selection in (Selection().limited_to([]), Selection(course_ids=frozenset([course.pk])).limited_to([])):
        assert exported(Format.NDJSON, selection) == b""
    assert exported(Format.NDJSON, Selection(event_types=frozenset())) == b""
