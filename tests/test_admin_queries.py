"""How many queries the pages of people, courses and progress cost, whatever they show."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import DeviceSession, User
from courses.models import Chapter, Course, Enrollment
from telemetry.models import ChapterProgress
from tests.cast import Actor, make_actor

pytestmark = pytest.mark.django_db

# Each begins with two for the session and its user.
PAGES = [
    ("accounts/user/", 4),  # count, rows
    ("accounts/user/?is_active__exact=1", 4),
    ("accounts/user/?q=person", 5),  # whom is meant
    ("accounts/user/{user}/change/", 11),  # the user twice, rights of three kinds; devices, enrolments, progress
    ("accounts/user/{user}/deactivate/", 4),
    ("accounts/user/{user}/delete/", 12),
    ("accounts/devicesession/", 4),
    ("accounts/devicesession/?state=active", 4),
    ("accounts/devicesession/?q=person", 7),  # users, their sessions, sessions by device
    ("accounts/devicesession/?user__id__exact={user}", 6),  # the user's name in the filter, and that there is one
    ("accounts/devicesession/{session}/change/", 5),
    ("accounts/devicesession/{session}/revoke_one/", 3),
    ("courses/course/", 4),
    ("courses/course/?q=more", 4),
    ("courses/course/{course}/change/", 8),  # whether it can be deleted, chapters, instructors, learners twice
    ("courses/course/{course}/renew_invite_code/", 3),
    ("courses/enrollment/", 4),
    ("courses/enrollment/?state=in", 4),
    ("courses/enrollment/?q=person", 7),  # users, courses, the newest of theirs
    ("courses/enrollment/?course__id__exact={course}", 6),
    ("courses/enrollment/{enrollment}/change/", 6),
    ("courses/enrollment/{enrollment}/remove_one/", 5),
    ("courses/enrollment/add/", 2),
    ("telemetry/chapterprogress/", 4),
    ("telemetry/chapterprogress/?status__exact=10", 4),
    ("telemetry/chapterprogress/?q=person", 7),
    ("telemetry/chapterprogress/set/", 2),
    ("auth/group/", 4),
    ("auth/group/{group}/change/", 5),
    ("auth/group/add/", 3),
    ("accounts/user/add/", 2),
    ("courses/course/add/", 3),
    ("courses/course/{unused}/delete/", 21),
    ("autocomplete/?app_label=courses&model_name=enrollment&field_name=user&term=person", 5),
]


def make_more(course: Course, start: int, count: int) -> None:
    for number in range(start, start + count):
        actor = make_actor(f"person{number}")
        other = Course.objects.create(course_code=f"MORE{number}", title="More")
        Enrollment.objects.create(user=actor.user, course=course)
        Enrollment.objects.create(user=User.objects.get(email="person0@example.com"), course=other)
        chapter = Chapter.objects.create(course=course, chapter_code=f"more{number}", title="More", order=number)
        ChapterProgress.objects.create(user=actor.user, chapter=chapter, status=10)
        group = Group.objects.create(name=f"Group {number}")
        group.permissions.set(Permission.objects.order_by("pk")[: number + 1])
        actor.user.groups.add(group)
        unused, _ = Course.objects.get_or_create(course_code="UNUSED", title="Nobody has joined it")
        Chapter.objects.create(course=unused, chapter_code=f"unused{number}", title="Unused", order=number)


@pytest.mark.parametrize(("page", "queries"), PAGES)
def test_queries(
    admin_page: Client, course: Course, staff: Actor, page: str, queries: int, django_assert_num_queries: Any
) -> None:
    make_more(course, 0, 3)
    user = User.objects.get(email="person0@example.com")
    path = "/admin/" + page.format(
        user=user.pk,
        session=DeviceSession.objects.get(user=user).pk,
        course=course.pk,
        group=Group.objects.earliest("pk").pk,
        unused=Course.objects.get(course_code="UNUSED").pk,
        enrollment=Enrollment.objects.filter(user=user).earliest("pk").pk,
    )
    check: DjangoAssertNumQueries = django_assert_num_queries
    admin_page.get(path)
    with check(queries):
        assert admin_page.get(path).status_code == 200
    make_more(course, 3, 12)
    with check(queries):
        assert admin_page.get(path).status_code == 200


@pytest.mark.parametrize("act", ["complete", "unlock", "reset"])
@pytest.mark.parametrize("of_one", [False, True], ids=["everybody", "one learner"])
def test_queries_of_the_confirmation_of_progress(
    admin_page: Client, course: Course, act: str, of_one: bool, django_assert_num_queries: Any
) -> None:
    make_more(course, 0, 3)
    learner = str(User.objects.get(email="person0@example.com").pk) if of_one else ""
    form = {"act": act, "chapter": str(course.chapters.earliest("order").pk), "learner": learner}
    for count in (0, 12):
        make_more(course, 3, count)
        with django_assert_num_queries(6 if of_one else 4):  # the learner, and the place in the course
            page = admin_page.post("/admin/telemetry/chapterprogress/set/", form)
        assert page.context["consequences"]


def test_queries_of_deleting_a_course(admin_page: Client, course: Course, django_assert_num_queries: Any) -> None:
    for start in (0, 12):
        make_more(course, start, 3 + start)
        unused = Course.objects.get(course_code="UNUSED")
        with django_assert_num_queries(40):
            assert admin_page.post(f"/admin/courses/course/{unused.pk}/delete/", {"post": "yes"}).status_code == 302
        assert not Course.objects.filter(pk=unused.pk).exists()
