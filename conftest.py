"""Fixtures of the whole suite."""

import functools
import shutil
import time

import pytest
from django.conf import settings
from django.test import Client
from redis import Redis
from rest_framework.test import APIClient

from courses.models import Chapter, Course, Enrollment
from tests.cast import Actor, make_actor
from updates.catalogue import catalogue
from updates.services.adoption import memory as adoption_memory


@pytest.fixture(autouse=True, scope="session")
def _empty_store() -> None:
    """Begin without the artifacts of earlier runs: a store keeps what it has, and bundles may be others by now."""
    shutil.rmtree(settings.ARTIFACT_ROOT, ignore_errors=True)


@pytest.fixture(autouse=True)
def _fresh_memory() -> None:
    """Forget what outlives a test's rollback: counts in Redis, and what the worker knows of releases and devices."""
    catalogue.forget()
    adoption_memory.start_anew()
    if settings.REDIS_URL:
        _forget_redis_counts()


@pytest.fixture(autouse=True)
def _whole_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each rate window begin with a test's first count.

    Windows end at moments of their own: now and then one would end in the middle of a test that fills it.
    """

    @functools.cache
    def window(value: str, period: int) -> int:
        return int(time.time()) + period

    monkeypatch.setattr("django_ratelimit.core._get_window", window)
    monkeypatch.setattr("config.ratelimit._get_window", window)


def _forget_redis_counts() -> None:
    """Delete this test process's keys only: `cache.clear()` would empty the whole Redis database."""
    client = Redis.from_url(settings.REDIS_URL)
    for key in client.scan_iter(f"{settings.CACHES['default']['KEY_PREFIX']}:*"):
        client.delete(key)
    client.close()


@pytest.fixture
def api() -> APIClient:
    """Nobody: a client without a token."""
    return APIClient()


@pytest.fixture
def learner(db: None, course: Course) -> Actor:
    """Enrolled in `course`."""
    actor = make_actor("learner")
    Enrollment.objects.create(user=actor.user, course=course)
    return actor


@pytest.fixture
def fellow(db: None, course: Course) -> Actor:
    """Another learner of `course`."""
    actor = make_actor("fellow")
    Enrollment.objects.create(user=actor.user, course=course)
    return actor


@pytest.fixture
def outsider(db: None) -> Actor:
    """Has an account, but no course."""
    return make_actor("outsider")


@pytest.fixture
def staff(db: None) -> Actor:
    """A superuser."""
    return make_actor("staff", is_staff=True, is_superuser=True)


@pytest.fixture
def admin_page(staff: Actor) -> Client:
    """A browser in which `staff` is logged in to the admin."""
    client = Client()
    client.force_login(staff.user)
    return client


@pytest.fixture
def course(db: None) -> Course:
    """An open course with two chapters."""
    course = Course.objects.create(course_code="TST100", title="Testing", instructor="Dr. Test", semester="2026 Fall")
    Chapter.objects.create(course=course, chapter_code="ch1_intro", title="Introduction", order=1)
    Chapter.objects.create(course=course, chapter_code="ch2_more", title="More", order=2)
    return course


@pytest.fixture
def chapter(course: Course) -> Chapter:
    """The first chapter of `course`."""
    return course.chapters.get(chapter_code="ch1_intro")
