"""Finding, shutting out and deleting people in the admin, and logging their devices out."""

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import get_content_type_for_model as content_type_of
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone

from accounts.models import DeviceSession, User
from accounts.selectors import find_users
from config import limits
from courses.models import Course, Enrollment
from tests.cast import Actor, error_code, make_actor, open_session

pytestmark = pytest.mark.django_db
USERS = "/admin/accounts/user/"
DEVICES = "/admin/accounts/devicesession/"


def rows_of(page: Any) -> list[Any]:
    return list(page.context["cl"].result_list)


def staff_with(*codenames: str) -> Client:
    actor = make_actor("helper", is_staff=True)
    actor.user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    browser = Client()
    browser.force_login(actor.user)
    return browser


# --- Finding ------------------------------------------------------------------------------------------------------


@pytest.fixture
def people(db: None) -> None:
    for email, name in (
        ("ada.lovelace@example.com", "Ada Lovelace"),
        ("grace@navy.example.org", "Rear Admiral Grace Hopper"),
        ("wang@pku.example.cn", "王小明"),
        ("plus+tag_x@example.com", "O'Brien-Smith"),
    ):
        User.objects.create_user(email, None, display_name=name)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ada", ["ada.lovelace@example.com"]),
        ("ADA.LOVE", ["ada.lovelace@example.com"]),
        ("love", ["ada.lovelace@example.com"]),
        ("lovelace ada", ["ada.lovelace@example.com"]),
        ("hop grace", ["grace@navy.example.org"]),
        ("navy", ["grace@navy.example.org"]),
        ("grace@na", ["grace@navy.example.org"]),
        ("@navy", []),
        ("opper", []),
        ("王", []),
        ("王小", ["wang@pku.example.cn"]),
        ("brien", ["plus+tag_x@example.com"]),
        ("o'brien-smith", ["plus+tag_x@example.com"]),
        ("tag", ["plus+tag_x@example.com"]),
        ("plus+t", ["plus+tag_x@example.com"]),
        ("a", ["ada.lovelace@example.com"]),
        ("'); DROP TABLE x; --", []),
        ("!!", []),
        ("& | ! :* \\", []),
        ("ada%", ["ada.lovelace@example.com"]),
        ("%", []),
        ("a\x00b", []),
        ("   ", []),
    ],
)
def test_find_users(people: None, text: str, found: list[str]) -> None:
    users = User.objects.filter(pk__in=find_users(text=text)).order_by("email")
    assert list(users.values_list("email", flat=True)) == found


def test_a_search_finds_no_more_than_its_limit(people: None) -> None:
    assert len(find_users(text="example", limit=3)) == 3
    assert len(find_users(text="example")) == 4


def test_the_list_and_the_fields_to_choose_from_search_alike(admin_page: Client, people: None) -> None:
    assert [user.email for user in rows_of(admin_page.get(USERS, {"q": "hopper"}))] == ["grace@navy.example.org"]
    asked = {"app_label": "courses", "model_name": "enrollment", "field_name": "user", "term": "hopper"}
    answer = admin_page.get("/admin/autocomplete/", asked).json()
    assert [result["text"] for result in answer["results"]] == ["grace@navy.example.org"]


def test_users_by_state_and_role(admin_page: Client, people: None) -> None:
    User.objects.filter(email__startswith="ada").update(is_active=False)
    inactive, staff = (rows_of(admin_page.get(USERS, {name: value})) for name, value in _FILTERS)
    assert [user.email for user in inactive] == ["ada.lovelace@example.com"]
    assert [user.email for user in staff] == ["staff@example.com"]


_FILTERS = (("is_active__exact", "0"), ("is_staff__exact", "1"))


@pytest.mark.parametrize("text", ["learner@", "learner-dev"])
def test_devices_by_email_and_device(admin_page: Client, learner: Actor, fellow: Actor, text: str) -> None:
    assert rows_of(admin_page.get(DEVICES, {"q": text})) == [learner.session]
    assert rows_of(admin_page.get(DEVICES, {"q": "device"})) == []


