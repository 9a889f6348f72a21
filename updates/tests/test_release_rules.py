"""What the database itself refuses of releases, whoever asks."""

from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, transaction

from courses.models import Chapter
from updates.models import BundleRelease
from updates.tests.shelf import APP, chapter_scope, draft, published, withdraw

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "change",
    [{"sha256": "b" * 64}, {"size_bytes": 1}, {"version": "1.0.1"}, {"scope_id": "other"}, {"bundle_type": "experts"}],
)
@pytest.mark.parametrize("withdrawn", [False, True])
def test_the_bytes_of_a_published_version_never_change(change: dict[str, Any], withdrawn: bool) -> None:
    release = published(APP)
    if withdrawn:
        withdraw(release)

    with pytest.raises(IntegrityError, match="can not change"), transaction.atomic():
        BundleRelease.objects.filter(pk=release.pk).update(**change)

    with pytest.raises(IntegrityError, match="can not be deleted"), transaction.atomic():
        BundleRelease.objects.filter(pk=release.pk).delete()
    with pytest.raises(IntegrityError, match="can not change"), transaction.atomic():
        BundleRelease.objects.filter(pk=release.pk).update(first_published_at=None)


def test_a_draft_may_be_changed_and_deleted() -> None:
    release = draft(APP)

    assert BundleRelease.objects.filter(pk=release.pk).update(size_bytes=1) == 1
    assert BundleRelease.objects.filter(pk=release.pk).delete()[0] == 1


def test_a_chapter_with_releases_can_not_be_deleted(chapter: Chapter) -> None:
    draft(chapter_scope(chapter))

    with pytest.raises(DatabaseError), transaction.atomic():
        chapter.delete()
