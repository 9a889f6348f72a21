"""Which devices a rollout reaches: by the services that publish, and over HTTP as devices see it."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from accounts.models import DeviceSession
from courses.models import Chapter
from tests.cast import Actor
from updates.models import BundleRelease
from updates.tests.shelf import APP, chapter_scope, draft, publish, published, widen, withdraw

pytestmark = pytest.mark.django_db

DEVICES = [f"device-{number}" for number in range(60)]
HALF = 5_000


def by_device(actor: Actor, ask: Callable[[Actor], Any]) -> dict[str, Any]:
    """Ask as each of the devices, one after the other."""
    answers = {}
    for device_id in DEVICES:
        DeviceSession.objects.filter(pk=actor.session.pk).update(device_id=device_id)
        answers[device_id] = ask(actor)
    return answers


def app_version(actor: Actor) -> str:
    (descriptor,) = actor.post("/v1/updates/check-app", {}).json()["required"]
    return str(descriptor["version"])


def offered(actor: Actor, version: str) -> set[str]:
    """Return the devices that are offered this version of the app agents."""
    return {device_id for device_id, found in by_device(actor, app_version).items() if found == version}


def test_a_rollout_only_ever_takes_devices_in(learner: Actor) -> None:
    published(APP, "1.0.0")
    release = published(APP, "2.0.0", rollout_basis_points=0)
    reached = [offered(learner, "2.0.0")]
    for points in (2_000, HALF, 8_000, 10_000):
        widen(release, points)
        reached.append(offered(learner, "2.0.0"))

    assert all(before <= after for before, after in pairwise(reached))
    assert (reached[0], reached[-1]) == (set(), set(DEVICES))
    assert 0 < len(reached[1]) < len(reached[3]) < len(DEVICES)


def test_a_republication_reaches_other_devices(learner: Actor) -> None:
    published(APP, "1.0.0")
    release = published(APP, "2.0.0", rollout_basis_points=HALF)
    key, first = release.cohort_key, offered(learner, "2.0.0")
    widen(release, HALF + 1)
    assert release.cohort_key == key, "widening keeps the cohort"

    withdraw(release)
    assert offered(learner, "2.0.0") == set()
    publish(release)

    assert release.cohort_key != key
    second = offered(learner, "2.0.0")
    assert first - second, "by chance empty once in a million runs"
    assert second - first
    assert 5 < len(second) < 55


def chapter_and_expert(actor: Actor, chapter: Chapter) -> tuple[str, str]:
    body = {"course_id": str(chapter.course_id), "chapter_id": chapter.chapter_code}
    lesson, expert = actor.post("/v1/updates/check-chapter", body).json()["required"]
    return lesson["version"], expert["version"]


def second_release(chapter: Chapter) -> tuple[BundleRelease, BundleRelease]:
    """Drafts of a chapter and its expert, both of which have a first release that everybody has."""
    published(chapter_scope(chapter), "1.0.0", experts=("alpha",))
    lesson = draft(chapter_scope(chapter), "2.0.0", experts=("alpha",), rollout_basis_points=HALF)
    return draft(("experts", "alpha"), "2.0.0", rollout_basis_points=HALF), lesson


def test_what_is_published_together_reaches_the_same_devices(learner: Actor, chapter: Chapter) -> None:
    expert, lesson = second_release(chapter)
    publish(expert, lesson)
    assert expert.cohort_key == lesson.cohort_key

    seen = by_device(learner, lambda actor: chapter_and_expert(actor, chapter))

    assert set(seen.values()) == {("1.0.0", "1.0.0"), ("2.0.0", "2.0.0")}

    widen(expert, 10_000)
    assert set(by_device(learner, lambda actor: chapter_and_expert(actor, chapter)).values()) == {("2.0.0", "2.0.0")}

    withdraw(lesson)
    assert chapter_and_expert(learner, chapter) == ("1.0.0", "1.0.0")

    key = lesson.cohort_key
    expert.refresh_from_db()
    publish(expert, lesson)
    assert expert.cohort_key == lesson.cohort_key != key


def test_what_is_published_apart_reaches_each_its_own(learner: Actor, chapter: Chapter) -> None:
    expert, lesson = second_release(chapter)
    publish(expert)
    publish(lesson)
    assert expert.cohort_key != lesson.cohort_key

    seen = by_device(learner, lambda actor: chapter_and_expert(actor, chapter))

    assert len(set(seen.values())) == 4, "each of the four cases, among 60 devices"
