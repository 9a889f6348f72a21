"""How many devices an act would reach."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import DeviceSession, User
from config import limits
from courses.models import Chapter, Course, Enrollment
from tests.cast import Actor, make_actor, open_session
from updates.models import BundleRelease
from updates.reach import (
    NOTHING,
    Audience,
    Reach,
    _percent_to_sample,
    reach_of_publication,
    reach_of_widening,
    reach_of_withdrawal,
)
from updates.tests.shelf import APP, chapter_scope, draft, publish, published

pytestmark = pytest.mark.django_db


def device(name: str, *, course: Course | None = None, **session: Any) -> Actor:
    """Somebody with one device, which runs what is given; a learner of the course, if one is given."""
    actor = make_actor(name)
    if course is not None:
        Enrollment.objects.create(user=actor.user, course=course)
    DeviceSession.objects.filter(pk=actor.session.pk).update(**session)
    return actor


def devices(count: int, prefix: str = "d", **fields: Any) -> list[Actor]:
    return [device(f"{prefix}{number}", **fields) for number in range(count)]


def publication(*releases: BundleRelease, rollout: int = 10_000) -> list[Reach]:
    return reach_of_publication(releases, rollout_basis_points=rollout)


def split(found: Reach) -> dict[str, float]:
    """Who is offered what afterwards; without those that are nobody."""
    return {version: devices for version, devices in found.offered_after().items() if devices}


# --- Whose devices ----------------------------------------------------------------------------------------------


def test_everybody_asks_for_the_bundles_of_the_app() -> None:
    devices(3)

    (found,) = publication(draft(APP))

    assert (found.audience, found.devices, found.is_estimate) == (Audience.EVERYBODY, 3, False)
    assert split(found) == {"1.0.0": 3}


def test_a_device_is_a_session_that_stands_and_is_in_use(course: Course) -> None:
    long_ago = timezone.now() - timedelta(days=limits.ACTIVE_DEVICE_DAYS + 1)
    counted = device("counted")
    device("refreshed", created_at=long_ago, last_refreshed_at=timezone.now())
    open_session(counted.user, device_id="another")
    device("superseded", superseded_at=timezone.now())
    device("revoked", revoked_at=timezone.now())
    device("away", created_at=long_ago)
    device("deleted", user=None)
    User.objects.filter(pk=device("inactive").user.pk).update(is_active=False)

    (found,) = publication(draft(APP))

    assert found.devices == 3


def test_the_learners_of_a_course_ask_for_its_chapters(chapter: Chapter) -> None:
    learner = device("learner", course=chapter.course)
    open_session(learner.user, device_id="second")
    device("outsider")
    removed = device("removed", course=chapter.course)
    Enrollment.objects.filter(user=removed.user).update(removed_at=timezone.now())
    device("elsewhere", course=Course.objects.create(course_code="OTHER", title="Other"))

    (found,) = publication(draft(chapter_scope(chapter)))

    assert (found.audience, found.devices) == (Audience.COURSE, 2)


@pytest.mark.parametrize("closed", ["chapter", "course"])
def test_nobody_asks_for_a_chapter_that_is_switched_off(chapter: Chapter, closed: str) -> None:
    device("learner", course=chapter.course)
    release = draft(chapter_scope(chapter))
    target = chapter if closed == "chapter" else chapter.course
    type(target).objects.filter(pk=target.pk).update(is_active=False)

    (found,) = publication(BundleRelease.objects.select_related("chapter__course").get(pk=release.pk))

    assert (found.audience, found.devices) == (Audience.NOBODY_CLOSED, 0)


def test_the_learners_of_courses_that_need_an_expert_ask_for_it(course: Course) -> None:
    first, second = course.chapters.order_by("order")
    other = Course.objects.create(course_code="OTHER", title="Other")
    chapter_of_other = Chapter.objects.create(course=other, chapter_code="ch1", title="Other")
    learner = device("both", course=course)
    Enrollment.objects.create(user=learner.user, course=other)
    device("one", course=other)
    device("outsider")
    for chapter in (first, second, chapter_of_other):
        published(chapter_scope(chapter), experts=("alpha",))

    (found,) = publication(draft(("experts", "alpha"), "2.0.0"))

    assert (found.audience, found.devices) == (Audience.COURSES_OF_EXPERT, 2), "each device once"


def test_a_chapter_that_does_not_need_the_expert_any_more_doesnt_count(chapter: Chapter) -> None:
    device("learner", course=chapter.course)
    published(chapter_scope(chapter), "1.0.0", experts=("alpha",))
    expert = draft(("experts", "alpha"), "2.0.0")
    partly = published(chapter_scope(chapter), "2.0.0", rollout_basis_points=5_000)
    assert publication(expert)[0].devices == 1, "some devices still have the chapter before"

    BundleRelease.objects.filter(pk=partly.pk).update(rollout_basis_points=10_000)

    (found,) = publication(expert)
    assert (found.audience, found.devices) == (Audience.NOBODY_NEEDS_IT, 0)


def test_a_chapter_that_is_published_with_its_expert_counts(chapter: Chapter) -> None:
    device("learner", course=chapter.course)

    found = publication(draft(("experts", "alpha")), draft(chapter_scope(chapter), experts=("alpha",)))

    assert [(reach.audience, reach.devices) for reach in found] == [
        (Audience.COURSES_OF_EXPERT, 1),
        (Audience.COURSE, 1),
    ]


# --- What they get ----------------------------------------------------------------------------------------------


def test_a_share_is_an_expected_number_and_the_others_keep_what_they_have() -> None:
    published(APP, "1.0.0")
    devices(8)

    (found,) = publication(draft(APP, "2.0.0"), rollout=2_500)

    assert dict(found.offered_before()) == {"1.0.0": 8, NOTHING: 0}
    assert split(found) == {"2.0.0": 2, "1.0.0": 6}
    assert found.offered_after(5_000)["2.0.0"] == 4


def test_testers_get_it_at_any_share_and_devices_without_an_id_at_the_whole_only() -> None:
    tester = device("tester")
    tester.user.groups.add(Group.objects.get(name="Testers"))
    device("nameless", device_id="")
    devices(4)
    release = draft(APP)

    assert split(publication(release, rollout=0)[0]) == {"1.0.0": 1, NOTHING: 5}
    assert split(publication(release, rollout=5_000)[0]) == {"1.0.0": 3, NOTHING: 3}
    assert split(publication(release)[0]) == {"1.0.0": 6}


def test_devices_that_are_too_old_keep_the_release_before() -> None:
    published(APP, "1.0.0")
    devices(2, "old", desktop_version="1.9.9")
    devices(3, "new", desktop_version="1.10.0")
    devices(4, "unknown")

    (found,) = publication(draft(APP, "2.0.0", min_desktop_version="1.10.0"))
    (strict,) = publication(draft(APP, "3.0.0", min_desktop_version="1.10.0", strict_versions=True))

    assert (found.too_old, split(found)) == (2, {"2.0.0": 7, "1.0.0": 2})
    assert (strict.too_old, split(strict)) == (6, {"3.0.0": 3, "1.0.0": 6})


def test_both_minimums_count() -> None:
    device("a", desktop_version="2.0.0", sidecar_version="1.0.0")
    device("b", desktop_version="2.0.0", sidecar_version="2.0.0")

    (found,) = publication(draft(APP, min_desktop_version="2.0.0", min_sidecar_version="2.0.0"))

    assert (found.too_old, split(found)) == (1, {"1.0.0": 1, NOTHING: 1})


def test_widening_reaches_those_whom_nothing_newer_reaches() -> None:
    published(APP, "1.0.0")
    staged = published(APP, "2.0.0", rollout_basis_points=2_500)
    devices(8)

    (found,) = reach_of_widening([staged], rollout_basis_points=5_000)
    assert found.offered_before()["2.0.0"] == 2
    assert split(found) == {"2.0.0": 4, "1.0.0": 4}

    published(APP, "3.0.0")
    (found,) = reach_of_widening([staged], rollout_basis_points=10_000)
    assert split(found) == {"3.0.0": 8}


def test_withdrawing_sends_devices_back() -> None:
    published(APP, "1.0.0")
    release = published(APP, "2.0.0", rollout_basis_points=5_000)
    devices(4)

    (found,) = reach_of_withdrawal([release])

    assert found.offered_before() == {"2.0.0": 2, "1.0.0": 2, NOTHING: 0}
    assert split(found) == {"1.0.0": 4}


def test_what_is_only_scheduled_is_offered_to_nobody() -> None:
    devices(1)
    release = published(APP, publish_at=timezone.now() + timedelta(days=1))

    (found,) = reach_of_withdrawal([release])

    assert found.offered_before() == {NOTHING: 1}


def test_a_version_that_is_published_again_takes_the_first_place() -> None:
    devices(2)
    again = published(APP, "1.0.0")
    published(APP, "2.0.0")
    again.state = "withdrawn"
    BundleRelease.objects.filter(pk=again.pk).update(state="withdrawn")

    assert split(publication(again)[0]) == {"1.0.0": 2}


# --- Many of them -----------------------------------------------------------------------------------------------


def test_the_number_of_queries_does_not_grow(
    chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    releases = [draft(APP), draft(("experts", "alpha")), draft(chapter_scope(chapter), experts=("alpha",))]
    publish(*releases)
    more = [
        draft(chapter_scope(Chapter.objects.create(course=chapter.course, chapter_code=f"more{n}", title="More")))
        for n in range(5)
    ]
    devices(3, course=chapter.course)
    ids = [release.pk for release in releases]
    joined = BundleRelease.objects.select_related("chapter__course")
    few, many = list(joined.filter(pk__in=ids)), list(joined.filter(pk__in=[*ids, *(r.pk for r in more)]))

    # What is published; who needs the expert; enrolments, and devices of learners; how many devices, and devices.
    with django_assert_num_queries(6):
        reach_of_withdrawal(few)
    with django_assert_num_queries(6):
        reach_of_publication(many, rollout_basis_points=10_000)


def test_of_very_many_learners_a_part_is_counted(chapter: Chapter, monkeypatch: pytest.MonkeyPatch) -> None:
    devices(40, course=chapter.course)
    release = draft(chapter_scope(chapter))
    monkeypatch.setattr(limits, "REACH_SAMPLE_PLACES", 20)

    (found,) = publication(release)

    assert found.is_estimate
    assert 10 <= found.devices <= 70, "every second learner, twice"
    assert found.devices % 2 == 0
    assert found.offered_after()["1.0.0"] == found.devices


def test_of_very_many_devices_a_part_is_counted(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    devices(5, course=course)
    monkeypatch.setattr("updates.reach._percent_to_sample", lambda: 99.99)
    monkeypatch.setattr(limits, "REACH_PLACES_MAX", 4)

    everybody, in_course = publication(draft(APP), draft(chapter_scope(course.chapters.all()[0])))

    assert everybody.is_estimate
    assert in_course.is_estimate
    for found in (everybody, in_course):
        assert found.devices == pytest.approx(5, abs=0.1) or found.devices == 0, "the table is one block"


def test_how_much_is_counted_follows_from_the_size_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    devices(3)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE accounts_devicesession")
    assert _percent_to_sample() == 100

    monkeypatch.setattr(limits, "REACH_EXACT_MAX_DEVICES", 2)
    monkeypatch.setattr(limits, "REACH_SAMPLE_DEVICES", 1)
    assert _percent_to_sample() == pytest.approx(100 / 3)
