"""API tokens in the admin: made, shown once, revoked, and who may."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from config import limits
from courses.models import Course
from tests.cast import Actor, make_actor
from updates.models import ApiToken
from updates.services import tokens

LIST = "/admin/updates/apitoken/"

pytestmark = pytest.mark.django_db


def in_days(days: float) -> dict[str, str]:
    time = timezone.now() + timedelta(days=days)
    return {"expires_at_0": f"{time:%Y-%m-%d}", "expires_at_1": f"{time:%H:%M:%S}"}


def make(page: Client, **fields: Any) -> Any:
    form = {"name": "nightly", "abilities": ["read", "upload"], "bundle_types": [], "course": "", **in_days(30)}
    return page.post(f"{LIST}add/", {**form, **fields})


def a_token(name: str, maker: Actor, **fields: Any) -> ApiToken:
    """A token that is there already; `fields` are what became of it since."""
    token, _ = tokens.create_token(
        name=name, abilities=["read"], expires_at=timezone.now() + timedelta(days=1), created_by=maker.user
    )
    ApiToken.objects.filter(pk=token.pk).update(**fields)
    return token


def revoke(page: Client, *chosen: ApiToken, **fields: str) -> Any:
    """Send what the page between would send."""
    form = {"action": "revoke", "confirmed": "yes", "_selected_action": [str(t.pk) for t in chosen], **fields}
    return page.post(LIST, form, follow=True)


def staff_with(*codenames: str) -> Client:
    actor = make_actor("clerk", is_staff=True)
    actor.user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    browser = Client()
    browser.force_login(actor.user)
    return browser


def test_the_list_says_what_it_adds(admin_page: Client) -> None:
    assert "Add an API token" in admin_page.get(LIST).content.decode()


# --- Making -----------------------------------------------------------------------------------------------------


def test_a_token_is_made_and_its_secret_shown(admin_page: Client, staff: Actor, course: Course) -> None:
    response = make(admin_page, bundle_types=["chapter"], course=str(course.pk))

    assert response.status_code == 200
    secret = response.context["secret"]
    token = ApiToken.objects.get()
    assert tokens.authenticate_token(secret=secret) == token
    assert (token.name, token.abilities, token.bundle_types) == ("nightly", ["read", "upload"], ["chapter"])
    assert (token.course, token.created_by) == (course, staff.user)
    page = response.content.decode()
    assert page.count(secret.removeprefix(tokens.TOKEN_PREFIX)) == 1
    assert "X-Admin-Key: $BUNDLE_TOKEN" in page
    assert "http://testserver/v1/admin/bundles/upload" in page
    assert "/publish" not in page, "it may not publish"
    assert page.count("curl -sS --fail-with-body -H") == 2
    assert f"-F bundle_type=chapter -F scope_id={course.pk}/CHAPTER_CODE" in page, "what it is for"


def test_the_secret_is_shown_once_and_kept_nowhere(admin_page: Client) -> None:
    response = make(admin_page)

    secret = response.context["secret"]
    assert "no-store" in response["Cache-Control"]
    assert set(response.cookies) <= {"csrftoken"}, "no session, no message"
    assert all(secret not in str(session.get_decoded()) for session in Session.objects.all())
    token = ApiToken.objects.get()
    (entry,) = LogEntry.objects.all()
    assert (entry.object_id, entry.is_addition()) == (str(token.pk), True)
    assert secret not in f"{entry.object_repr} {entry.change_message}"
    secret = secret.removeprefix(tokens.TOKEN_PREFIX)
    for path in (LIST, f"{LIST}{token.pk}/change/", f"{LIST}{token.pk}/history/", "/admin/"):
        assert secret not in admin_page.get(path).content.decode()


def test_it_lives_for_90_days_unless_asked(admin_page: Client) -> None:
    field = admin_page.get(f"{LIST}add/").context["adminform"].form["expires_at"]
    assert abs(field.initial - timezone.now() - timedelta(days=90)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "Taken"}, "name"),
        ({"abilities": []}, "abilities"),
        ({"abilities": ["rule"]}, "abilities"),
        ({"bundle_types": ["python"]}, "bundle_types"),
        ({"course": "00000000-0000-4000-8000-000000000000"}, "course"),
        ({"expires_at_0": ""}, "expires_at"),
        (in_days(-1), "expires_at"),
        (in_days(limits.API_TOKEN_MAX_DAYS + 1), "expires_at"),
    ],
)
def test_wrong_fields_are_errors_of_the_form(
    admin_page: Client, staff: Actor, fields: dict[str, Any], field: str
) -> None:
    a_token("Taken", staff)

    response = make(admin_page, **fields)

    assert set(response.context["adminform"].form.errors) == {field}
    assert ApiToken.objects.count() == 1


def test_a_course_without_chapters_among_the_types_is_refused(admin_page: Client, course: Course) -> None:
    errors = make(admin_page, bundle_types=["experts"], course=str(course.pk)).context["adminform"].form.errors
    assert set(errors) == {"bundle_types"}


def test_nobody_gives_more_than_they_have() -> None:
    author = make_actor("author", is_staff=True)
    author.user.groups.add(Group.objects.get(name="Authors"))
    browser = Client()
    browser.force_login(author.user)

    response = make(browser, abilities=["upload", "publish"])
    assert set(response.context["adminform"].form.errors) == {"abilities"}
    assert [name for name, _ in response.context["adminform"].form.fields["abilities"].choices] == ["read", "upload"]
    assert not ApiToken.objects.exists()

    assert make(browser, abilities=["read", "upload"]).context["secret"]


def test_an_author_finds_a_course(course: Course) -> None:
    author = make_actor("author", is_staff=True)
    author.user.groups.add(Group.objects.get(name="Authors"))
    browser = Client()
    browser.force_login(author.user)

    query = {"app_label": "updates", "model_name": "apitoken", "field_name": "course", "term": "TST"}
    assert len(browser.get(reverse("admin:autocomplete"), query).json()["results"]) == 1


# --- Looking and revoking -----------------------------------------------------------------------------------------


def test_the_list_tells_what_became_of_each(admin_page: Client, staff: Actor, outsider: Actor) -> None:
    now = timezone.now()
    a_token("good", staff)
    a_token("old", staff, expires_at=now)
    a_token("ended", staff, revoked_at=now)
    a_token("orphan", staff, created_by=outsider.user)

    rows = admin_page.get(LIST).context["cl"].result_list
    model_admin = admin_page.get(LIST).context["cl"].model_admin

    assert {token.name: model_admin.state(token) for token in rows} == {
        "good": "Valid",
        "old": "Expired",
        "ended": "Revoked",
        "orphan": "Refused: its maker is no longer staff",
    }


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("state=valid", {"good"}),
        ("state=expired", {"old"}),
        ("state=revoked", {"ended"}),
        ("state=x", {"good", "old", "ended"}),
        ("q=old", {"old"}),
        ("q=staff@example.com", {"good", "old", "ended"}),
    ],
)
def test_search_and_filters(admin_page: Client, staff: Actor, query: str, names: set[str]) -> None:
    now = timezone.now()
    a_token("good", staff)
    a_token("old", staff, expires_at=now)
    a_token("ended", staff, revoked_at=now)

    assert {token.name for token in admin_page.get(f"{LIST}?{query}").context["cl"].result_list} == names


def test_the_list_has_a_bounded_number_of_queries(
    admin_page: Client, staff: Actor, course: Course, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(3):
        a_token(str(number), staff, course=course)
    admin_page.get(LIST)

    with django_assert_num_queries(4):  # session, user, count, page
        assert "TST100" in admin_page.get(LIST).content.decode()


def test_the_pages_of_a_token_have_a_bounded_number_of_queries(
    admin_page: Client, staff: Actor, course: Course, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    chosen = [a_token(str(number), staff, course=course) for number in range(3)]
    page = f"{LIST}{chosen[0].pk}/change/"
    form = {"action": "revoke", "_selected_action": [str(token.pk) for token in chosen]}
    admin_page.get(page)
    admin_page.post(LIST, form)

    with django_assert_num_queries(5):  # session, user, token, maker, course
        assert "TST100" in admin_page.get(page).content.decode()
    with django_assert_num_queries(4):  # session, user, count of the list, the chosen with makers and courses
        assert "TST100" in admin_page.post(LIST, form).content.decode()


def test_abilities_are_shown_in_the_words_of_the_reader(admin_page: Client, staff: Actor) -> None:
    names = {"read": "V-read", "upload": "V-upload", "publish": "V-publish"}
    token = a_token("nightly", staff, abilities=["read", "upload", "publish"])
    revoking = {"action": "revoke", "_selected_action": str(token.pk)}
    answers: list[Callable[[], Any]] = [
        lambda: admin_page.get(LIST),
        lambda: admin_page.get(f"{LIST}{token.pk}/change/"),
    ]
    for answer in answers:
        assert "Read, upload, publish" in answer().content.decode()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("updates.admin.tokens.ABILITY_NAMES", names)
        answers.append(lambda: admin_page.post(LIST, revoking))
        for answer in answers:
            assert "V-read, V-upload, V-publish" in answer().content.decode()
        made = make(admin_page, name="other").content.decode()
    assert "It may V-read, V-upload until" in made
    assert "/v1/admin/bundles/upload" in made, "examples still go by the abilities themselves"


def test_the_page_before_revoking_says_what_will_stop(admin_page: Client, staff: Actor) -> None:
    now = timezone.now()
    nightly, ended = a_token("nightly", staff, last_used_at=now), a_token("ended", staff, revoked_at=now)
    form = {"action": "revoke", "_selected_action": [str(nightly.pk), str(ended.pk)]}

    page = admin_page.post(LIST, form)

    text = " ".join(page.content.decode().split())
    assert "1 token will stop <strong>at once, for good</strong>" in text
    assert f"nightly (read; all bundles), last used {now:%Y-%m-%d %H:%M} UTC" in text
    assert str(ended.pk) not in text
    nightly.refresh_from_db()
    assert nightly.revoked_at is None, "nothing is done yet"


@pytest.mark.parametrize("chosen", ["x", "\0"])
def test_a_choice_that_is_no_id_is_told(admin_page: Client, chosen: str) -> None:
    page = admin_page.post(LIST, {"action": "revoke", "_selected_action": chosen}, follow=True)
    assert "Nothing was done." in page.content.decode()


def test_a_choice_that_is_gone_leads_to_no_page(admin_page: Client) -> None:
    form = {"action": "revoke", "_selected_action": "00000000-0000-4000-8000-000000000000"}
    assert "Revoked 0 of 0 tokens." in admin_page.post(LIST, form, follow=True).content.decode()


def test_a_token_is_revoked_by_whoever_made_it(staff: Actor) -> None:
    browser = staff_with("view_apitoken", "change_apitoken")
    token = a_token("nightly", staff, created_by=User.objects.get(email="clerk@example.com"))
    token.refresh_from_db()

    assert set(browser.get(f"{LIST}{token.pk}/change/").context["object_actions"]) == {"revoke"}
    page = revoke(browser, token)

    assert "Revoked 1 of 1 tokens." in page.content.decode()
    token.refresh_from_db()
    first = token.revoked_at
    assert first is not None
    (entry,) = LogEntry.objects.all()
    assert (entry.user.email, entry.object_id, entry.get_change_message()) == (
        "clerk@example.com",
        str(token.pk),
        "Changed the state to “Revoked”.",
    )

    assert "Revoked 0 of 1 tokens." in revoke(browser, token).content.decode()
    token.refresh_from_db()
    assert token.revoked_at == first
    assert LogEntry.objects.count() == 1
    assert browser.get(f"{LIST}{token.pk}/change/").context["object_actions"] == {}


def test_a_token_of_somebody_else_is_revoked_by_superusers_only(admin_page: Client, staff: Actor) -> None:
    token = a_token("nightly", staff)
    browser = staff_with("view_apitoken", "change_apitoken")

    assert browser.get(f"{LIST}{token.pk}/change/").context["object_actions"] == {}
    page = revoke(browser, token).content.decode()

    assert "You may revoke only API tokens that you made. Nothing was done." in page
    token.refresh_from_db()
    assert token.revoked_at is None
    assert "Revoked 1 of 1 tokens." in revoke(admin_page, token).content.decode()


# --- Who may, and what nobody may ---------------------------------------------------------------------------------


def test_who_may_only_look_can_neither_make_nor_revoke(staff: Actor) -> None:
    token = a_token("nightly", staff)
    browser = staff_with("view_apitoken")

    assert browser.get(LIST).status_code == 200
    assert browser.get(f"{LIST}add/").status_code == 403
    assert make(browser, name="other").status_code == 403
    assert browser.get(f"{LIST}{token.pk}/change/").context["object_actions"] == {}
    revoke(browser, token)

    token.refresh_from_db()
    assert token.revoked_at is None


def test_who_may_not_look_sees_nothing(staff: Actor) -> None:
    token = a_token("nightly", staff)
    browser = staff_with("view_bundlerelease")

    assert browser.get(LIST).status_code == 403
    assert browser.get(f"{LIST}{token.pk}/change/").status_code == 403


def test_nobody_changes_or_deletes_a_token(admin_page: Client, staff: Actor) -> None:
    token = a_token("nightly", staff)
    page = f"{LIST}{token.pk}/"

    shown = admin_page.get(f"{page}change/").content.decode()
    assert "_save" not in shown
    assert "delete" not in shown.partition('id="content"')[2]
    assert admin_page.post(f"{page}change/", {"name": "other"}).status_code == 403
    assert admin_page.post(f"{page}delete/", {"post": "yes"}).status_code == 403
    form = {"action": "delete_selected", "_selected_action": [str(token.pk)], "post": "yes"}
    assert "No action selected." in admin_page.post(LIST, form, follow=True).content.decode()

    assert ApiToken.objects.get().name == "nightly"


def test_a_course_with_a_token_can_be_deleted(admin_page: Client, staff: Actor, course: Course) -> None:
    """Tokens can't be deleted by themselves, which must not keep a course."""
    a_token("nightly", staff, course=course)

    assert admin_page.post(f"/admin/courses/course/{course.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not ApiToken.objects.exists()


def test_a_forged_post_is_refused(staff: Actor) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(staff.user)

    assert make(browser).status_code == 403
    assert revoke(browser, a_token("nightly", staff)).status_code == 403
