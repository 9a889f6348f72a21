"""Users, devices and the front door of the admin."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from accounts.models import DeviceSession, User
from config import limits
from tests.cast import PASSWORD, Actor, error_code

pytestmark = pytest.mark.django_db
LOGIN = "/admin/login/"


def log_in(browser: Client, email: str = "staff@example.com", password: str = PASSWORD) -> int:
    return browser.post(LOGIN, {"username": email, "password": password}).status_code


def test_staff_log_in_with_email_in_any_case(client: Client, staff: Actor) -> None:
    assert log_in(client, "Staff@Example.com") == 302
    assert client.get("/admin/").status_code == 200


def test_a_learner_gets_no_further(client: Client, learner: Actor) -> None:
    assert log_in(client, learner.user.email) == 200
    assert client.get("/admin/").status_code == 302


def test_guessing_is_limited_and_said_so(client: Client, staff: Actor) -> None:
    statuses = [log_in(client, password="wrong") for _ in range(10)]
    assert statuses == [200] * 10
    refused = client.post(LOGIN, {"username": "staff@example.com", "password": PASSWORD})
    assert refused.status_code == 429
    assert int(refused["Retry-After"]) >= 1
    assert "Too many requests" in refused.content.decode()
    assert client.get(LOGIN).status_code == 200


def test_another_spelling_of_an_email_is_no_other_allowance(client: Client, staff: Actor) -> None:
    statuses = [log_in(client, password="wrong") for _ in range(10)]
    assert statuses == [200] * 10
    assert log_in(client, "ｓtaff@example.com") == 429


def test_the_address_is_limited_too(client: Client, staff: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ADMIN_LOGIN_PER_ADDRESS", (2, 300))
    assert [log_in(client, f"nobody{n}@example.com") for n in range(3)] == [200, 200, 429]


def test_a_user_is_made_with_a_lower_case_email(admin_page: Client) -> None:
    form = {
        "email": "New@Example.com",
        "display_name": "New",
        "usable_password": "true",
        "password1": "fine password 1",
        "password2": "fine password 1",
    }
    response = admin_page.post(reverse("admin:accounts_user_add"), form)
    assert response.status_code == 302, response.content.decode()
    assert User.objects.get(email="new@example.com").check_password("fine password 1")


def test_the_same_email_in_another_case_is_a_form_error(admin_page: Client, learner: Actor) -> None:
    form = {
        "email": "LEARNER@example.com",
        "display_name": "Again",
        "usable_password": "true",
        "password1": "fine password 1",
        "password2": "fine password 1",
    }
    response = admin_page.post(reverse("admin:accounts_user_add"), form)
    assert response.status_code == 200
    assert "already exists" in response.content.decode()


def test_a_new_password_ends_the_learners_sessions(admin_page: Client, learner: Actor) -> None:
    url = reverse("admin:auth_user_password_change", args=[learner.user.pk])
    form = {"password1": "fine password 1", "password2": "fine password 1", "usable_password": "true"}
    assert admin_page.post(url, form).status_code == 302
    assert error_code(learner.get("/v1/me")) == "INVALID_TOKEN"


def test_a_password_that_is_taken_away_ends_the_learners_sessions(admin_page: Client, learner: Actor) -> None:
    url = reverse("admin:auth_user_password_change", args=[learner.user.pk])
    assert admin_page.post(url, {"usable_password": "false", "unset-password": "1"}).status_code == 302
    assert error_code(learner.get("/v1/me")) == "INVALID_TOKEN"


def test_deactivation_ends_the_learners_sessions(admin_page: Client, learner: Actor) -> None:
    url = reverse("admin:accounts_user_change", args=[learner.user.pk])
    form = {"email": learner.user.email, "display_name": "learner"}  # the box `is_active` is not ticked
    assert admin_page.post(url, form).status_code == 302
    assert error_code(learner.get("/v1/me")) == "INVALID_USER"
    learner.user.refresh_from_db()
    learner.user.is_active = True
    learner.user.save(update_fields=["is_active"])
    assert error_code(learner.get("/v1/me")) == "INVALID_TOKEN", "its old sessions stay ended"


def test_sessions_are_revoked_and_the_act_is_recorded(admin_page: Client, learner: Actor) -> None:
    url = reverse("admin:accounts_devicesession_changelist")
    form = {"action": "revoke", "_selected_action": [str(learner.session.pk)], "confirmed": "yes"}
    page = admin_page.post(url, form, follow=True).content.decode()
    assert "Logged out: 1 of 1 device." in page
    assert error_code(learner.get("/v1/me")) == "INVALID_TOKEN"
    assert LogEntry.objects.get().object_id == str(learner.session.pk)
    assert DeviceSession.objects.get(pk=learner.session.pk).refresh_digest not in page


def test_who_may_change_users_cannot_make_superusers(client: Client, learner: Actor, staff: Actor) -> None:
    learner.user.is_staff = True
    learner.user.save(update_fields=["is_staff"])
    learner.user.user_permissions.add(Permission.objects.get(codename="change_user"))
    client.force_login(learner.user)
    mine = reverse("admin:accounts_user_change", args=[learner.user.pk])
    form = {"email": learner.user.email, "display_name": "New name", "is_active": "on", "is_superuser": "on"}
    assert client.post(mine, form).status_code == 302
    learner.user.refresh_from_db()
    assert learner.user.display_name == "New name"
    assert not learner.user.is_superuser
    password = {"password1": "fine password 1", "password2": "fine password 1", "usable_password": "true"}
    theirs = reverse("admin:auth_user_password_change", args=[staff.user.pk])
    assert client.post(theirs, password).status_code == 403


def test_a_user_without_a_display_name_gets_one(admin_page: Client) -> None:
    form = {"email": "ada@example.com", "password1": "fine password 1", "password2": "fine password 1"}
    assert admin_page.post(reverse("admin:accounts_user_add"), form).status_code == 302
    assert User.objects.get(email="ada@example.com").display_name == "ada"


@pytest.mark.parametrize("model", ["user", "devicesession"])
def test_pages_open_and_search(admin_page: Client, learner: Actor, model: str) -> None:
    page = admin_page.get(reverse(f"admin:accounts_{model}_changelist"), {"q": "learner"})
    assert page.status_code == 200
    assert "learner@example.com" in page.content.decode()
    target = learner.user.pk if model == "user" else learner.session.pk
    assert admin_page.get(reverse(f"admin:accounts_{model}_change", args=[target])).status_code == 200