def test_devices_by_state(admin_page: Client, learner: Actor, fellow: Actor, outsider: Actor, staff: Actor) -> None:
    now = timezone.now()
    DeviceSession.objects.filter(pk=fellow.session.pk).update(superseded_at=now)
    DeviceSession.objects.filter(pk=outsider.session.pk).update(superseded_at=now, revoked_at=now)
    assert set(rows_of(admin_page.get(DEVICES, {"state": "active"}))) == {learner.session, staff.session}
    assert rows_of(admin_page.get(DEVICES, {"state": "superseded"})) == [fellow.session]
    assert rows_of(admin_page.get(DEVICES, {"state": "revoked"})) == [outsider.session]


def test_the_device_of_a_deleted_account_is_listed(admin_page: Client, outsider: Actor) -> None:
    outsider.user.delete()
    assert "Deleted account" in admin_page.get(DEVICES).content.decode()


# --- A person's page ----------------------------------------------------------------------------------------------


def test_a_persons_page_shows_what_is_theirs(admin_page: Client, learner: Actor, course: Course) -> None:
    open_session(learner.user, device_id="tablet")
    DeviceSession.objects.filter(pk=learner.session.pk).update(revoked_at=timezone.now())
    page = admin_page.get(f"{USERS}{learner.user.pk}/change/")
    shown = {panel.title: [row[0].text for row in panel.rows] for panel in page.context["panels"]}
    assert shown == {"Devices that are logged in": ["tablet"], "Enrolments": ["TST100"], "Progress": []}
    links = [href for panel in page.context["panels"] for _text, href in panel.links]
    for href in links:
        assert admin_page.get(href).status_code == 200, href
    assert rows_of(admin_page.get(links[0])) == list(learner.user.device_sessions.order_by("-created_at"))


def test_panels_are_for_those_who_may_see_them(learner: Actor) -> None:
    page = staff_with("view_user").get(f"{USERS}{learner.user.pk}/change/")
    assert page.status_code == 200
    assert page.context["panels"] == []


def test_groups_are_boxes_and_single_permissions_are_for_superusers(admin_page: Client, learner: Actor) -> None:
    path = f"{USERS}{learner.user.pk}/change/"
    assert 'name="user_permissions"' in admin_page.get(path).content.decode()
    group = Group.objects.get(name="Authors")
    form = {"email": learner.user.email, "display_name": "x", "is_active": "on", "groups": [str(group.pk)]}
    assert admin_page.post(path, form).status_code == 302
    assert list(learner.user.groups.all()) == [group]
    page = staff_with("view_user", "change_user").get(path).content.decode()
    assert "user_permissions" not in page
    assert 'name="groups"' not in page


def test_deactivating_says_what_follows_and_does_it(admin_page: Client, learner: Actor) -> None:
    open_session(learner.user, device_id="tablet")
    path = f"{USERS}{learner.user.pk}/deactivate/"
    asked = admin_page.get(path)
    assert asked.context["consequences"][0] == (
        "learner@example.com can't log in any more, and is logged out at once on 2 devices."
    )
    assert admin_page.post(path).context["consequences"], "nothing is done without the confirmation"
    assert learner.get("/v1/me").status_code == 200
    assert admin_page.post(path, {"confirmed": "yes"}).status_code == 302
    assert error_code(learner.get("/v1/me")) == "INVALID_USER"
    assert LogEntry.objects.get().get_change_message() == "Changed the state to “Inactive”."
    assert admin_page.post(f"{USERS}{learner.user.pk}/activate/", {"confirmed": "yes"}).status_code == 302
    learner.user.refresh_from_db()
    assert learner.user.is_active
    assert error_code(learner.get("/v1/me")) == "INVALID_TOKEN"


