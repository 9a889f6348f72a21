"""The database of `bench.admin` fits the tables, and every page that it measures is there."""

import pytest
from django.test import Client

from accounts.models import DeviceSession, User
from bench.admin import list_targets
from bench.admin_database import STATEMENTS, Sizes, fill
from courses.models import Chapter
from telemetry.models import ChapterProgress
from updates.models import BundleRelease, DeviceBundle, ReleaseEvent

pytestmark = pytest.mark.django_db


def test_a_small_one_is_made_and_every_page_answers() -> None:
    sizes = Sizes.at(0)
    fill(sizes, quiet=True)
    assert User.objects.count() == DeviceSession.objects.count() == sizes.users
    assert Chapter.objects.count() == sizes.chapters
    assert BundleRelease.objects.count() == sizes.releases
    assert ReleaseEvent.objects.count() == sizes.events
    assert ChapterProgress.objects.count() == sizes.progress
    assert DeviceBundle.objects.filter(bundle_type="app_agents").count() == sizes.users
    assert set(BundleRelease.objects.values_list("state", flat=True)) == {"draft", "published", "withdrawn"}

    boss = User.objects.get(email="bench@example.com")
    client = Client()
    client.force_login(boss)
    # Nothing is so small that it has a hundredth page.
    targets = [target for target in list_targets(boss) if "p=100" not in target.url]
    answers = {target.name: client.get(target.url).status_code for target in targets}
    assert {name: status for name, status in answers.items() if status != 200} == {}
    assert len(answers) == len(targets) > len(STATEMENTS)


def test_the_whole_has_the_size_that_the_admin_has_to_bear() -> None:
    whole = Sizes.at(1)
    assert (whole.users, whole.courses, whole.chapters, whole.releases) == (1_000_000, 1_000, 20_000, 50_000)
