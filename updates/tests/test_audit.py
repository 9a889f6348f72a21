"""The audit: who did what, from what to what, and what was refused."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from config.errors import ErrorCode
from courses.models import Chapter
from tests.cast import Actor
from updates.models import BundleRelease, ReleaseEvent
from updates.principals import ADMIN_KEY, person, pipeline
from updates.services.drafts import delete_draft, update_draft
from updates.services.publication import Terms, publish_releases, widen_rollout, withdraw_releases
from updates.services.tokens import create_token
from updates.services.uploads import upload_draft
from updates.tests.shelf import APP, SHARED, a_bundle, draft, refused

pytestmark = pytest.mark.django_db


def fresh(release: BundleRelease) -> list[BundleRelease]:
    return [BundleRelease.objects.get(pk=release.pk)]


def test_who_did_what_from_what_to_what(staff: Actor) -> None:
    me = person(staff.user)
    with a_bundle(APP) as bundle:
        release = upload_draft(
            file=bundle.file, bundle_type=APP[0], scope_id=APP[1], version="1.0.0", principal=me
        ).release
    update_draft(release=release, changes={"rollout_basis_points": 100}, principal=me)
    publish_releases(releases=[release], principal=me)
    widen_rollout(releases=fresh(release), principal=me, rollout_basis_points=5_000)
    withdraw_releases(releases=fresh(release), principal=me)
    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        withdraw_releases(releases=fresh(release), principal=me)

    events = list(release.events.order_by("pk"))

    assert {(event.actor_kind, event.actor_name, event.user_id) for event in events} == {
        ("user", "staff@example.com", staff.user.pk)
    }
    assert [(event.action, bool(event.refusal)) for event in events] == [
        ("created", False),
        ("changed", False),
        ("published", False),
        ("widened", False),
        ("withdrawn", False),
        ("withdrawn", True),
    ]
    assert events[0].changes["sha256"] == [None, bundle.sha256]
    assert events[1].changes == {"rollout_basis_points": [10_000, 100]}
    assert events[2].changes["state"] == ["draft", "published"]
    assert events[3].changes == {"rollout_basis_points": [100, 5_000]}
    assert events[4].changes["state"] == ["published", "withdrawn"]
    assert "can't be withdrawn" in events[5].refusal
    assert all(abs((timezone.now() - event.created_at).total_seconds()) < 60 for event in events)


def test_one_act_has_one_id_and_an_entry_for_each_release() -> None:
    publish_releases(releases=[draft(APP), draft(SHARED)], principal=ADMIN_KEY, terms=Terms(1_000))
    widen_rollout(
        releases=[BundleRelease.objects.get(scope_id="core")], principal=ADMIN_KEY, rollout_basis_points=2_000
    )

    for action in ("published", "widened"):
        events = ReleaseEvent.objects.filter(action=action)
        assert {event.scope_id for event in events} == {"core", "shared"}
        assert len({event.act_id for event in events}) == 1
        assert {event.actor_kind for event in events} == {"admin_key"}


def test_a_token_is_named_and_so_is_who_made_it(staff: Actor) -> None:
    token, _ = create_token(
        name="nightly",
        abilities=["upload", "publish"],
        expires_at=timezone.now() + timedelta(days=1),
        created_by=staff.user,
    )
    publish_releases(releases=[draft(APP)], principal=pipeline(token))

    event = ReleaseEvent.objects.get(action="published")
    assert (event.actor_kind, event.actor_name, event.token, event.user) == ("token", "nightly", token, staff.user)


def test_a_refused_upload_leaves_its_reason_and_no_release(staff: Actor) -> None:
    with a_bundle(APP, "2.0.0") as bundle, refused(ErrorCode.BUNDLE_INVALID):
        upload_draft(
            file=bundle.file, bundle_type=APP[0], scope_id=APP[1], version="1.0.0", principal=person(staff.user)
        )

    event = ReleaseEvent.objects.get()
    assert (str(event.release), event.action, event.version) == ("None", "created", "1.0.0")
    assert "2.0.0" in event.refusal


def test_the_entries_of_a_deleted_draft_stay(staff: Actor) -> None:
    release = draft(APP)
    delete_draft(release=release, principal=person(staff.user))

    assert [(event.action, event.release_id, event.version) for event in ReleaseEvent.objects.order_by("pk")] == [
        ("created", release.pk, "1.0.0"),
        ("deleted", release.pk, "1.0.0"),
    ]


def test_the_entries_of_a_deleted_person_keep_the_name(staff: Actor) -> None:
    publish_releases(releases=[draft(APP)], principal=person(staff.user))

    staff.user.delete()

    event = ReleaseEvent.objects.get(action="published")
    assert (event.user, event.actor_name) == (None, "staff@example.com")


def test_a_mistyped_field_is_no_matter_for_the_audit(chapter: Chapter) -> None:
    with a_bundle(APP) as bundle, refused(ErrorCode.VALIDATION_ERROR):
        upload_draft(file=bundle.file, bundle_type=APP[0], scope_id="x", version="1.0.0", principal=ADMIN_KEY)

    assert not ReleaseEvent.objects.exists()


# --- Who may ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "scope", "allowed"),
    [
        ({}, APP, True),
        ({"bundle_types": ["app_agents"]}, APP, True),
        ({"bundle_types": ["chapter"]}, APP, False),
        ({"course": True}, APP, False),
        ({"course": True}, ("chapter", "{course}/ch1_intro"), True),
        ({"course": True}, ("chapter", f"{uuid.uuid4()}/ch1_intro"), False),
        ({"course": True, "bundle_types": ["chapter", "experts"]}, ("experts", "alpha"), False),
    ],
)
def test_the_bounds_of_a_token(
    bounds: dict[str, Any], scope: tuple[str, str], allowed: bool, staff: Actor, chapter: Chapter
) -> None:
    token, _ = create_token(
        name="bound",
        abilities=["upload"],
        expires_at=timezone.now() + timedelta(days=1),
        created_by=staff.user,
        course=chapter.course if bounds.get("course") else None,
        bundle_types=bounds.get("bundle_types", ()),
    )

    assert pipeline(token).covers(scope[0], scope[1].format(course=chapter.course_id)) is allowed