def test_deactivating_keeps_what_the_page_of_somebody_else_changed(admin_page: Client, learner: Actor) -> None:
    path = f"{USERS}{learner.user.pk}/deactivate/"
    admin_page.get(path)
    User.objects.filter(pk=learner.user.pk).update(display_name="Renamed")
    admin_page.post(path, {"confirmed": "yes"})
    learner.user.refresh_from_db()
    assert (learner.user.display_name, learner.user.is_active) == ("Renamed", False)


def test_who_may_not_deactivate(admin_page: Client, staff: Actor, learner: Actor) -> None:
    own = f"{USERS}{staff.user.pk}/deactivate/"
    assert admin_page.post(own, {"confirmed": "yes"}).status_code == 403
    assert (
        staff_with("view_user").post(f"{USERS}{learner.user.pk}/deactivate/", {"confirmed": "yes"}).status_code == 403
    )
    User.objects.filter(email="helper@example.com").delete()
    assert staff_with("change_user", "view_user").post(own, {"confirmed": "yes"}).status_code == 403
    assert not User.objects.filter(is_active=False).exists()


# --- Devices ------------------------------------------------------------------------------------------------------


def test_logging_devices_out_asks_first(admin_page: Client, learner: Actor, fellow: Actor) -> None:
    form = {"action": "revoke", "_selected_action": [str(learner.session.pk), str(fellow.session.pk)]}
    asked = admin_page.post(DEVICES, form)
    assert asked.context["consequences"] == [
        "2 devices are logged out at once. Their users can log in again with the password."
    ]
    assert learner.get("/v1/me").status_code == 200
    hidden: dict[str, list[str]] = {"confirmed": ["yes"]}
    for name, value in asked.context["hidden"]:
        hidden.setdefault(name, []).append(value)
    admin_page.post(DEVICES, hidden)
    for actor in (learner, fellow):
        assert error_code(actor.get("/v1/me")) == "INVALID_TOKEN"


def test_one_device_is_logged_out_from_its_page(admin_page: Client, learner: Actor) -> None:
    path = f"{DEVICES}{learner.session.pk}/revoke_one/"
    assert path in admin_page.get(f"{DEVICES}{learner.session.pk}/change/").content.decode()
    assert admin_page.get(path).status_code == 200
    assert learner.get("/v1/me").status_code == 200
    admin_page.post(path, {"confirmed": "yes"})
    assert error_code(learner.get("/v1/me")) == "INVALID_TOKEN"
    assert path not in admin_page.get(f"{DEVICES}{learner.session.pk}/change/").content.decode()
    viewer = staff_with("view_devicesession")
    assert viewer.get(path).status_code == 403
    assert "revoke_one" not in viewer.get(DEVICES).content.decode()


def test_logging_out_from_the_list_leads_back_to_it(admin_page: Client, learner: Actor, fellow: Actor) -> None:
    filtered = f"{DEVICES}?state=active"
    form = {"action": "revoke", "_selected_action": [str(learner.session.pk), str(fellow.session.pk)]}
    assert admin_page.post(filtered, form).context["cancel_url"] == filtered
    assert admin_page.post(filtered, {**form, "confirmed": "yes"})["Location"] == filtered


TOKEN_LIFE = timedelta(seconds=settings.ACCESS_TOKEN_EXPIRE_SECONDS)


@pytest.mark.parametrize(
    ("times", "state", "can_be_ended"),
    [
        ({}, "Logged in", True),
        ({"superseded_at": TOKEN_LIFE / 2}, "Replaced by a later login", True),
        ({"superseded_at": TOKEN_LIFE * 2}, "Replaced by a later login", False),
        ({"expires_at": TOKEN_LIFE / 2}, "Expired", True),
        ({"expires_at": TOKEN_LIFE * 2}, "Expired", False),
        ({"expires_at": TOKEN_LIFE * 2, "superseded_at": TOKEN_LIFE / 2}, "Replaced by a later login", False),
        ({"revoked_at": TOKEN_LIFE / 2}, "Logged out", False),
    ],
)
def test_a_login_is_ended_while_a_token_of_it_may_work(
    admin_page: Client, learner: Actor, times: dict[str, timedelta], state: str, can_be_ended: bool
) -> None:
    now = timezone.now()
    DeviceSession.objects.filter(pk=learner.session.pk).update(**{name: now - ago for name, ago in times.items()})
    button = f"{DEVICES}{learner.session.pk}/revoke_one/"
    found = admin_page.get(DEVICES, {"q": "learner"}).content.decode()
    assert state in found
    assert (button in found) is can_be_ended
    assert (button in admin_page.get(f"{DEVICES}{learner.session.pk}/change/").content.decode()) is can_be_ended
    of_user = admin_page.get(f"{USERS}{learner.user.pk}/change/").content.decode()
    assert (button in of_user) is (can_be_ended and not times.keys() & {"superseded_at", "revoked_at"})


