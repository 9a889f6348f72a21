"""What staff set: completing, unlocking and resetting a chapter for some learners or a whole course."""

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from accounts.models import User
from courses.models import Chapter, Course, Enrollment
from courses.selectors import following_chapter
from telemetry.models import ChapterProgress
from telemetry.services import complete_chapter, reset_chapter, unlock_chapter
from tests.cast import Actor, make_actor
from tests.races import run_at_once

Status = ChapterProgress.Status
ACTS = [complete_chapter, unlock_chapter, reset_chapter]


@pytest.fixture
def removed(course: Course) -> Actor:
    actor = make_actor("removed")
    Enrollment.objects.create(user=actor.user, course=course, removed_at=timezone.now())
    return actor


@pytest.fixture
def sequential(course: Course) -> Course:
    Course.objects.update(progression=Course.Progression.SEQUENTIAL)
    course.refresh_from_db()
    return course


def statuses(chapter: Chapter) -> dict[str, str]:
    rows = ChapterProgress.objects.filter(chapter=chapter).select_related("user")
    return {row.user.email.partition("@")[0]: row.get_status_display() for row in rows}


def post(actor: Actor, chapter: Chapter, status: str = "IN_PROGRESS") -> Any:
    body = {"course_id": str(chapter.course_id), "chapter_id": chapter.chapter_code, "status": status}
    return actor.post("/v1/progress/chapter", body)


def listed(actor: Actor, course: Course) -> list[str]:
    chapters = actor.get(f"/v1/courses/{course.pk}/chapters").json()["chapters"]
    return [chapter["status"] for chapter in chapters]


def test_complete_for_some(learner: Actor, fellow: Actor, chapter: Chapter, staff: Actor) -> None:
    assert complete_chapter(chapter=chapter, user_ids=[learner.user.pk], actor=staff.user) == 1
    assert statuses(chapter) == {"learner": "COMPLETED"}
    assert ChapterProgress.objects.get().completed_at is not None
    assert complete_chapter(chapter=chapter, user_ids=[learner.user.pk], actor=staff.user) == 0


def test_complete_for_all(
    learner: Actor, fellow: Actor, outsider: Actor, removed: Actor, chapter: Chapter, staff: Actor
) -> None:
    post(learner, chapter)
    assert complete_chapter(chapter=chapter, user_ids=None, actor=staff.user) == 2
    assert statuses(chapter) == {"learner": "COMPLETED", "fellow": "COMPLETED"}


def test_the_first_completion_stays(learner: Actor, chapter: Chapter, staff: Actor) -> None:
    first = timezone.now() - timedelta(days=3)
    ChapterProgress.objects.create(
        user=learner.user, chapter=chapter, status=Status.IN_PROGRESS, completed_at=first, task_snapshot={"n": 1}
    )
    complete_chapter(chapter=chapter, user_ids=None, actor=staff.user)
    row = ChapterProgress.objects.get()
    assert (row.completed_at, row.task_snapshot) == (first, {"n": 1})
    assert row.updated_at > first


@pytest.mark.parametrize("act", ACTS)
def test_only_those_in_the_course(
    act: Callable[..., int], outsider: Actor, removed: Actor, chapter: Chapter, staff: Actor
) -> None:
    ChapterProgress.objects.create(user=removed.user, chapter=chapter, status=Status.LOCKED)
    chosen = [outsider.user.pk, removed.user.pk, uuid.uuid4()]
    assert act(chapter=chapter, user_ids=chosen, actor=staff.user) == 0
    assert act(chapter=chapter, user_ids=[], actor=staff.user) == 0
    assert statuses(chapter) == {"removed": "LOCKED"}


def test_unlock_raises_and_never_lowers(learner: Actor, fellow: Actor, chapter: Chapter, staff: Actor) -> None:
    post(learner, chapter, "COMPLETED")
    post(fellow, chapter, "LOCKED")
    assert unlock_chapter(chapter=chapter, user_ids=None, actor=staff.user) == 1
    assert statuses(chapter) == {"learner": "COMPLETED", "fellow": "IN_PROGRESS"}


def test_reset_and_begin_anew(learner: Actor, fellow: Actor, chapter: Chapter, staff: Actor) -> None:
    post(learner, chapter, "COMPLETED")
    post(fellow, chapter, "COMPLETED")
    assert reset_chapter(chapter=chapter, user_ids=[learner.user.pk], actor=staff.user) == 1
    assert statuses(chapter) == {"fellow": "COMPLETED"}
    assert post(learner, chapter).json()["status"] == "IN_PROGRESS"
    assert ChapterProgress.objects.get(user=learner.user).completed_at is None
    assert reset_chapter(chapter=chapter, user_ids=None, actor=staff.user) == 2


