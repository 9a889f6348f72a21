"""Publishing, widening and withdrawing: what is done together, what is refused, and what staff are told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.utils import timezone

from accounts.models import DeviceSession
from config import limits
from config.errors import ErrorCode
from courses.models import Chapter
from storage.artifacts import delete_artifact
from tests.cast import Actor, make_actor
from updates.models import BundleRelease
from updates.services.publication import (
    Terms,
    ensure_published,
    publish_releases,
    reschedule_releases,
    widen_rollout,
    withdraw_releases,
)
from updates.tests.shelf import (
    APP,
    SHARED,
    SOMEBODY,
    chapter_scope,
    draft,
    outcomes,
    publish,
    published,
    refused,
    widen,
    withdraw,
)

pytestmark = pytest.mark.django_db


def states() -> dict[str, str]:
    return {str(release): release.state for release in BundleRelease.objects.all()}


def test_published_together_share_a_cohort_and_a_republication_draws_another() -> None:
    first, second, third = draft(APP), draft(SHARED), draft(("experts", "alpha"))
    publish(first, second)
    publish(third)
    assert first.cohort_key == second.cohort_key != third.cohort_key

    before = first.cohort_key
    withdraw_releases(releases=[first], principal=SOMEBODY, together=False)
    first.refresh_from_db()
    publish(first)

    assert first.cohort_key != before
    second.refresh_from_db()
    assert second.cohort_key == before


def test_publications_are_in_strict_order_and_the_first_one_is_remembered() -> None:
    releases = [draft(("experts", f"expert{number}")) for number in range(3)]
    publish(*releases)
    times = [release.published_at for release in releases]
    assert all(times)
    assert sorted(set(times)) == times  # type: ignore[type-var]
    assert [release.first_published_at for release in releases] == times

    withdraw(*releases)
    publish(releases[0])

    assert releases[0].published_at > times[2]  # type: ignore[operator]
    assert releases[0].first_published_at == times[0]
    assert releases[0].withdrawn_at is None


def test_a_publication_comes_after_one_by_a_server_whose_clock_is_fast() -> None:
    fast, release = published(APP, "1.0.0"), draft(APP, "2.0.0")
    BundleRelease.objects.filter(pk=fast.pk).update(published_at=timezone.now() + timedelta(hours=1))
    fast.refresh_from_db()

    publish(release)

    assert release.published_at > fast.published_at  # type: ignore[operator]


def test_all_of_an_act_or_nothing() -> None:
    new, old = draft(APP), published(SHARED)

    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        publish_releases(releases=[new, old], principal=SOMEBODY)
    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        withdraw_releases(releases=[old, new], principal=SOMEBODY)

    new.refresh_from_db()
    old.refresh_from_db()
    assert (new.state, old.state) == ("draft", "published")


def test_bytes_that_are_missing_are_not_published() -> None:
    release = draft(APP)
    delete_artifact(key=release.artifact_key)

    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        publish_releases(releases=[release], principal=SOMEBODY)

    assert draft(APP).pk == release.pk, "the same upload puts them back"
    publish(release)
    assert release.state == "published"


def test_the_terms_of_a_publication_take_the_place_of_the_drafts() -> None:
    release, at = draft(APP, rollout_basis_points=500), timezone.now() + timedelta(hours=1)

    publish_releases(releases=[release], principal=SOMEBODY, terms=Terms(1_234, at))

    release.refresh_from_db()
    assert (release.rollout_basis_points, release.publish_at) == (1_234, at)


@pytest.mark.parametrize("terms", [Terms(-1), Terms(10_001)])
def test_wrong_terms(terms: Terms) -> None:
    with refused(ErrorCode.VALIDATION_ERROR, "rollout_percent"):
        publish_releases(releases=[draft(APP)], principal=SOMEBODY, terms=terms)


def test_what_is_published_together_goes_to_the_same_devices_at_the_same_time() -> None:
    first, second = draft(APP, rollout_basis_points=500), draft(SHARED)
    with refused(ErrorCode.VALIDATION_ERROR, "app_agents/core 1.0.0 has 5 %"):
        publish_releases(releases=[first, second], principal=SOMEBODY)
    assert set(states().values()) == {"draft"}

    act = publish_releases(releases=[first, second], principal=SOMEBODY, terms=Terms(500))

    assert [release.rollout_basis_points for release in act.releases] == [500, 500]


def test_a_release_named_twice_is_published_once() -> None:
    release = draft(APP)

    assert len(publish_releases(releases=[release, release], principal=SOMEBODY).releases) == 1


def test_of_a_bundle_one_version_is_published_in_an_act() -> None:
    with refused(ErrorCode.VALIDATION_ERROR, "not 2.0.0 and 1.0.0"):
        publish_releases(releases=[draft(APP, "2.0.0"), draft(APP, "1.0.0")], principal=SOMEBODY)


def test_an_act_has_a_number_of_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RELEASES_PER_ACT_MAX", 1)
    for releases in ([], [draft(APP), draft(SHARED)]):
        with refused(ErrorCode.VALIDATION_ERROR, "From 1 to 1"):
            publish_releases(releases=releases, principal=SOMEBODY)


# --- Experts ------------------------------------------------------------------------------------------------------


def test_a_chapter_whose_experts_have_no_published_release_is_refused(chapter: Chapter) -> None:
    release, expert = draft(chapter_scope(chapter), experts=("alpha",)), draft(("experts", "alpha"))

    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "no published release: alpha"):
        publish_releases(releases=[release], principal=SOMEBODY)

    publish(expert)
    withdraw(expert)
    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        publish_releases(releases=[release], principal=SOMEBODY)
    publish(expert)
    publish(release)
    assert release.state == "published"


def test_a_chapter_and_its_experts_are_published_together(chapter: Chapter) -> None:
    publish(draft(chapter_scope(chapter), experts=("alpha",)), draft(("experts", "alpha")))

    assert set(states().values()) == {"published"}


def test_an_expert_whose_time_comes_later_is_no_expert_yet(chapter: Chapter) -> None:
    tomorrow = timezone.now() + timedelta(days=1)
    published(("experts", "alpha"), publish_at=tomorrow)
    release = draft(chapter_scope(chapter), experts=("alpha",))

    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "alpha"):
        publish_releases(releases=[release], principal=SOMEBODY)

    publish_releases(releases=[release], principal=SOMEBODY, terms=Terms(publish_at=tomorrow))


def test_an_expert_that_fewer_devices_get_is_told(chapter: Chapter) -> None:
    published(("experts", "alpha"), rollout_basis_points=100)
    release = draft(chapter_scope(chapter), experts=("alpha",))

    act = publish_releases(releases=[release], principal=SOMEBODY)

    told = f"The expert alpha is not offered to every device that gets {release}: "
    assert act.notices == [f"{told}widen it to 100 %, or publish both in one act."]


def test_a_withdrawal_names_what_needs_the_expert(chapter: Chapter) -> None:
    expert = published(("experts", "alpha"))
    release = draft(chapter_scope(chapter), experts=("alpha",))
    publish(release)

    act = withdraw_releases(releases=[expert], principal=SOMEBODY)

    assert act.notices == [
        "Nothing of experts/alpha is offered to all devices any more: those that have it keep it, and new ones may get "
        "none.",
        f"{release} needs alpha, of which no release is published any more.",
    ]


# --- What staff are told ------------------------------------------------------------------------------------------


def test_a_lower_version_is_named_a_roll_back() -> None:
    published(APP, "1.10.0")

    act = publish_releases(releases=[draft(APP, "1.9.0")], principal=SOMEBODY)

    assert act.notices == ["Roll-back: app_agents/core 1.9.0 takes the place of 1.10.0."]
    assert publish_releases(releases=[draft(APP, "1.9.1")], principal=SOMEBODY).notices == []


def test_a_minimum_says_how_many_devices_report_a_version(learner: Actor, fellow: Actor) -> None:
    long_ago = timezone.now() - timedelta(days=limits.ACTIVE_DEVICE_DAYS + 1)
    DeviceSession.objects.filter(pk=learner.session.pk).update(desktop_version="0.3.0")
    others: dict[str, dict[str, Any]] = {
        "idle": {"created_at": long_ago, "desktop_version": "0.3.0"},
        "revoked": {"revoked_at": timezone.now(), "desktop_version": "0.3.0"},
        "refreshed": {"created_at": long_ago, "last_refreshed_at": timezone.now()},
    }
    for name, fields in others.items():
        DeviceSession.objects.filter(pk=make_actor(name).session.pk).update(**fields)

    act = publish_releases(releases=[draft(APP, min_desktop_version="0.3.0")], principal=SOMEBODY)

    assert act.notices == [
        "Minimum desktop version: 1 of the 3 devices that were active in the last 30 days report a desktop version; "
        "the others count as new enough."
    ]


def test_a_strict_minimum_says_who_is_left_out(learner: Actor) -> None:
    release = draft(APP, min_sidecar_version="0.3.0", strict_versions=True)

    (notice,) = publish_releases(releases=[release], principal=SOMEBODY).notices

    assert notice.startswith("Minimum sidecar version: 0 of the 1 devices")
    assert notice.endswith("the others don't get it.")


def test_a_roll_back_is_measured_by_what_all_devices_have() -> None:
    published(APP, "2.0.0")
    published(APP, "5.0.0", rollout_basis_points=100)

    assert publish_releases(releases=[draft(APP, "3.0.0")], principal=SOMEBODY).notices == []
    for_testers = publish_releases(releases=[draft(APP, "1.0.0")], principal=SOMEBODY, terms=Terms(0))
    assert for_testers.notices == []
    (notice,) = publish_releases(releases=[draft(APP, "1.1.0")], principal=SOMEBODY, terms=Terms(500)).notices
    assert notice == "Roll-back: app_agents/core 1.1.0 takes the place of 3.0.0."


def test_a_scheduled_release_says_so() -> None:
    at = datetime(2100, 1, 1, 6, tzinfo=UTC)

    act = publish_releases(releases=[draft(APP)], principal=SOMEBODY, terms=Terms(publish_at=at))

    assert act.notices == ["Scheduled: no device is offered it before 2100-01-01 06:00 UTC."]


def test_widening_past_the_experts_is_told(chapter: Chapter) -> None:
    published(("experts", "alpha"), rollout_basis_points=1_000)
    release = draft(chapter_scope(chapter), experts=("alpha",))
    publish_releases(releases=[release], principal=SOMEBODY, terms=Terms(0))
    release.refresh_from_db()

    (notice,) = widen_rollout(releases=[release], principal=SOMEBODY, rollout_basis_points=1_000).notices

    assert "alpha" in notice


# --- Widening and withdrawing -------------------------------------------------------------------------------------


def test_released_together_widened_together() -> None:
    first, second, other = draft(APP), draft(SHARED), draft(("experts", "alpha"))
    publish_releases(releases=[first, second], principal=SOMEBODY, terms=Terms(1_000))
    publish_releases(releases=[other], principal=SOMEBODY, terms=Terms(1_000))
    first.refresh_from_db()

    act = widen_rollout(releases=[first], principal=SOMEBODY, rollout_basis_points=5_000)

    assert {str(release) for release in act.releases} == {str(first), str(second)}
    assert set(BundleRelease.objects.values_list("scope_id", "rollout_basis_points")) == {
        ("core", 5_000),
        ("shared", 5_000),
        ("alpha", 1_000),
    }


def test_a_rollout_is_never_narrowed_and_the_same_again_changes_nothing() -> None:
    release = published(APP, rollout_basis_points=1_000)

    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "10 % already"):
        widen_rollout(releases=[release], principal=SOMEBODY, rollout_basis_points=999)
    events = release.events.count()
    widen(release, 1_000)

    assert release.rollout_basis_points == 1_000
    assert release.events.count() == events


@pytest.mark.parametrize("points", [-1, 10_001])
def test_a_rollout_is_from_0_to_100_percent(points: int) -> None:
    with refused(ErrorCode.VALIDATION_ERROR):
        widen_rollout(
            releases=[published(APP, rollout_basis_points=0)], principal=SOMEBODY, rollout_basis_points=points
        )


def test_only_what_is_published_is_widened_or_withdrawn() -> None:
    release, gone = draft(APP), published(SHARED)
    withdraw(gone)
    for unpublished in (release, gone):
        with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
            widen_rollout(releases=[unpublished], principal=SOMEBODY, rollout_basis_points=10_000)
        with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
            withdraw_releases(releases=[unpublished], principal=SOMEBODY)


def test_published_together_withdrawn_together_unless_asked_otherwise() -> None:
    first, second, third = draft(APP), draft(SHARED), draft(("experts", "alpha"))
    publish(first, second, third)

    alone = withdraw_releases(releases=[third], principal=SOMEBODY, together=False)
    assert [str(release) for release in alone.releases] == ["experts/alpha 1.0.0"]
    act = withdraw_releases(releases=[first], principal=SOMEBODY)

    assert {str(release) for release in act.releases} == {str(first), str(second)}
    assert set(states().values()) == {"withdrawn"}


def test_a_pipeline_may_ask_twice_but_does_not_bring_back_what_was_withdrawn() -> None:
    release = draft(APP)
    act = ensure_published(release=release, principal=SOMEBODY, terms=Terms(500))
    again = ensure_published(release=act.releases[0], principal=SOMEBODY, terms=Terms(900))
    assert again.releases[0].rollout_basis_points == 500

    withdraw(again.releases[0])

    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "was withdrawn"):
        ensure_published(release=again.releases[0], principal=SOMEBODY)


# --- Moving a time --------------------------------------------------------------------------------------------------


def in_days(days: int) -> datetime:
    return (timezone.now() + timedelta(days=days)).replace(microsecond=0)


def test_a_time_is_moved_earlier_and_later_and_the_same_again_changes_nothing() -> None:
    release = published(APP, publish_at=in_days(2))
    for at in (in_days(1), in_days(3)):
        reschedule_releases(releases=[release], principal=SOMEBODY, publish_at=at)
        release.refresh_from_db()
        assert release.publish_at == at
    events = release.events.count()

    reschedule_releases(releases=[release], principal=SOMEBODY, publish_at=at)

    assert release.events.count() == events


def test_a_time_that_is_over_is_refused_by_the_service_too() -> None:
    release = published(APP, publish_at=in_days(2))

    with refused(ErrorCode.VALIDATION_ERROR, "publish_at: This time is over."):
        reschedule_releases(releases=[release], principal=SOMEBODY, publish_at=timezone.now())


def test_only_a_time_that_is_yet_to_come_is_moved() -> None:
    at_once, drafted, gone = published(APP), draft(SHARED, publish_at=in_days(2)), published(("experts", "alpha"))
    withdraw(gone)

    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "was published without one"):
        reschedule_releases(releases=[at_once], principal=SOMEBODY, publish_at=in_days(1))
    for release in (drafted, gone):
        with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "only a scheduled release has one"):
            reschedule_releases(releases=[release], principal=SOMEBODY, publish_at=in_days(1))


def test_a_chapter_is_not_moved_before_its_expert(chapter: Chapter) -> None:
    published(("experts", "alpha"), publish_at=in_days(2))
    release = draft(chapter_scope(chapter), experts=("alpha",))
    publish_releases(releases=[release], principal=SOMEBODY, terms=Terms(publish_at=in_days(3)))
    release.refresh_from_db()

    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "no published release: alpha"):
        reschedule_releases(releases=[release], principal=SOMEBODY, publish_at=in_days(1))
    reschedule_releases(releases=[release], principal=SOMEBODY, publish_at=in_days(4))


def test_a_chapter_and_its_expert_that_were_published_together_are_moved_together(chapter: Chapter) -> None:
    release, expert = draft(chapter_scope(chapter), experts=("alpha",)), draft(("experts", "alpha"))
    publish_releases(releases=[release, expert], principal=SOMEBODY, terms=Terms(publish_at=in_days(2)))
    release.refresh_from_db()

    act = reschedule_releases(releases=[release], principal=SOMEBODY, publish_at=in_days(1))

    assert {str(moved) for moved in act.releases} == {str(release), str(expert)}
    assert [str(notice).partition(":")[0] for notice in act.notices] == ["Scheduled"]


def test_an_expert_that_is_moved_behind_what_needs_it_is_told(chapter: Chapter) -> None:
    expert = published(("experts", "alpha"), publish_at=in_days(1))
    release = draft(chapter_scope(chapter), experts=("alpha",))
    publish_releases(releases=[release], principal=SOMEBODY, terms=Terms(publish_at=in_days(2)))

    act = reschedule_releases(releases=[expert], principal=SOMEBODY, publish_at=in_days(3))

    assert f"{release} needs alpha, and is offered before that." in act.notices


@pytest.mark.django_db(transaction=True)
def test_of_two_who_move_a_time_at_the_same_moment_one_wins() -> None:
    release = published(APP, publish_at=in_days(2))
    one, two = seen(release), seen(release)

    ended = outcomes(
        lambda: reschedule_releases(releases=one, principal=SOMEBODY, publish_at=in_days(3)),
        lambda: reschedule_releases(releases=two, principal=SOMEBODY, publish_at=in_days(4)),
    )

    assert sorted(ended) == ["BUNDLE_RELEASE_CONFLICT", "done"]
    assert release.events.filter(action="rescheduled", refusal="").count() == 1


@pytest.mark.django_db(transaction=True)
def test_what_is_withdrawn_while_its_time_is_moved_stays_withdrawn() -> None:
    for number in range(5):
        release = published(APP, f"1.0.{number}", publish_at=in_days(2))
        one, two = seen(release), seen(release)

        ended = outcomes(
            lambda: reschedule_releases(releases=one, principal=SOMEBODY, publish_at=in_days(3)),  # noqa: B023
            lambda: withdraw_releases(releases=two, principal=SOMEBODY),  # noqa: B023
        )

        release.refresh_from_db()
        assert ended[1] == "done"
        assert release.state == "withdrawn"
        assert (release.publish_at == two[0].publish_at) == (ended[0] == "BUNDLE_RELEASE_CONFLICT")


# --- At the same moment -------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_many_publications_of_one_release_one_wins() -> None:
    release = draft(APP)

    ended = outcomes(*[lambda: publish_releases(releases=[release], principal=SOMEBODY)] * 6)

    assert sorted(ended) == ["BUNDLE_RELEASE_CONFLICT"] * 5 + ["done"]


def seen(*releases: BundleRelease) -> list[BundleRelease]:
    """The releases as somebody sees them on a page of now."""
    return [BundleRelease.objects.get(pk=release.pk) for release in releases]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("state", ["draft", "published", "withdrawn"])
def test_of_publishing_and_withdrawing_at_the_same_moment_one_wins(state: str) -> None:
    release = draft(APP)
    for _ in range(5):
        if state == "draft":
            release = draft(APP, f"1.0.{_}")
        elif release.state != "published":
            publish(release)
        if state == "withdrawn":
            withdraw(release)
        one, two = seen(release), seen(release)
        release.events.all().delete()

        ended = outcomes(
            lambda: publish_releases(releases=one, principal=SOMEBODY),  # noqa: B023
            lambda: withdraw_releases(releases=two, principal=SOMEBODY),  # noqa: B023
        )

        assert sorted(ended) == ["BUNDLE_RELEASE_CONFLICT", "done"]
        release.refresh_from_db()
        assert release.state == ("withdrawn" if state == "published" else "published")
        assert {(event.action, bool(event.refusal)) for event in release.events.all()} == (
            {("published", True), ("withdrawn", False)}
            if state == "published"
            else {("published", False), ("withdrawn", True)}
        )


@pytest.mark.django_db(transaction=True)
def test_acts_on_many_releases_in_any_order_never_wait_for_each_other() -> None:
    releases = [published(("experts", f"expert{number}")) for number in range(4)]
    for _ in range(5):
        page = seen(*releases)
        ended = outcomes(
            lambda: withdraw_releases(releases=page, principal=SOMEBODY),  # noqa: B023
            lambda: withdraw_releases(releases=page[::-1], principal=SOMEBODY),  # noqa: B023
            *(lambda release=release: withdraw_releases(releases=[release], principal=SOMEBODY) for release in page),
        )
        assert set(ended) <= {"done", "BUNDLE_RELEASE_CONFLICT"}
        assert not BundleRelease.objects.filter(state="published").exists()
        page = seen(*releases)
        ended = outcomes(
            lambda: publish_releases(releases=page, principal=SOMEBODY),  # noqa: B023
            lambda: publish_releases(releases=page[::-1], principal=SOMEBODY),  # noqa: B023
        )
        assert sorted(ended) == ["BUNDLE_RELEASE_CONFLICT", "done"]


@pytest.mark.django_db(transaction=True)
def test_a_person_who_is_deleted_and_a_publication_never_wait_for_each_other() -> None:
    for number in range(6):
        maker = make_actor(f"maker{number}", is_staff=True, is_superuser=True)
        maker.user.groups.add(Group.objects.get_or_create(name="Some")[0])
        release = draft(APP, f"1.0.{number}")
        BundleRelease.objects.filter(pk=release.pk).update(created_by=maker.user)

        ended = outcomes(
            lambda: publish_releases(releases=[release], principal=SOMEBODY),  # noqa: B023
            lambda: maker.user.delete(),  # noqa: B023
        )

        assert ended == ["done", "done"]


@pytest.mark.django_db(transaction=True)
def test_an_expert_can_not_be_withdrawn_under_a_chapter_that_is_being_published(chapter: Chapter) -> None:
    """Whichever comes first: the chapter is refused, or the withdrawal is told of it."""
    for number in range(5):
        expert = published(("experts", "alpha"), f"1.0.{number}")
        release = draft(chapter_scope(chapter), f"1.0.{number}", experts=("alpha",))
        told: list[Any] = []

        def take_expert(expert: BundleRelease = expert, told: list[Any] = told) -> None:
            told.append(withdraw_releases(releases=[expert], principal=SOMEBODY).notices)

        ended = outcomes(lambda: publish_releases(releases=[release], principal=SOMEBODY), take_expert)  # noqa: B023

        assert ended[1] == "done"
        assert (ended[0] == "done") == any("needs alpha" in notice for notice in told[0])
        withdraw(*BundleRelease.objects.filter(state="published"))