def test_the_login_of_a_deleted_account_is_over(admin_page: Client, outsider: Actor) -> None:
    outsider.user.delete()
    page = admin_page.get(DEVICES, {"q": "outsider-device"}).content.decode()
    assert "Logged out" in page
    assert f"{DEVICES}{outsider.session.pk}/revoke_one/" not in page


def test_the_list_counts_logins(admin_page: Client, learner: Actor) -> None:
    open_session(learner.user, device_id="tablet")
    DeviceSession.objects.update(device_id="tablet", superseded_at=timezone.now())
    assert "3 logins on devices" in " ".join(admin_page.get(DEVICES).content.decode().split())


@pytest.mark.parametrize("of_user", [False, True], ids=["list", "page of the user"])
def test_a_button_leads_back_to_where_it_is(admin_page: Client, learner: Actor, of_user: bool) -> None:
    page = f"{USERS}{learner.user.pk}/change/" if of_user else f"{DEVICES}?state=active&q=learner"
    found = re.search(r'href="([^"]*/revoke_one/\?[^"]*)"', admin_page.get(page).content.decode())
    assert found
    button = html.unescape(found[1])
    assert admin_page.get(button).context["cancel_url"] == page
    assert admin_page.post(button, {"confirmed": "yes"})["Location"] == page


@pytest.mark.parametrize("back", ["https://evil.example/admin/", "//evil.example", "/\\evil.example", "/admin", ""])
def test_no_button_leads_elsewhere(admin_page: Client, learner: Actor, back: str) -> None:
    own = f"{DEVICES}{learner.session.pk}/"
    path = f"{own}revoke_one/?{urlencode({'back': back})}"
    assert admin_page.get(path).context["cancel_url"] == f"{own}change/"
    assert admin_page.post(path, {"confirmed": "yes"})["Location"] == f"{own}change/"


def test_a_devices_page_is_in_words(admin_page: Client, learner: Actor) -> None:
    path = f"{DEVICES}{learner.session.pk}/change/"
    page = admin_page.get(path).content.decode()
    assert "Logged in" in page
    assert "(&#x27;active&#x27;" not in page
    assert "the account was deleted" not in page
    learner.user.delete()
    assert "the account was deleted" in admin_page.get(path).content.decode()


def test_a_users_page_tells_nothing_of_the_hash(admin_page: Client, learner: Actor) -> None:
    path = f"{USERS}{learner.user.pk}/"
    page = admin_page.get(f"{path}change/").content.decode()
    assert "There is a password." in page
    assert "argon2" not in page
    assert 'href="../password/"' in page
    learner.user.set_unusable_password()
    learner.user.save()
    assert "No password set." in admin_page.get(f"{path}change/").content.decode()