def test_completing_opens_the_next_chapter(learner: Actor, fellow: Actor, sequential: Course, staff: Actor) -> None:
    first = sequential.chapters.all()[0]
    third = Chapter.objects.create(course=sequential, chapter_code="ch3", title="Third", order=3)
    post(learner, first)
    assert listed(learner, sequential) == ["IN_PROGRESS", "LOCKED", "LOCKED"]
    complete_chapter(chapter=first, user_ids=[learner.user.pk], actor=staff.user)
    assert listed(learner, sequential) == ["COMPLETED", "IN_PROGRESS", "LOCKED"]
    assert listed(fellow, sequential) == ["IN_PROGRESS", "LOCKED", "LOCKED"]
    unlock_chapter(chapter=third, user_ids=[learner.user.pk], actor=staff.user)
    assert listed(learner, sequential) == ["COMPLETED", "IN_PROGRESS", "IN_PROGRESS"]
    reset_chapter(chapter=first, user_ids=None, actor=staff.user)
    assert listed(learner, sequential) == ["IN_PROGRESS", "LOCKED", "IN_PROGRESS"]


def test_following_chapter(sequential: Course) -> None:
    first, second = sequential.chapters.all()
    assert following_chapter(chapter=first) == second
    assert following_chapter(chapter=second) is None
    third = Chapter.objects.create(course=sequential, chapter_code="ch3", title="Third", order=2)
    assert following_chapter(chapter=second) == third
    Chapter.objects.filter(pk=second.pk).update(is_active=False)
    assert following_chapter(chapter=first) == third
    second.refresh_from_db()
    assert following_chapter(chapter=second) is None
    sequential.progression = Course.Progression.OPEN
    sequential.save(update_fields=["progression"])
    assert following_chapter(chapter=Chapter.objects.get(pk=first.pk)) is None


@pytest.mark.parametrize("act", ACTS)
def test_the_queries_do_not_grow(
    act: Callable[..., int], course: Course, chapter: Chapter, staff: Actor, django_assert_max_num_queries: Any
) -> None:
    users = User.objects.bulk_create(User(email=f"many{number}@example.com", password="!") for number in range(40))
    Enrollment.objects.bulk_create(Enrollment(user=user, course=course) for user in users)
    ChapterProgress.objects.bulk_create(
        ChapterProgress(user=user, chapter=chapter, status=Status.LOCKED) for user in users
    )
    with django_assert_max_num_queries(10):
        assert act(chapter=chapter, user_ids=None, actor=staff.user) == 40


def test_audit(learner: Actor, fellow: Actor, chapter: Chapter, staff: Actor) -> None:
    complete_chapter(chapter=chapter, user_ids=None, actor=staff.user)
    reset_chapter(chapter=chapter, user_ids=[learner.user.pk], actor=staff.user)
    entries = LogEntry.objects.order_by("pk").select_related("user", "content_type")
    assert [
        (str(entry.user), str(getattr(entry.content_type, "model", "")), entry.get_change_message())
        for entry in entries
    ] == [
        ("staff@example.com", "chapterprogress", "Changed the status to “Completed”."),
        ("staff@example.com", "chapterprogress", "Changed the status to “Completed”."),
        ("staff@example.com", "course", "Changed the status to “Completed” for chapter “ch1_intro”."),
        ("staff@example.com", "chapterprogress", "Changed the status to “Not begun”."),
        ("staff@example.com", "course", "Changed the status to “Not begun” for chapter “ch1_intro”."),
    ]
    of_course = [json.loads(entries[number].change_message)[0]["learners"] for number in (2, 4)]
    assert of_course == [{"changed": 2}, {"ids": [str(learner.user.pk)], "count": 1, "changed": 1}]
    assert LogEntry.objects.filter(content_type__model="course", object_id=str(chapter.course_id)).count() == 2
    assert entries[3].object_repr == "learner@example.com: TST100 ch1_intro"


def test_a_long_list_of_learners_is_cut_in_the_entry_of_the_course(
    admin_page: Client, course: Course, chapter: Chapter, staff: Actor
) -> None:
    users = [make_actor(f"many{number:02}").user for number in range(12)]
    Enrollment.objects.bulk_create(Enrollment(user=user, course=course) for user in users)
    unlock_chapter(chapter=chapter, user_ids=[user.pk for user in users], actor=staff.user)
    stored = LogEntry.objects.get(content_type__model="course").change_message
    assert "@" not in stored, "whoever reads it sees the names that they may see"
    [entry] = admin_page.get(f"/admin/courses/course/{course.pk}/history/").context["action_list"]
    message = entry.get_change_message()
    assert message.startswith(
        "Changed the status to “In progress” for chapter “ch1_intro”. For many00@example.com, many01@"
    )
    assert message.endswith("many09@example.com, 2 others (12 changed).")


@pytest.mark.django_db(transaction=True)
def test_at_once_with_reports(course: Course, chapter: Chapter, staff: Actor) -> None:
    actors = [make_actor(f"racer{number}") for number in range(4)]
    for actor in actors:
        Enrollment.objects.create(user=actor.user, course=course)
    reports = [lambda actor=actor: post(actor, chapter).status_code for actor in actors * 2]
    acts = [lambda: complete_chapter(chapter=chapter, user_ids=None, actor=staff.user) for _ in range(2)]
    reset = [lambda: reset_chapter(chapter=chapter, user_ids=[actors[0].user.pk], actor=staff.user)]
    outcomes = run_at_once(*reports, *acts, *reset)
    assert outcomes[:8] == [200] * 8
    assert {name: status for name, status in statuses(chapter).items() if name != "racer0"} == dict.fromkeys(
        ["racer1", "racer2", "racer3"], "COMPLETED"
    )
