"""Which artifacts a learner may read."""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from courses.models import Chapter, Course, Enrollment
from storage.access import get_artifact_access
from tests.cast import Actor
from updates.access import ReleaseArtifactAccess
from updates.services.registrations import register_draft
from updates.tests.shelf import APP, SHARED, SOMEBODY, chapter_scope, draft, publish, published, withdraw

pytestmark = pytest.mark.django_db


def keys(actor: Actor) -> list[str]:
    return [artifact.key for artifact in get_artifact_access().readable_artifacts(user_id=actor.user.pk)]


def aliases(actor: Actor) -> dict[str, tuple[str, ...]]:
    return {a.key: a.aliases for a in get_artifact_access().readable_artifacts(user_id=actor.user.pk)}


def test_the_settings_name_it() -> None:
    assert isinstance(get_artifact_access(), ReleaseArtifactAccess)


def test_a_learner_reads_the_app_their_chapters_and_the_experts_of_these(
    learner: Actor, outsider: Actor, chapter: Chapter
) -> None:
    core, shared = published(APP), published(SHARED)
    expert, stranger = published(("experts", "alpha")), published(("experts", "omega"))
    release = published(chapter_scope(chapter), experts=("alpha",))

    found = keys(learner)

    assert found == [core.artifact_key, shared.artifact_key, release.artifact_key, expert.artifact_key]
    assert stranger.artifact_key not in found
    assert keys(outsider) == [core.artifact_key, shared.artifact_key]


def test_aliases_are_what_clients_ask_for(learner: Actor, chapter: Chapter, settings: Settings) -> None:
    settings.OSS_BUNDLE_PREFIX = "content/v2/"
    core = published(APP, "1.2.3")
    release = published(chapter_scope(chapter), "2.0.0")

    assert core.artifact_key == "content/v2/app_agents/core/1.2.3/bundle.tar.gz"
    assert aliases(learner) == {
        core.artifact_key: ("bundles/app_agents/core/1.2.3/",),
        release.artifact_key: (
            f"bundles/chapter/{chapter.course_id}/ch1_intro/2.0.0/",
            f"bundles/chapter/{chapter.pk}/2.0.0/",
        ),
    }


def test_every_published_version_whatever_the_rollout_but_no_other(learner: Actor, chapter: Chapter) -> None:
    scope = chapter_scope(chapter)
    old, partial = published(scope, "1.0.0"), published(scope, "2.0.0", rollout_basis_points=0)
    draft(scope, "3.0.0")
    withdraw(published(scope, "4.0.0"))
    published(scope, "5.0.0", publish_at=timezone.now() + timedelta(hours=1))

    assert keys(learner) == [partial.artifact_key, old.artifact_key]


def test_experts_of_any_published_release_of_the_chapter(learner: Actor, chapter: Chapter) -> None:
    alpha, omega = published(("experts", "alpha")), published(("experts", "omega"))
    published(chapter_scope(chapter), "1.0.0", experts=("alpha",))
    newer = published(chapter_scope(chapter), "2.0.0", experts=("omega",))
    assert {alpha.artifact_key, omega.artifact_key} <= set(keys(learner))

    withdraw(newer)

    assert omega.artifact_key not in keys(learner)


def test_nothing_of_a_removed_enrolment_an_inactive_course_or_an_inactive_chapter(
    learner: Actor, fellow: Actor, course: Course, chapter: Chapter
) -> None:
    published(("experts", "alpha"))
    published(chapter_scope(chapter), experts=("alpha",))
    assert len(keys(learner)) == 2

    Enrollment.objects.filter(user=learner.user).update(removed_at=timezone.now())
    assert keys(learner) == []
    assert len(keys(fellow)) == 2

    Chapter.objects.filter(pk=chapter.pk).update(is_active=False)
    assert keys(fellow) == []

    Chapter.objects.filter(pk=chapter.pk).update(is_active=True)
    Course.objects.filter(pk=course.pk).update(is_active=False)
    assert keys(fellow) == []


def test_bytes_that_lie_elsewhere_have_no_key(learner: Actor) -> None:
    release = register_draft(
        bundle_type="app_agents",
        scope_id="core",
        version="1.0.0",
        sha256="a" * 64,
        size_bytes=1,
        manifest={},
        external_url="https://cdn.example.org/bundle.tar.gz",
        principal=SOMEBODY,
    ).release
    publish(release)

    assert keys(learner) == []


@pytest.mark.usefixtures("calm_catalogue")
def test_one_query(learner: Actor, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    published(chapter_scope(chapter), experts=("alpha",))
    keys(learner)

    with django_assert_num_queries(1):
        keys(learner)
