"""POST /v1/courses/join"""

import re
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from config import limits
from courses.models import INVITE_CODE_ALPHABET, Course, Enrollment
from tests.cast import Actor, error_code, make_actor
from tests.races import WAIT_SECONDS, in_parallel, in_thread, wait_until_blocked

URL = "/v1/courses/join"
pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("spelling", ["TST100", "tst100", "  Tst100 "])
def test_g1_joins_by_course_code(outsider: Actor, course: Course, spelling: str) -> None:
    response = outsider.post(URL, {"course_code": spelling})
    assert response.status_code == 200
    joined = response.json()["course"]
    assert joined["id"] == str(course.pk)
    assert set(joined) == {"id", "title", "course_code", "instructor", "semester", "joined_at", "description"}
    assert outsider.get(f"/v1/courses/{course.pk}").status_code == 200


def test_g2_joins_by_invite_code(outsider: Actor, course: Course) -> None:
    for spelling in (f" {course.invite_code.lower()} ", course.invite_code):
        assert outsider.post(URL, {"invite_code": spelling}).json()["course"]["id"] == str(course.pk)


def test_an_invite_code_is_eight_characters_without_look_alikes() -> None:
    codes = {Course.objects.create(course_code=f"C{n}", title="x").invite_code for n in range(50)}
    assert len(codes) == 50
    assert all(re.fullmatch(f"[{INVITE_CODE_ALPHABET}]{{8}}", code) for code in codes)
    assert not set("0O1IL") & set(INVITE_CODE_ALPHABET)


def test_joining_again_answers_the_same(outsider: Actor, course: Course) -> None:
    first = outsider.post(URL, {"course_code": "TST100"}).json()
    again = outsider.post(URL, {"invite_code": course.invite_code}).json()
    assert first == again
    assert Enrollment.objects.filter(user=outsider.user).count() == 1


@pytest.mark.parametrize("body", [{"course_code": "NOPE"}, {"invite_code": "NOPENOPE"}])
def test_an_unknown_code(outsider: Actor, course: Course, body: dict[str, str]) -> None:
    response = outsider.post(URL, body)
    assert response.status_code == 404
    assert error_code(response) == "COURSE_NOT_FOUND"


def test_the_fields_are_not_mixed_up(outsider: Actor, course: Course) -> None:
    assert error_code(outsider.post(URL, {"invite_code": course.course_code})) == "COURSE_NOT_FOUND"
    assert error_code(outsider.post(URL, {"course_code": course.invite_code})) == "COURSE_NOT_FOUND"


@pytest.mark.parametrize("pattern", ["%", "TST___", "TST%"])
def test_patterns_match_nothing(outsider: Actor, course: Course, pattern: str) -> None:
    assert error_code(outsider.post(URL, {"course_code": pattern})) == "COURSE_NOT_FOUND"


def test_an_inactive_course(outsider: Actor, course: Course) -> None:
    Course.objects.update(is_active=False)
    response = outsider.post(URL, {"course_code": "TST100"})
    assert response.status_code == 404
    assert error_code(response) == "COURSE_NOT_FOUND"


def test_joining_by_course_code_is_off(outsider: Actor, course: Course) -> None:
    Course.objects.update(joinable_by_code=False)
    refused, unknown = (outsider.post(URL, {"course_code": code}) for code in ("TST100", "NOPE"))
    assert refused.status_code == 404
    assert error_code(refused) == "COURSE_NOT_FOUND"
    assert refused.json()["error"]["message"] == unknown.json()["error"]["message"]
    assert not Enrollment.objects.exists()
    assert outsider.post(URL, {"invite_code": course.invite_code}).status_code == 200
    assert Enrollment.objects.get().user == outsider.user


def test_who_is_in_joins_again_where_joining_by_course_code_is_off(learner: Actor, course: Course) -> None:
    before = learner.post(URL, {"course_code": "TST100"})
    Course.objects.update(joinable_by_code=False)
    after = learner.post(URL, {"course_code": "tst100"})
    assert (after.status_code, after.json()) == (200, before.json())


def test_who_was_removed_is_told_so_where_joining_by_course_code_is_off(learner: Actor, course: Course) -> None:
    Course.objects.update(joinable_by_code=False)
    Enrollment.objects.update(removed_at=timezone.now())
    assert error_code(learner.post(URL, {"course_code": "TST100"})) == "COURSE_ACCESS_DENIED"


def test_removed_by_staff(learner: Actor, course: Course) -> None:
    Enrollment.objects.update(removed_at=timezone.now())
    for body in ({"course_code": "TST100"}, {"invite_code": course.invite_code}):
        response = learner.post(URL, body)
        assert response.status_code == 403
        assert error_code(response) == "COURSE_ACCESS_DENIED"
    assert learner.get("/v1/courses/my").json() == {"courses": []}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"course_code": "TST100", "invite_code": "ABCDEFGH"},
        {"course_code": ""},
        {"course_code": "   "},
        {"course_code": None},
        {"course_code": "x" * 65},
        {"invite_code": "x" * 65},
        {"invite_code": ["a"]},
        {"course_code": "a\x00b"},
        [],
    ],
)
def test_malformed_fields(outsider: Actor, course: Course, body: Any) -> None:
    response = outsider.post(URL, body)
    assert response.status_code == 422
    assert error_code(response) == "VALIDATION_ERROR"


def test_null_counts_as_absent(outsider: Actor, course: Course) -> None:
    assert outsider.post(URL, {"course_code": "TST100", "invite_code": None}).status_code == 200


def test_without_a_token(api: APIClient, course: Course) -> None:
    assert error_code(api.post(URL, {"course_code": "TST100"}, format="json")) == "UNAUTHORIZED"


def test_wrong_method(learner: Actor) -> None:
    assert error_code(learner.client.patch(URL, {}, format="json")) == "METHOD_NOT_ALLOWED"


def test_guessing_is_limited(outsider: Actor, learner: Actor, course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "JOIN_PER_USER", (3, 60))
    statuses = [outsider.post(URL, {"invite_code": f"GUESS{n}"}).status_code for n in range(5)]
    assert statuses == [404, 404, 404, 429, 429]
    assert learner.post(URL, {"course_code": "TST100"}).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_parallel_joins_end_in_one_row() -> None:
    Course.objects.create(course_code="RACE", title="Race")
    racer = make_actor("racer")

    def one(_: int) -> Any:
        return racer.post(URL, {"course_code": "race"})

    answers = in_parallel(10, one)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["course"]["joined_at"] for answer in answers}) == 1
    assert Enrollment.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("table", "code"), [("accounts_user", "INVALID_USER"), ("courses_course", "COURSE_NOT_FOUND")])
def test_the_account_or_the_course_is_deleted_meanwhile(table: str, code: str) -> None:
    course = Course.objects.create(course_code="RACE", title="Race")
    racer = make_actor("racer")
    with transaction.atomic(), connection.cursor() as cursor:
        if table == "accounts_user":
            racer.user.device_sessions.all().delete()
        cursor.execute(f"DELETE FROM {table} WHERE id = %s", [racer.user.pk if "user" in table else course.pk])
        joining = in_thread(lambda: racer.post(URL, {"course_code": "race"}))
        wait_until_blocked()
    assert error_code(joining.result(WAIT_SECONDS)) == code
    assert not Enrollment.objects.exists()
