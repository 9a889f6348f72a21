"""The page before withdrawing: it says in one sentence what becomes of the devices that have the release."""

from datetime import UTC, datetime

import pytest
from django.test import Client

from courses.models import Chapter
from updates.models import BundleRelease
from updates.tests.shelf import APP, SHARED, chapter_scope, draft, publish, published, withdraw
from updates.tests.test_release_admin import choose, confirm, plain, told
from updates.tests.test_release_pages import learners

SOON = datetime(2099, 1, 2, 3, 4, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def consequence(page: Client, release: BundleRelease, action: str = "withdraw") -> str:
    """Return the one sentence in which the page before an act says what it does, and no other says anything else."""
    shown = choose(page, action, release)
    (found,) = [item.outlook.consequence for item in shown.context["chosen"]]
    told = plain(shown).partition("Chosen")[0]
    assert told.count(found) == 1
    assert "will be offered it yet" not in told
    return str(found)


def test_the_page_before_withdrawing_names_what_devices_go_back_to(admin_page: Client) -> None:
    oldest, staged = published(APP, "1.0.0"), published(APP, "1.1.0", rollout_basis_points=5_000)
    last, companion = draft(APP, "2.0.0"), draft(SHARED)
    publish(last, companion)

    text = plain(choose(admin_page, "withdraw", last))

    assert "App agents 2.0.0 Devices that have it go back to 1.1.0 or 1.0.0 at their next check." in text
    nothing_left = "Devices that have it keep it, and others are offered none: there is no other release."
    assert f"Shared experts 1.0.0 {nothing_left}" in text
    for superseded in (staged, oldest):
        expected = "Nothing changes for devices: they are offered 2.0.0, which was published after it."
        assert consequence(admin_page, superseded) == expected


@pytest.mark.parametrize("devices", [0, 4])
def test_withdrawing_a_rollout_concerns_its_part_only(admin_page: Client, chapter: Chapter, devices: int) -> None:
    published(chapter_scope(chapter), "1.0.0")
    release = published(chapter_scope(chapter), "2.0.0", rollout_basis_points=2_500)
    learners(chapter.course, devices)

    expected = "Devices in its rollout (25 %) go back to 1.0.0 at their next check; nothing changes for the others."
    assert consequence(admin_page, release) == expected
    text = plain(choose(admin_page, "withdraw", release))
    of_now = "About 1 of 4 devices are" if devices else "No device is"
    assert f"{of_now} offered it now" in text


def test_withdrawing_what_all_have_where_only_a_rollout_is_left(admin_page: Client) -> None:
    published(APP, "1.0.0", rollout_basis_points=2_500)

    expected = "Devices that have it go back to 1.0.0 if they are in its rollout, and else keep it: no other release"
    assert consequence(admin_page, published(APP, "2.0.0")).startswith(expected)


def test_what_a_later_release_with_a_minimum_leaves_over_is_still_offered(admin_page: Client) -> None:
    published(APP, "1.0.0")
    release = published(APP, "2.0.0")
    published(APP, "3.0.0", min_desktop_version="9.0.0")

    assert consequence(admin_page, release) == "Devices that have it go back to 1.0.0 at their next check."


def test_withdrawing_what_is_switched_off_changes_nothing(admin_page: Client, chapter: Chapter) -> None:
    release = published(chapter_scope(chapter))
    Chapter.objects.filter(pk=chapter.pk).update(is_active=False)

    expected = "Nothing changes for devices: its chapter or course is switched off."
    assert consequence(admin_page, release) == expected


def test_nothing_goes_back_from_what_is_only_scheduled(admin_page: Client) -> None:
    published(APP, "1.0.0")
    release = published(APP, "2.0.0", publish_at=SOON)

    expected = "It will not be offered at 2099-01-02 03:04 UTC; nothing changes for devices."
    assert consequence(admin_page, release) == expected
    assert "Devices that have it" not in plain(choose(admin_page, "withdraw", release))

    done = told(confirm(admin_page, "withdraw", release))
    assert "was withdrawn before its time, 2099-01-02 03:04 UTC: nothing changes for devices." in done


def test_the_only_release_of_a_scope_leaves_nothing_behind_when_it_was_only_scheduled(admin_page: Client) -> None:
    done = told(confirm(admin_page, "withdraw", published(APP, publish_at=SOON)))

    assert "to all devices any more" not in done


def test_what_is_left_is_not_what_is_withdrawn_or_only_scheduled(admin_page: Client) -> None:
    published(APP, "0.9.0")
    withdraw(published(APP, "1.0.0"))
    release = published(APP, "2.0.0")
    published(APP, "3.0.0", publish_at=SOON)

    assert consequence(admin_page, release) == "Devices that have it go back to 0.9.0 at their next check."
