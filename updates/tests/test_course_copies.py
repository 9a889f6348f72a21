"""A course is copied to a new semester, with what all devices are offered in it."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from config.errors import ApiError, ErrorCode
from courses.models import Chapter, Course, Enrollment
from courses.services import Semester
from storage.artifacts import delete_artifact
from tests.cast import Actor, make_actor
from tests.races import run_at_once
from updates.catalogue import catalogue
from updates.models import BundleRelease, ReleaseEvent
from updates.principals import person
from updates.selectors import CoursePlan, plan_course_copy
from updates.services.course_copies import CourseCopy, copy_course
from updates.services.registrations import register_draft
from updates.services.uploads import upload_draft
from updates.tests.shelf import (
    SOMEBODY,
    a_bundle,
    chapter_scope,
    draft,
    outcomes,
    publish,
    published,
    refused,
    withdraw,
)

pytestmark = pytest.mark.django_db
SPRING = Semester(course_code="TST200", title="Testing again", semester="2027 Spring", instructor="Dr. New")


def copy(course: Course, semester: Semester = SPRING, actor: Actor | None = None) -> CourseCopy:
    principal = person(actor.user) if actor else SOMEBODY
    made = copy_course(plan=plan_course_copy(source=course), semester=semester, principal=principal)
    catalogue.forget()
    return made


def releases_of(course: Course) -> dict[str, str]:
    """Version by chapter code, in the order of the chapters."""
    rows = BundleRelease.objects.filter(chapter__course=course).order_by("chapter__order", "version")
    return dict(rows.values_list("chapter__chapter_code", "version"))


def check(actor: Actor, course: Course, chapter: str) -> Any:
    body = {"course_id": str(course.pk), "chapter_id": chapter, "installed": {"chapter_bundle": None, "experts": {}}}
    return actor.post("/v1/updates/check-chapter", body).json()


def test_a_copy_has_the_chapters_and_what_is_its_own(course: Course) -> None:
    Course.objects.update(progression="sequential", joinable_by_code=False, description="About tests.")
    course.refresh_from_db()
    Chapter.objects.filter(chapter_code="ch2_more").update(is_active=False)

    made = copy(course).course

    made.refresh_from_db()
    assert (made.course_code, made.title, made.semester, made.instructor) == (
        "TST200",
        "Testing again",
        "2027 Spring",
        "Dr. New",
    )
    assert (made.progression, made.joinable_by_code, made.description) == ("sequential", False, "About tests.")
    assert made.is_active
    assert made.invite_code != course.invite_code
    assert list(made.chapters.values_list("chapter_code", "title", "order", "is_active")) == [
        ("ch1_intro", "Introduction", 1, True),
        ("ch2_more", "More", 2, False),
    ]


def test_learners_and_progress_stay_behind(course: Course, learner: Actor, chapter: Chapter) -> None:
    chapter.progress.create(user=learner.user, status=20)

    made = copy(course).course

    assert not Enrollment.objects.filter(course=made).exists()
    assert not made.chapters.exclude(progress=None).exists()
    assert learner.get("/v1/courses/my").json()["courses"][0]["course_code"] == "TST100"


def test_a_learner_of_the_copy_gets_the_same_bytes(course: Course, outsider: Actor, chapter: Chapter) -> None:
    release = published(chapter_scope(chapter), "1.2.0", experts=("alpha",))
    made = copy(course).course
    assert outsider.post("/v1/courses/join", {"invite_code": made.invite_code}).status_code == 200

    answer = check(outsider, made, "ch1_intro")

    bundle, expert = answer["required"]
    assert bundle["scope_id"] == f"{made.pk}/ch1_intro"
    assert (bundle["version"], bundle["sha256"]) == ("1.2.0", release.sha256)
    assert expert["scope_id"] == "alpha"
    bytes_of_it = b"".join(outsider.client.get(bundle["artifact_url"].removeprefix("http://testserver")))
    assert len(bytes_of_it) == release.size_bytes
    for name in (
        release.artifact_key,
        f"bundles/chapter/{made.pk}/ch1_intro/1.2.0/bundle.tar.gz",
        f"bundles/chapter/{made.chapters.get(chapter_code='ch1_intro').pk}/1.2.0/bundle.tar.gz",
    ):
        response = outsider.post("/v1/oss/resolve-artifact-url", {"artifact": name})
        assert response.status_code == 200, name
        assert response.json()["artifact_url"] == bundle["artifact_url"]


def test_only_what_all_devices_are_offered_is_copied(course: Course, chapter: Chapter) -> None:
    scope, second = chapter_scope(chapter), chapter_scope(course.chapters.get(chapter_code="ch2_more"))
    published(scope, "1.0.0")
    published(scope, "2.0.0")
    published(scope, "3.0.0", rollout_basis_points=5000)
    published(scope, "4.0.0", publish_at=timezone.now() + timedelta(hours=1))
    withdraw(published(scope, "5.0.0"))
    draft(scope, "6.0.0")
    draft(second, "1.0.0")

    assert releases_of(copy(course).course) == {"ch1_intro": "2.0.0"}


def test_a_copied_release_is_like_its_original_and_published_on_its_own(
    course: Course, chapter: Chapter, staff: Actor
) -> None:
    options = {"min_desktop_version": "1.4.0", "strict_versions": True, "is_mandatory": False}
    release = published(chapter_scope(chapter), "1.0.0", experts=("alpha",), **options)
    other = published(chapter_scope(course.chapters.get(chapter_code="ch2_more")), "3.0.0")

    made = copy(course, actor=staff)

    first, second = sorted(made.act.releases, key=lambda copied: copied.version)
    for name in ("sha256", "size_bytes", "manifest", "artifact_key", "required_experts", *options):
        assert getattr(first, name) == getattr(release, name), name
    assert (first.state, first.rollout_basis_points, first.publish_at) == ("published", 10_000, None)
    assert first.created_by == staff.user
    assert first.published_at is not None
    assert release.published_at is not None
    assert first.published_at > release.published_at
    assert len({each.cohort_key for each in (first, second, release, other)}) == 4, "each goes its own way"
    release.refresh_from_db()
    assert release.state == "published"


def test_the_audit_tells_who_copied(course: Course, chapter: Chapter, staff: Actor) -> None:
    published(chapter_scope(chapter))
    made = copy(course, actor=staff).course

    events = ReleaseEvent.objects.filter(scope_id=f"{made.pk}/ch1_intro").order_by("pk")

    assert list(events.values_list("action", "actor_name", "refusal")) == [
        ("created", "staff@example.com", ""),
        ("published", "staff@example.com", ""),
    ]
    entry = LogEntry.objects.get(object_id=str(made.pk))
    told = (entry.user, entry.get_change_message())
    assert told == (staff.user, "Added as a copy of the course “TST100”.")


def test_bytes_elsewhere(course: Course, chapter: Chapter) -> None:
    bundle_type, scope_id = chapter_scope(chapter)
    release = register_draft(
        bundle_type=bundle_type,
        scope_id=scope_id,
        version="1.0.0",
        external_url="https://cdn.example.com/ch1.tar.gz",
        sha256="a" * 64,
        size_bytes=10,
        manifest={},
        principal=SOMEBODY,
    ).release
    publish(release)

    [copied] = copy(course).act.releases

    assert (copied.external_url, copied.artifact_key) == ("https://cdn.example.com/ch1.tar.gz", "")


def test_a_copy_of_a_copy(course: Course, chapter: Chapter) -> None:
    release = published(chapter_scope(chapter))
    made = copy(copy(course).course, Semester(course_code="TST300", title="Third"))
    assert [copied.artifact_key for copied in made.act.releases] == [release.artifact_key]


def test_the_same_archive_for_the_new_course_is_the_copied_release(course: Course, chapter: Chapter) -> None:
    """A pipeline that publishes to all semesters must find its bundle there already."""
    published(chapter_scope(chapter))
    [copied] = copy(course).act.releases
    assert copied.chapter is not None
    with a_bundle(chapter_scope(chapter)) as bundle:
        kept = upload_draft(
            file=bundle.file,
            bundle_type="chapter",
            scope_id=copied.scope_id,
            version="1.0.0",
            principal=SOMEBODY,
        )
    assert (kept.release, kept.is_new) == (copied, False)
    with (
        refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "other bytes"),
        a_bundle(chapter_scope(chapter), files={f"prompts/{n}.md": "Other\n" for n in _PROMPTS}) as other,
    ):
        upload_draft(
            file=other.file,
            bundle_type="chapter",
            scope_id=copied.scope_id,
            version="1.0.0",
            principal=SOMEBODY,
        )


_PROMPTS = ("chapter_context", "task_list", "task_completion_principles")


# --- What is refused ----------------------------------------------------------------------------------------------


def nothing_was_made(course: Course) -> bool:
    return (
        list(Course.objects.all()) == [course]
        and not Chapter.objects.exclude(course=course).exists()
        and not BundleRelease.objects.filter(chapter__isnull=False).exclude(chapter__course=course).exists()
    )


@pytest.mark.parametrize(
    ("semester", "field"),
    [
        (Semester(course_code="tst100", title="x"), "course_code"),
        (Semester(course_code="has blank", title="x"), "course_code"),
        (Semester(course_code="TST200", title=""), "title"),
        (Semester(course_code="TST200", title="x" * 201), "title"),
    ],
)
def test_wrong_fields(course: Course, chapter: Chapter, semester: Semester, field: str) -> None:
    published(chapter_scope(chapter))
    with pytest.raises(ApiError) as caught:
        copy(course, semester)
    assert [detail["field"] for detail in caught.value.details] == [field]
    assert nothing_was_made(course)


def test_a_course_that_changed_meanwhile(course: Course, chapter: Chapter) -> None:
    published(chapter_scope(chapter), "1.0.0")
    plan = plan_course_copy(source=course)
    published(chapter_scope(chapter), "2.0.0")
    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "changed since you looked"):
        copy_course(plan=plan, semester=SPRING, principal=SOMEBODY)
    assert nothing_was_made(course)

    plan = plan_course_copy(source=course)
    Chapter.objects.create(course=course, chapter_code="ch3", title="Third", order=3)
    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "changed since you looked"):
        copy_course(plan=plan, semester=SPRING, principal=SOMEBODY)
    assert nothing_was_made(course)


def test_an_expert_that_is_gone(course: Course, chapter: Chapter) -> None:
    published(chapter_scope(chapter), experts=("alpha",))
    withdraw(BundleRelease.objects.get(scope_id="alpha"))
    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "alpha"):
        copy(course)
    assert nothing_was_made(course)


def test_bytes_that_are_gone(course: Course, chapter: Chapter) -> None:
    release = published(chapter_scope(chapter))
    delete_artifact(key=release.artifact_key)
    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "not in the artifact store"):
        copy(course)
    assert nothing_was_made(course)


@pytest.mark.parametrize("codenames", [[], ["add_course"], ["publish_bundlerelease"]])
def test_who_may_not(course: Course, codenames: list[str]) -> None:
    actor = with_rights(codenames)
    with refused(ErrorCode.FORBIDDEN):
        copy(course, actor=actor)
    assert nothing_was_made(course)


def test_who_may(course: Course) -> None:
    copy(course, actor=with_rights(["add_course", "publish_bundlerelease"]))
    assert Course.objects.count() == 2


def with_rights(codenames: list[str]) -> Actor:
    actor = make_actor("person", is_staff=True)
    actor.user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    actor.user = User.objects.get(pk=actor.user.pk)
    return actor


# --- At once, and at size -----------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_copies_with_one_code_at_once(course: Course, chapter: Chapter) -> None:
    published(chapter_scope(chapter))
    plan = plan_course_copy(source=course)
    act = partial(copy_course, plan=plan, semester=SPRING, principal=SOMEBODY)

    assert sorted(outcomes(act, act, act)) == ["VALIDATION_ERROR", "VALIDATION_ERROR", "done"]

    made = Course.objects.get(course_code="TST200")
    assert Course.objects.count() == 2
    assert releases_of(made) == {"ch1_intro": "1.0.0"}
    assert Chapter.objects.count() == 4


@pytest.mark.django_db(transaction=True)
def test_a_publication_at_the_same_moment(course: Course, chapter: Chapter) -> None:
    """Either the copy has what was planned, or it is refused; never something that nobody saw."""
    published(chapter_scope(chapter), "1.0.0")
    newer = draft(chapter_scope(chapter), "2.0.0")
    plan = plan_course_copy(source=course)

    def try_to_copy() -> str:
        try:
            copy_course(plan=plan, semester=SPRING, principal=SOMEBODY)
        except ApiError as error:
            return str(error.code)
        return "done"

    outcome, _published = run_at_once(try_to_copy, partial(publish, newer))

    made = Course.objects.filter(course_code="TST200").first()
    if outcome == "done":
        assert made is not None
        assert releases_of(made) == {"ch1_intro": "1.0.0"}
    else:
        assert (outcome, made) == ("BUNDLE_RELEASE_CONFLICT", None)


def test_a_plan_costs_two_queries(
    course: Course, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    published(chapter_scope(chapter))
    for number in range(30):
        Chapter.objects.create(course=course, chapter_code=f"more{number}", title="More", order=number)
    with django_assert_num_queries(2) as queries:
        plan: CoursePlan = plan_course_copy(source=course)
    assert len(plan.chapters) == 32
    assert [release.version for release in plan.releases] == ["1.0.0"]
    assert not any('"manifest"' in query["sql"] for query in queries.captured_queries)