def test_the_menu_names_who_is_logged_in(admin_page: Client, staff: Actor) -> None:
    staff.user.display_name = "Grace Hopper"
    staff.user.save(update_fields=["display_name"])
    page = admin_page.get("/admin/").content.decode()
    assert "Grace Hopper" in page
    assert "staff@example.com" in page


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_times_are_written_alike_in_every_language(admin_page: Client, learner: Actor, language: str) -> None:
    moment = datetime(2026, 3, 4, 15, 6, tzinfo=UTC)
    DeviceSession.objects.update(created_at=moment)
    User.objects.update(created_at=moment, last_login=moment)
    headers = {"accept-language": language}
    device = admin_page.get(f"{DEVICES}{learner.session.pk}/change/", headers=headers).content.decode()
    assert "2026-03-04 15:06" in device
    user = admin_page.get(f"{USERS}{learner.user.pk}/change/", headers=headers).content.decode()
    assert user.count("2026-03-04 15:06") >= 2, "when it was made, and the last login"
    LogEntry.objects.create(
        user=learner.user, action_flag=2, object_id=str(learner.user.pk), content_type=content_type_of(User)
    )
    LogEntry.objects.update(action_time=moment)
    history = admin_page.get(f"{USERS}{learner.user.pk}/history/", headers=headers).content.decode()
    assert "2026-03-04 15:06" in history
    assert "UTC" in history


def test_only_so_many_devices_at_once(
    admin_page: Client, learner: Actor, fellow: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ADMIN_ROWS_PER_ACT_MAX", 1)
    ids = [str(learner.session.pk), str(fellow.session.pk)]
    form = {"action": "revoke", "_selected_action": ids, "confirmed": "yes"}
    page = admin_page.post(DEVICES, form, follow=True).content.decode()
    assert "At most 1 can be changed together." in page
    assert not DeviceSession.objects.exclude(revoked_at=None).exists()


# --- Deleting -----------------------------------------------------------------------------------------------------


def test_a_deletion_is_told_by_counts_up_to_a_bound(
    admin_page: Client, learner: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "ADMIN_RELATED_COUNTED_MAX_ROWS", 3)
    for number in range(5):
        course = Course.objects.create(course_code=f"COURSE-{number}", title="x")
        Enrollment.objects.create(user=learner.user, course=course)
    page = admin_page.get(f"{USERS}{learner.user.pk}/delete/")
    counts = dict(page.context["model_count"])
    assert counts == {"users": 1, "enrolments": "more than 3"}
    assert "COURSE-1" not in page.content.decode()


def test_a_deletion_needs_the_permissions_for_all_that_goes(learner: Actor) -> None:
    browser = staff_with("delete_user", "view_user")
    path = f"{USERS}{learner.user.pk}/delete/"
    assert browser.get(path).context["perms_lacking"] == {"enrolment"}
    assert browser.post(path, {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=learner.user.pk).exists()


def test_a_superuser_is_not_deleted_in_bulk_by_others(staff: Actor) -> None:
    browser = staff_with("delete_user", "view_user", "change_user")
    form = {"action": "delete_selected", "_selected_action": [str(staff.user.pk)], "post": "yes"}
    browser.post(USERS, form)
    assert User.objects.filter(pk=staff.user.pk).exists()


def test_who_manages_learners_takes_over_no_colleague(client: Client) -> None:
    manager = make_actor("manager", is_staff=True).user
    manager.user_permissions.add(Permission.objects.get(codename="change_user"))
    colleague, pupil = make_actor("colleague", is_staff=True).user, make_actor("pupil").user
    client.force_login(manager)

    def password_page(user: User) -> int:
        return client.get(f"/admin/accounts/user/{user.pk}/password/").status_code

    assert password_page(colleague) == 403
    assert (password_page(pupil), password_page(manager)) == (200, 200)


@pytest.mark.parametrize("path", ["{pk}/delete/", ""])
def test_a_deletion_says_what_it_leaves_behind(admin_page: Client, outsider: Actor, path: str) -> None:
    """Whoever asks to be erased is erased by a command."""
    chosen = {"action": "delete_selected", "_selected_action": [str(outsider.user.pk)]}
    page = admin_page.get(f"{USERS}{path.format(pk=outsider.user.pk)}") if path else admin_page.post(USERS, chosen)
    assert "Traces stay: the email address" in page.content.decode()
    assert "manage.py erase_user" in page.content.decode()
