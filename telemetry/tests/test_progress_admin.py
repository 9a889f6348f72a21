"""Progress in the admin."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from courses.models import Chapter
from telemetry import admin
from telemetry.models import ChapterProgress
from tests.cast import Actor, make_actor

LIST = "/admin/telemetry/chapterprogress/"


@pytest.fixture
def progress(learner: Actor, chapter: Chapter) -> ChapterProgress:
    return ChapterProgress.objects.create(
        user=learner.user,
        chapter=chapter,
        status=ChapterProgress.Status.IN_PROGRESS,
        task_snapshot={"tasks": ["only on the page of one row"]},
    )


def rows_of(page: Any) -> list[ChapterProgress]:
    return list(page.context["cl"].result_list)


def test_list(admin_page: Client, progress: ChapterProgress) -> None:
    page = admin_page.get(LIST)
    assert page.status_code == 200
    for text in ("learner@example.com", "TST100", "ch1_intro", "IN_PROGRESS"):
        assert text in page.content.decode()
    assert "only on the page" not in page.content.decode()


def test_search(admin_page: Client, progress: ChapterProgress, fellow: Actor) -> None:
    other = ChapterProgress.objects.create(
        user=fellow.user, chapter=progress.chapter, status=ChapterProgress.Status.COMPLETED
    )
    assert rows_of(admin_page.get(LIST, {"q": "learner@EXAMPLE"})) == [progress]
    assert rows_of(admin_page.get(LIST, {"q": "tst100"})) == [other, progress]
    assert rows_of(admin_page.get(LIST, {"q": "nobody"})) == []
    assert rows_of(admin_page.get(LIST, {"status__exact": "20"})) == [other]


def test_list_costs_the_same_for_any_number_of_rows(
    admin_page: Client, progress: ChapterProgress, django_assert_max_num_queries: Any
) -> None:
    for number in range(20):
        ChapterProgress.objects.create(
            user=make_actor(f"learner{number}").user, chapter=progress.chapter, status=ChapterProgress.Status.COMPLETED
        )
    with django_assert_max_num_queries(5) as queries:
        page = admin_page.get(LIST)
    assert len(rows_of(page)) == 21
    assert not any("task_snapshot" in query["sql"] for query in queries.captured_queries)
    counts = [query["sql"] for query in queries.captured_queries if "COUNT" in query["sql"]]
    assert counts
    assert all(f"LIMIT {admin._COUNTED_MAX_ROWS}" in sql for sql in counts)


def test_paging_ends_at_the_bound(
    admin_page: Client, progress: ChapterProgress, fellow: Actor, outsider: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for actor in (fellow, outsider):
        ChapterProgress.objects.create(user=actor.user, chapter=progress.chapter, status=10)
    monkeypatch.setattr(admin, "_COUNTED_MAX_ROWS", 2)
    monkeypatch.setattr(admin.ChapterProgressAdmin, "list_per_page", 1)
    monkeypatch.setattr(admin.ChapterProgressAdmin, "list_max_show_all", 1)
    assert rows_of(admin_page.get(LIST, {"p": "2"}))[0].user == fellow.user
    assert admin_page.get(LIST, {"p": "3"}).status_code == 302


def test_one_row_is_shown_and_not_to_be_changed(admin_page: Client, progress: ChapterProgress) -> None:
    url = f"{LIST}{progress.pk}/change/"
    page = admin_page.get(url)
    assert "only on the page of one row" in page.content.decode()
    assert 'name="_save"' not in page.content.decode()
    assert admin_page.post(url, {"status": "20"}).status_code == 403
    progress.refresh_from_db()
    assert progress.status == ChapterProgress.Status.IN_PROGRESS


def test_none_is_added(admin_page: Client) -> None:
    assert admin_page.get(f"{LIST}add/").status_code == 403


def test_deletion_is_logged(admin_page: Client, progress: ChapterProgress) -> None:
    admin_page.post(f"{LIST}{progress.pk}/delete/", {"post": "yes"})
    assert not ChapterProgress.objects.exists()
    assert LogEntry.objects.get().object_id == str(progress.pk)


def test_learner_with_progress_can_be_deleted(admin_page: Client, progress: ChapterProgress) -> None:
    page = admin_page.get(f"/admin/accounts/user/{progress.user_id}/delete/")
    assert 'type="submit"' in page.content.decode()


def test_learners_are_kept_out(learner: Actor) -> None:
    client = Client()
    client.force_login(learner.user)
    assert client.get(LIST).status_code == 302
