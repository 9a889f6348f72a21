"""Progress in the admin."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client

from config import limits
from courses.models import Chapter, Course, Enrollment
from telemetry import admin
from telemetry.models import ChapterProgress
from tests.cast import Actor, make_actor

LIST = "/admin/telemetry/chapterprogress/"
SET = f"{LIST}set/"


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
    for text in ("learner@example.com", "TST100", "ch1_intro", "In progress", "Locked", "1 progress entry"):
        assert re.search(rf"\b{re.escape(text)}\b", " ".join(page.content.decode().split())), text
    assert "IN_PROGRESS" not in page.content.decode(), "a word of the API"
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
    assert all(f"LIMIT {limits.ADMIN_LIST_COUNTED_MAX_ROWS}" in sql for sql in counts)


def test_paging_ends_at_the_bound(
    admin_page: Client, progress: ChapterProgress, fellow: Actor, outsider: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for actor in (fellow, outsider):
        ChapterProgress.objects.create(user=actor.user, chapter=progress.chapter, status=10)
    monkeypatch.setattr(limits, "ADMIN_LIST_COUNTED_MAX_ROWS", 2)
    monkeypatch.setattr(admin.ChapterProgressAdmin, "list_per_page", 1)
    monkeypatch.setattr(admin.ChapterProgressAdmin, "list_max_show_all", 1)
    assert rows_of(admin_page.get(LIST, {"p": "2"}))[0].user == fellow.user
    assert admin_page.get(LIST, {"p": "3"}).status_code == 302


def test_one_row_is_shown_and_not_to_be_changed(admin_page: Client, progress: ChapterProgress) -> None:
    url = f"{LIST}{progress.pk}/change/"
    page = admin_page.get(url)
    assert "only on the page of one row" in page.content.decode()
    assert 'name="_save"' not in page.content.decode()
    assert "In progress" in page.content.decode()
    assert "IN_PROGRESS" not in page.content.decode()
    assert admin_page.post(url, {"status": "20"}).status_code == 403
    progress.refresh_from_db()
    assert progress.status == ChapterProgress.Status.IN_PROGRESS


@pytest.mark.parametrize("nothing", [None, {}, []])
def test_an_empty_task_snapshot_is_a_dash(admin_page: Client, progress: ChapterProgress, nothing: Any) -> None:
    ChapterProgress.objects.update(task_snapshot=nothing)
    page = " ".join(admin_page.get(f"{LIST}{progress.pk}/change/").content.decode().split())
    shown = page[page.index("Task snapshot") :].split("</form>")[0]
    assert re.search(r">\s*-\s*<", shown)
    for text in ("null", "{}", "[]"):
        assert f">{text}<" not in shown.replace(" ", "")


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


# --- Setting progress -------------------------------------------------------------------------------------------


def act_on(page: Client, action: str, *rows: ChapterProgress, **fields: Any) -> Any:
    return page.post(LIST, {"action": action, "_selected_action": [row.pk for row in rows], **fields})


def asked(chapter: Chapter, act: str = "complete", learner: Actor | None = None, **fields: Any) -> dict[str, Any]:
    return {"act": act, "chapter": str(chapter.pk), "learner": str(learner.user.pk) if learner else "", **fields}


def said(page: Any) -> list[str]:
    return [str(message) for message in page.context["messages"]]


def hidden_fields(page: Any) -> list[tuple[str, str]]:
    return [*page.context["hidden"], ("confirmed", "yes")]


def rights(actor: Actor, *codenames: str) -> Client:
    """A browser of somebody on the staff who may do just this."""
    actor.user.is_staff = True
    actor.user.save(update_fields=["is_staff"])
    actor.user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(actor.user)
    return client


def test_chosen_rows_are_completed_when_it_was_confirmed(
    admin_page: Client, progress: ChapterProgress, fellow: Actor
) -> None:
    other = ChapterProgress.objects.create(user=fellow.user, chapter=progress.chapter, status=20)
    page = act_on(admin_page, "complete", progress, other)
    assert "1 learner of TST100 will have ch1_intro completed." in page.content.decode()
    progress.refresh_from_db()
    assert progress.status == 10
    fields: dict[str, Any] = {}
    for name, value in hidden_fields(page):
        fields.setdefault(name, []).append(value)
    done = admin_page.post(LIST, fields, follow=True)
    assert said(done) == ["Complete ch1_intro: changed for 1 learner of TST100."]
    progress.refresh_from_db()
    assert progress.status == 20


def test_chosen_rows_of_several_chapters(admin_page: Client, progress: ChapterProgress, course: Course) -> None:
    second = ChapterProgress.objects.create(user=progress.user, chapter=course.chapters.all()[1], status=20)
    page = act_on(admin_page, "reset", progress, second)
    assert [sentence.split(":")[0] for sentence in page.context["consequences"]] == [
        "1 learner of TST100 will lose their progress in ch1_intro",
        "1 learner of TST100 will lose their progress in ch2_more",
    ]
    act_on(admin_page, "reset", progress, second, confirmed="yes")
    assert not ChapterProgress.objects.exists()


def test_what_was_done_to_rows_leads_back_to_the_list_with_its_filters(
    admin_page: Client, progress: ChapterProgress
) -> None:
    filtered = f"{LIST}?status__exact=10"
    fields = {"action": "unlock", "_selected_action": [progress.pk]}
    assert admin_page.post(filtered, fields).context["cancel_url"] == filtered
    assert admin_page.post(filtered, {**fields, "confirmed": "yes"})["Location"] == filtered


def test_progress_has_one_name(admin_page: Client, progress: ChapterProgress) -> None:
    page = admin_page.get(LIST).content.decode()
    assert "Progress entries" in page
    assert "hapter progress" not in page


def test_unlock_chosen_rows(admin_page: Client, progress: ChapterProgress) -> None:
    ChapterProgress.objects.update(status=0)
    assert "1 learner of TST100 will have ch1_intro open." in act_on(admin_page, "unlock", progress).content.decode()
    act_on(admin_page, "unlock", progress, confirmed="yes")
    progress.refresh_from_db()
    assert progress.status == 10


def test_only_so_many_rows_at_once(
    admin_page: Client, progress: ChapterProgress, fellow: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PROGRESS_ROWS_PER_ACT_MAX", 1)
    other = ChapterProgress.objects.create(user=fellow.user, chapter=progress.chapter, status=10)
    page = admin_page.post(
        LIST, {"action": "reset", "_selected_action": [progress.pk, other.pk], "confirmed": "yes"}, follow=True
    )
    assert said(page)[0].startswith("At most 1 can be changed together.")
    assert ChapterProgress.objects.count() == 2


def test_rows_can_not_be_deleted_in_bulk(admin_page: Client, progress: ChapterProgress) -> None:
    act_on(admin_page, "delete_selected", progress, post="yes")
    assert ChapterProgress.objects.exists()


def test_the_page_for_a_whole_course(admin_page: Client, learner: Actor, fellow: Actor, course: Course) -> None:
    Course.objects.update(progression="sequential")
    chapter = course.chapters.all()[0]
    assert SET in admin_page.get(LIST).content.decode()
    form = admin_page.get(SET).content.decode()
    assert form.count("data-ajax--url") == 2
    assert "fellow@example.com" not in form
    page = admin_page.post(SET, asked(chapter))
    assert page.context["consequences"] == [
        "2 learners of TST100 will have ch1_intro completed; ch2_more opens for them."
    ]
    assert not ChapterProgress.objects.exists()
    done = admin_page.post(SET, dict(hidden_fields(page)), follow=True)
    assert said(done) == ["Complete ch1_intro: changed for 2 learners of TST100."]
    assert set(ChapterProgress.objects.values_list("status", flat=True)) == {20}
    chapters = learner.get(f"/v1/courses/{course.pk}/chapters").json()["chapters"]
    assert [chapter["status"] for chapter in chapters] == ["COMPLETED", "IN_PROGRESS"]


def test_the_page_for_one_learner(admin_page: Client, learner: Actor, fellow: Actor, chapter: Chapter) -> None:
    page = admin_page.post(SET, asked(chapter, "unlock", learner))
    assert page.context["consequences"] == ["1 learner of TST100 will have ch1_intro open."]
    admin_page.post(SET, dict(hidden_fields(page)))
    assert ChapterProgress.objects.get().user == learner.user
    page = admin_page.post(SET, asked(chapter, "reset", learner, confirmed="yes"), follow=True)
    assert not ChapterProgress.objects.exists()


def test_resetting_says_what_it_locks(admin_page: Client, progress: ChapterProgress, course: Course) -> None:
    Course.objects.update(progression="sequential")
    page = admin_page.post(SET, asked(progress.chapter, "reset"))
    assert page.context["consequences"] == [
        "1 learner of TST100 will lose their progress in ch1_intro: the next report of a device starts anew."
        " Those who have not begun ch2_more find it locked."
    ]


def test_the_page_refuses_who_is_not_in_the_course(
    admin_page: Client, learner: Actor, outsider: Actor, chapter: Chapter
) -> None:
    page = admin_page.post(SET, asked(chapter, "complete", outsider, confirmed="yes"))
    assert "outsider@example.com is not in TST100." in page.content.decode()
    Enrollment.objects.update(removed_at="2026-01-01T00:00:00Z")
    assert "is not in TST100" in admin_page.post(SET, asked(chapter, "complete", learner)).content.decode()
    assert not ChapterProgress.objects.exists()


@pytest.mark.parametrize(
    "change", [{"act": "delete"}, {"act": ""}, {"chapter": ""}, {"chapter": "x"}, {"learner": "x"}]
)
def test_the_page_refuses_nonsense(
    admin_page: Client, learner: Actor, chapter: Chapter, change: dict[str, str]
) -> None:
    page = admin_page.post(SET, asked(chapter, confirmed="yes") | change)
    assert page.status_code == 200
    assert "Nothing was done." in page.content.decode()
    assert not ChapterProgress.objects.exists()


def test_who_may_set_progress(progress: ChapterProgress, outsider: Actor, learner: Actor) -> None:
    viewer = rights(outsider, "view_chapterprogress", "delete_chapterprogress")
    assert viewer.get(SET).status_code == 403
    assert viewer.post(SET, asked(progress.chapter, confirmed="yes")).status_code == 403
    assert SET not in viewer.get(LIST).content.decode()
    act_on(viewer, "complete", progress, confirmed="yes")
    progress.refresh_from_db()
    assert progress.status == 10
    teacher = rights(outsider, "change_chapterprogress")
    assert SET in teacher.get(LIST).content.decode()
    teacher.post(SET, asked(progress.chapter, confirmed="yes"))
    progress.refresh_from_db()
    assert progress.status == 20
    stranger = Client()
    assert stranger.get(SET).status_code == 302
    stranger.force_login(learner.user)
    assert stranger.get(SET).status_code == 302


def test_history_of_a_learner_and_of_the_course(
    admin_page: Client, progress: ChapterProgress, learner: Actor, course: Course
) -> None:
    for act in ("complete", "reset", "unlock"):
        admin_page.post(SET, asked(progress.chapter, act, learner, confirmed="yes"))
    row = ChapterProgress.objects.get()
    assert row.pk != progress.pk
    history = admin_page.get(f"{LIST}{row.pk}/history/")
    assert [entry.get_change_message() for entry in history.context["action_list"]] == [
        "Changed the status to “In progress”.",
        "Changed the status to “Not begun”.",
        "Changed the status to “Completed”.",
    ]
    assert "staff@example.com" in history.content.decode()
    of_course = admin_page.get(f"/admin/courses/course/{course.pk}/history/").content.decode()
    assert (
        "Changed the status to “Not begun” for chapter “ch1_intro”. For learner@example.com (1 changed)." in of_course
    )
    assert admin_page.get(f"{LIST}999999999/history/").status_code == 302


def test_history_does_not_tell_of_others(
    admin_page: Client, progress: ChapterProgress, fellow: Actor, course: Course
) -> None:
    admin_page.post(SET, asked(progress.chapter, "complete", fellow, confirmed="yes"))
    admin_page.post(SET, asked(course.chapters.all()[1], "complete", confirmed="yes"))
    assert not admin_page.get(f"{LIST}{progress.pk}/history/").context["action_list"]
