"""What courses learn of progress: the ProgressReader that the settings name."""

from typing import Any

from courses.models import Chapter, Course
from courses.progress import ChapterStatus, get_progress_reader
from telemetry.models import ChapterProgress
from telemetry.selectors import ChapterProgressReader
from tests.cast import Actor


def make_progress(actor: Actor, chapter: Chapter, status: ChapterProgress.Status) -> None:
    ChapterProgress.objects.create(user=actor.user, chapter=chapter, status=status)


def test_settings_name_this_reader() -> None:
    assert isinstance(get_progress_reader(), ChapterProgressReader)


def test_statuses_by_chapter(learner: Actor, course: Course, django_assert_num_queries: Any) -> None:
    first, second = course.chapters.all()
    make_progress(learner, first, ChapterProgress.Status.COMPLETED)
    make_progress(learner, second, ChapterProgress.Status.IN_PROGRESS)
    with django_assert_num_queries(1):
        statuses = get_progress_reader().chapter_statuses(user_id=learner.user.pk, course_id=course.pk)
    assert statuses == {first.pk: ChapterStatus.COMPLETED, second.pk: ChapterStatus.IN_PROGRESS}
    assert all(isinstance(status, ChapterStatus) for status in statuses.values())


def test_nothing_reported(learner: Actor, course: Course) -> None:
    assert get_progress_reader().chapter_statuses(user_id=learner.user.pk, course_id=course.pk) == {}


def test_locked_is_no_progress(learner: Actor, course: Course, chapter: Chapter) -> None:
    make_progress(learner, chapter, ChapterProgress.Status.LOCKED)
    assert get_progress_reader().chapter_statuses(user_id=learner.user.pk, course_id=course.pk) == {}


def test_other_learners_and_courses_are_left_out(
    learner: Actor, fellow: Actor, course: Course, chapter: Chapter
) -> None:
    other = Course.objects.create(course_code="OTH100", title="Other")
    foreign = Chapter.objects.create(course=other, chapter_code="elsewhere", title="Elsewhere")
    make_progress(fellow, chapter, ChapterProgress.Status.COMPLETED)
    make_progress(learner, foreign, ChapterProgress.Status.COMPLETED)
    assert get_progress_reader().chapter_statuses(user_id=learner.user.pk, course_id=course.pk) == {}
