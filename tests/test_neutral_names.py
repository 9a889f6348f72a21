"""What staff see of people and codes that they may not look at: on every page that shows them, and by every guess."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.db.models import Model
from django.test import Client

from accounts.models import DeviceSession, User
from accounts.people import neutral_name
from courses.models import Chapter, Course, CourseInstructor, Enrollment
from telemetry.models import ChapterProgress
from tests.cast import Actor, make_actor
from tests.traces import log

pytestmark = pytest.mark.django_db
ENROLMENTS = "/admin/courses/enrollment/"
DEVICES = "/admin/accounts/devicesession/"
PROGRESS = "/admin/telemetry/chapterprogress/"
COURSES = "/admin/courses/course/"

RIGHTS = (
    "view_course",
    "change_course",
    "view_chapter",
    "view_enrollment",
    "change_enrollment",
    "add_enrollment",
    "view_devicesession",
    "change_devicesession",
    "view_chapterprogress",
    "change_chapterprogress",
    "delete_chapterprogress",
)


def staff_with(*codenames: str, named: str = "assistant") -> Client:
    actor = make_actor(named, is_staff=True)
    actor.user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    browser = Client()
    browser.force_login(actor.user)
    return browser


@pytest.fixture
def assistant(db: None) -> Client:
    """Somebody who may work with enrolments, devices and progress, and not look at users."""
    return staff_with(*RIGHTS)


def pages(learner: Actor, chapter: Chapter) -> list[str]:
    """Every page of the admin that names a learner, beside those of users."""
    enrollment = Enrollment.objects.get(user=learner.user)
    session = DeviceSession.objects.get(user=learner.user)
    progress, _ = ChapterProgress.objects.get_or_create(user=learner.user, chapter=chapter, defaults={"status": 10})
    return [
        ENROLMENTS,
        f"{ENROLMENTS}{enrollment.pk}/change/",
        f"{ENROLMENTS}{enrollment.pk}/remove_one/",
        f"{ENROLMENTS}{enrollment.pk}/history/",
        DEVICES,
        f"{DEVICES}{session.pk}/change/",
        f"{DEVICES}{session.pk}/revoke_one/",
        f"{DEVICES}{session.pk}/history/",
        PROGRESS,
        f"{PROGRESS}{progress.pk}/change/",
        f"{PROGRESS}{progress.pk}/delete/",
        f"{PROGRESS}{progress.pk}/history/",
        f"{COURSES}{chapter.course_id}/change/",
        f"{COURSES}{chapter.course_id}/history/",
    ]


def do_all(browser: Client, learner: Actor, chapter: Chapter) -> None:
    """Leave a trace in every history."""
    enrollment, session = Enrollment.objects.get(user=learner.user), DeviceSession.objects.get(user=learner.user)
    for act in ("remove_one", "restore_one"):
        browser.post(f"{ENROLMENTS}{enrollment.pk}/{act}/", {"confirmed": "yes"})
    browser.post(f"{DEVICES}{session.pk}/revoke_one/", {"confirmed": "yes"})
    form = {"act": "complete", "chapter": str(chapter.pk), "learner": str(learner.user.pk), "confirmed": "yes"}
    browser.post(f"{PROGRESS}set/", form)


def test_no_page_names_a_learner_to_who_may_not_look_at_users(
    admin_page: Client, assistant: Client, learner: Actor, chapter: Chapter
) -> None:
    do_all(admin_page, learner, chapter)
    neutral = neutral_name(learner.user.pk)
    for path in pages(learner, chapter):
        answer = assistant.get(path)
        assert answer.status_code == 200, path
        text, named = answer.content.decode(), admin_page.get(path).content.decode()
        assert "learner@" not in text, path
        assert (neutral in text) == ("learner@" in named), path
        assert neutral not in named, path
    history = assistant.get(f"{COURSES}{chapter.course_id}/history/").content.decode()
    assert f"For {neutral} (1 changed)." in history
    learner.user.refresh_from_db()
    assert learner.user.email == "learner@example.com"


def test_confirmations_of_chosen_rows_name_nobody(assistant: Client, learner: Actor) -> None:
    chosen = {"action": "remove", "_selected_action": [str(Enrollment.objects.get().pk)]}
    asked = assistant.post(ENROLMENTS, chosen)
    assert asked.status_code == 200
    assert "learner@" not in asked.content.decode()
    done = assistant.post(ENROLMENTS, {**chosen, "confirmed": "yes"}, follow=True)
    assert "Removed 1 of 1." in done.content.decode()
    assert "learner@" not in done.content.decode()


@pytest.mark.parametrize("path", [ENROLMENTS, DEVICES, PROGRESS])
def test_nobody_is_found_by_an_email_that_is_not_shown(
    assistant: Client, admin_page: Client, learner: Actor, chapter: Chapter, path: str
) -> None:
    ChapterProgress.objects.create(user=learner.user, chapter=chapter, status=10)

    def found(browser: Client, **query: str) -> Any:
        page = browser.get(path, query)
        return list(page.context["cl"].result_list) if page.status_code == 200 else page.status_code

    assert found(admin_page, q="learner@")
    assert found(assistant, q="learner@") == []
    assert "email" not in str(assistant.get(path).context["cl"].search_help_text)
    for lookup in ("user__email__startswith", "user__display_name__startswith", "user__password__startswith"):
        assert found(assistant, **{lookup: "l"}) in (400, 302), lookup


def test_who_may_not_look_for_anybody_enrols_nobody(assistant: Client, outsider: Actor, course: Course) -> None:
    form = {"user": str(outsider.user.pk), "course": str(course.pk)}
    assert assistant.post(f"{ENROLMENTS}add/", form).status_code == 403
    assert "Add an enrolment" not in assistant.get(f"{COURSES}{course.pk}/change/").content.decode()


def test_progress_is_set_for_all_by_who_may_not_look_for_one(
    assistant: Client, outsider: Actor, learner: Actor, chapter: Chapter
) -> None:
    page = assistant.get(f"{PROGRESS}set/").content.decode()
    assert 'name="learner"' not in page
    form = {"act": "complete", "chapter": str(chapter.pk), "learner": str(outsider.user.pk)}
    assert "outsider@" not in assistant.post(f"{PROGRESS}set/", form).content.decode()
    assistant.post(f"{PROGRESS}set/", {**form, "confirmed": "yes"})
    assert ChapterProgress.objects.get().user == learner.user


# --- Colleagues ---------------------------------------------------------------------------------------------------


def test_histories_name_colleagues_to_who_may_look_at_users(
    admin_page: Client, assistant: Client, staff: Actor, learner: Actor, course: Course
) -> None:
    teacher = make_actor("teacher", is_staff=True)
    for email in ("teacher@example.com", "assistant@example.com", "gone@example.com"):
        message = json.dumps([{"added": {"name": "instructor", "object": f"{email}: TST100"}}])
        log(staff.user, course, message)
    User.objects.create_user('"li@lei"@example.com', "a good password")
    log(staff.user, course, 'Added instructor “"li@lei"@example.com: TST100”.')
    log(User.objects.get(email="assistant@example.com"), course, "Looked at it.")
    path = f"{COURSES}{course.pk}/history/"

    named = admin_page.get(path).content.decode()
    for email in ("staff@example.com", "teacher@example.com", "assistant@example.com", "gone@example.com"):
        assert email in named

    shown = assistant.get(path).content.decode()
    assert set(re.findall(r"\w+@example", shown)) == {"assistant@example"}
    assert f"<td>{neutral_name(staff.user.pk)}</td>" in shown
    assert "assistant@example.com (assistant)" in shown
    assert f"“{neutral_name(teacher.user.pk)}: TST100”" in shown
    assert "“assistant@example.com: TST100”" in shown
    assert "“somebody: TST100”" in shown
    assert "lei" not in shown
    assert User.objects.filter(email="staff@example.com").exists()


# --- Invite codes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("may_change", [False, True])
def test_the_page_of_a_course_names_no_instructor_but_oneself(
    admin_page: Client, course: Course, may_change: bool
) -> None:
    teacher = make_actor("teacher", is_staff=True).user
    codenames = ["view_course", "view_chapter", "view_courseinstructor", *(["change_course"] if may_change else [])]
    assistant = staff_with(*codenames)
    for person in (teacher, User.objects.get(email="assistant@example.com")):
        CourseInstructor.objects.create(course=course, user=person)
    page = assistant.get(f"{COURSES}{course.pk}/change/").content.decode()
    assert teacher.email not in page
    assert neutral_name(teacher.pk) in page
    assert "assistant@example.com" in page
    assert teacher.email in admin_page.get(f"{COURSES}{course.pk}/change/").content.decode()


@pytest.mark.parametrize("group", ["", "Authors", "Publishers"])
def test_invite_codes_are_for_who_may_change_the_course(admin_page: Client, course: Course, group: str) -> None:
    browser = staff_with("view_course", "view_chapter")
    if group:
        actor = make_actor("member", is_staff=True)
        actor.user.groups.add(Group.objects.get(name=group))
        browser = Client()
        browser.force_login(actor.user)
    code = course.invite_code
    for path in (COURSES, f"{COURSES}?q=TST", f"{COURSES}{course.pk}/change/", f"{COURSES}{course.pk}/history/"):
        answer = browser.get(path)
        assert answer.status_code == 200
        assert code not in answer.content.decode(), path
    assert code in admin_page.get(COURSES).content.decode()
    assert code in admin_page.get(f"{COURSES}{course.pk}/change/").content.decode()


def test_invite_codes_are_not_found_out_by_guessing(admin_page: Client, course: Course) -> None:
    browser = staff_with("view_course")
    start = course.invite_code[:3]
    assert list(admin_page.get(COURSES, {"q": start}).context["cl"].result_list) == [course]
    assert list(browser.get(COURSES, {"q": start}).context["cl"].result_list) == []
    for lookup in ("invite_code", "invite_code__startswith", "invite_code__regex"):
        assert admin_page.get(COURSES, {lookup: start}).status_code == 200, lookup
        assert browser.get(COURSES, {lookup: start}).status_code == 400, lookup
    chosen = {"app_label": "courses", "model_name": "enrollment", "field_name": "course", "term": start}
    assert admin_page.get("/admin/autocomplete/", chosen).json()["results"]
    assert not browser.get("/admin/autocomplete/", chosen).json()["results"]


SECRETS = ("password", "digest", "refresh_digest")


def paths_to_secrets(model: type[Model], depth: int = 2) -> Iterator[str]:
    """Yield lookups of all columns that hold a secret, of the model and of what it refers to or is referred to by."""
    for field in model._meta.get_fields():
        if field.name in SECRETS:
            yield field.name
        elif field.is_relation and field.related_model and depth:
            assert isinstance(field.related_model, type)
            yield from (f"{field.name}__{path}" for path in paths_to_secrets(field.related_model, depth - 1))


def test_secrets_are_not_found_out_by_guessing(assistant: Client, admin_page: Client, learner: Actor) -> None:
    """In no list, not even by who may do everything."""
    asked = 0
    for model in admin.site._registry:
        url = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        for path in paths_to_secrets(model):
            for lookup in (path, f"{path}__startswith", f"{path}__gte"):
                assert admin_page.get(url, {lookup: "a"}).status_code in (400, 302), (url, lookup)
                asked += 1
    assert asked > 20
    assert admin_page.get("/admin/auth/group/", {"user__id__startswith": "a"}).status_code == 200
    auditor = staff_with("view_group", named="auditor")
    assert auditor.get("/admin/auth/group/", {"user__id__startswith": "a"}).status_code == 400
    assert assistant.get(DEVICES, {"refresh_digest__startswith": "a"}).status_code == 400


def test_ids_of_learners_are_not_found_out_by_halves(assistant: Client, admin_page: Client, learner: Actor) -> None:
    for page in (ENROLMENTS, DEVICES):
        for lookup in ("user__id__gte", "user__id__exact", "user__pk", "user_id__gte", "user", "user_id"):
            asked = {lookup: str(learner.user.pk)}
            assert assistant.get(page, asked).status_code == 400, (page, lookup)
        assert admin_page.get(page, {"user__id__exact": str(learner.user.pk)}).status_code == 200


# --- Histories ----------------------------------------------------------------------------------------------------


def test_histories_are_read_in_the_readers_language(admin_page: Client, learner: Actor, chapter: Chapter) -> None:
    """What is stored is put into words when it is shown; Django's own words are there in Chinese in any case."""
    do_all(admin_page, learner, chapter)
    admin_page.post(f"{COURSES}{chapter.course_id}/renew_invite_code/", {"confirmed": "yes"})
    admin_page.post(f"/admin/accounts/user/{learner.user.pk}/deactivate/", {"confirmed": "yes"})
    enrollment, session = Enrollment.objects.get(), DeviceSession.objects.get(user=learner.user)
    told = {
        f"{ENROLMENTS}{enrollment.pk}/history/": ["“Removed”", "“In the course”"],
        f"{DEVICES}{session.pk}/history/": ["“Logged out”"],
        f"{COURSES}{chapter.course_id}/history/": ["invite code", "“Completed” for chapter “ch1_intro”"],
        f"/admin/accounts/user/{learner.user.pk}/history/": ["“Inactive”"],
    }
    for path, texts in told.items():
        english = admin_page.get(path).content.decode()
        for text in texts:
            assert text in english, path
        assert "Changed" in english
        chinese = admin_page.get(path, headers={"accept-language": "zh-CN"}).content.decode()
        assert "Changed" not in chinese, path
