"""Who may do what from a pipeline, and what the credentials are."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from courses.models import Chapter, Course
from tests.cast import Actor, error_code, make_actor
from updates.models import ApiToken, BundleRelease, ReleaseEvent
from updates.tests.pipelines import (
    ADMIN_API_KEY,
    BUNDLES,
    a_token,
    act,
    client_of,
    maker,
    registration,
    upload,
)
from updates.tests.shelf import APP, SHARED, chapter_scope, draft, publish, published

pytestmark = pytest.mark.django_db


# --- Every caller, every call ---------------------------------------------------------------------------------------


@dataclass
class Shelf:
    """The releases that the calls are about: one for each, so that none stands in another's way."""

    to_read: BundleRelease
    to_publish: BundleRelease
    to_delete: BundleRelease
    to_widen: BundleRelease
    to_withdraw: BundleRelease
    to_reschedule: BundleRelease


@pytest.fixture
def shelf(db: None) -> Shelf:
    return Shelf(
        draft(APP, "1.0.0"),
        draft(APP, "1.1.0"),
        draft(APP, "1.2.0"),
        published(APP, "1.3.0", rollout_basis_points=1_000),
        published(APP, "1.4.0"),
        published(APP, "1.5.0", publish_at=timezone.now() + timedelta(days=1)),
    )


CALLS: Final[dict[str, Callable[[APIClient, Shelf], Any]]] = {
    "list": lambda client, shelf: client.get(BUNDLES),
    "read": lambda client, shelf: client.get(f"{BUNDLES}/{shelf.to_read.pk}"),
    "verify": lambda client, shelf: act(client, shelf.to_read, "verify"),
    "upload": lambda client, shelf: upload(client, version="2.0.0"),
    "upload and publish": lambda client, shelf: upload(client, version="2.1.0", publish="true"),
    "register": lambda client, shelf: client.post(f"{BUNDLES}/publish", registration(version="2.2.0"), format="json"),
    "publish": lambda client, shelf: act(client, shelf.to_publish, "publish"),
    "reschedule": lambda client, shelf: act(
        client, shelf.to_reschedule, "reschedule", {"publish_at": "2099-01-02T03:04:00Z"}
    ),
    "rollout": lambda client, shelf: act(client, shelf.to_widen, "rollout", {"rollout_percent": 50}),
    "withdraw": lambda client, shelf: act(client, shelf.to_withdraw, "withdraw"),
    "delete": lambda client, shelf: client.delete(f"{BUNDLES}/{shelf.to_delete.pk}"),
}

DONE: Final = dict.fromkeys(CALLS, 200) | {"upload": 201, "upload and publish": 201, "register": 201, "delete": 204}
UNAUTHORIZED: Final = (401, "UNAUTHORIZED")
INVALID_TOKEN: Final = (401, "INVALID_TOKEN")
FORBIDDEN: Final = (403, "FORBIDDEN")
NOT_FOUND: Final = (404, "NOT_FOUND")


def only(*calls: str) -> dict[str, Any]:
    return {name: DONE[name] if name in calls else FORBIDDEN for name in CALLS}


ELSEWHERE: Final = {
    **dict.fromkeys(CALLS, NOT_FOUND),
    **dict.fromkeys(["upload", "upload and publish", "register"], FORBIDDEN),
    "list": 200,
}
"""What a token answers that is for other releases: it sees none of these, and makes none."""


def _everybody(chosen: str, settings: Settings, course: Course) -> APIClient:
    """Make the caller of this name."""
    settings.ADMIN_API_KEY = "" if chosen == "the key when none is set" else ADMIN_API_KEY
    soon = timezone.now() + timedelta(days=1)
    match chosen:
        case "nobody":
            return APIClient()
        case "learner":
            return make_actor("learner").client
        case "author" | "publisher":
            abilities = ("read", "upload") if chosen == "author" else ()
            return maker(chosen, *abilities).client
        case "superuser":
            return make_actor("staff", is_staff=True, is_superuser=True).client
        case "the key" | "the key when none is set":
            return client_of(ADMIN_API_KEY)
        case "the key as bearer":
            return client_of(ADMIN_API_KEY, "Authorization")
        case "a wrong key":
            return client_of(ADMIN_API_KEY[:-1] + "x")
        case "a token that never was":
            return client_of("lcb_" + "x" * 43)
    author = maker()
    every_bound: dict[str, dict[str, Any]] = {
        "token for another family": {"bundle_types": ("experts_shared",)},
        "token for a course": {"course": course},
        "token for this family": {"bundle_types": ("app_agents", "chapter")},
        "expired token": {"expires_at": soon},
    }
    chosen_abilities = {"read token": ["read"], "upload token": ["upload"], "publish token": ["publish"]}.get(
        chosen, []
    )
    secret = a_token(*chosen_abilities, created_by=author.user, **every_bound.get(chosen, {}))
    client = client_of(secret, "Authorization")
    match chosen:
        case "expired token":
            ApiToken.objects.update(expires_at=timezone.now())
        case "revoked token":
            ApiToken.objects.update(revoked_at=timezone.now())
        case "token of a deleted maker":
            author.user.delete()
        case "token of an inactive maker":
            author.user.is_active = False
            author.user.save(update_fields=["is_active"])
        case "token of a maker who is no staff":
            author.user.is_staff = False
            author.user.save(update_fields=["is_staff"])
        case "token of a maker without permissions":
            author.user.user_permissions.clear()
        case "token of a maker who may only read":
            author.user.user_permissions.set(author.user.user_permissions.filter(codename="view_bundlerelease"))
    return client


EXPECTED: Final[dict[str, dict[str, Any]]] = {
    "nobody": dict.fromkeys(CALLS, UNAUTHORIZED),
    "learner": dict.fromkeys(CALLS, FORBIDDEN),
    "author": dict.fromkeys(CALLS, FORBIDDEN),
    "publisher": dict.fromkeys(CALLS, FORBIDDEN),
    "superuser": dict.fromkeys(CALLS, FORBIDDEN),
    "the key": DONE,
    "the key as bearer": DONE,
    "the key when none is set": dict.fromkeys(CALLS, INVALID_TOKEN),
    "a wrong key": dict.fromkeys(CALLS, INVALID_TOKEN),
    "a token that never was": dict.fromkeys(CALLS, INVALID_TOKEN),
    "read token": only("list", "read"),
    "upload token": only("verify", "upload", "delete"),
    "publish token": only("publish", "reschedule", "rollout", "withdraw"),
    "token with all": DONE,
    "token for this family": DONE,
    "token for another family": ELSEWHERE,
    "token for a course": ELSEWHERE,
    "expired token": dict.fromkeys(CALLS, INVALID_TOKEN),
    "revoked token": dict.fromkeys(CALLS, INVALID_TOKEN),
    "token of a deleted maker": dict.fromkeys(CALLS, INVALID_TOKEN),
    "token of an inactive maker": dict.fromkeys(CALLS, INVALID_TOKEN),
    "token of a maker who is no staff": dict.fromkeys(CALLS, INVALID_TOKEN),
    "token of a maker without permissions": only(),
    "token of a maker who may only read": only("list", "read"),
}


@pytest.mark.parametrize("who", EXPECTED)
def test_the_outsiders_matrix(who: str, settings: Settings, course: Course, shelf: Shelf) -> None:
    client = _everybody(who, settings, course)
    before = set(BundleRelease.objects.values_list("pk", "state", "rollout_basis_points"))
    answers: dict[str, Any] = {}
    for name, call in CALLS.items():
        response = call(client, shelf)
        answers[name] = (
            (response.status_code, error_code(response)) if response.status_code >= 400 else (response.status_code)
        )
    assert answers == EXPECTED[who]
    if not any(isinstance(expected, int) and expected != 200 for expected in EXPECTED[who].values()):
        after = set(BundleRelease.objects.values_list("pk", "state", "rollout_basis_points"))
        assert (after == before) == (who != "publish token")


@pytest.mark.parametrize(
    ("ability", "call"),
    [("upload", "verify"), *(("publish", act) for act in ("publish", "reschedule", "rollout", "withdraw"))],
)
def test_an_act_tells_nothing_that_only_readers_may_know(staff: Actor, shelf: Shelf, ability: str, call: str) -> None:
    secret = {"artifact_url", "manifest_json"}
    blind = CALLS[call](client_of(a_token(ability, created_by=staff.user, name="blind")), shelf).json()
    assert blind["id"]
    assert not secret & set(blind)
    publish(draft(APP, "1.9.0"))
    again = {"publish": "verify", "withdraw": "verify"}.get(call, call)  # an act that can be done twice
    reader = CALLS[again](client_of(a_token(created_by=staff.user, name="reader")), shelf).json()
    assert secret <= set(reader)


def test_a_token_for_a_course_is_for_its_chapters(course: Course, chapter: Chapter) -> None:
    other = Course.objects.create(course_code="OTH100", title="Other")
    foreign = Chapter.objects.create(course=other, chapter_code="ch1_intro", title="Foreign", order=1)
    ours, theirs, app = draft(chapter_scope(chapter)), draft(chapter_scope(foreign)), draft(APP)
    client = client_of(a_token(created_by=maker().user, course=course))

    listed = client.get(BUNDLES).json()
    assert [row["id"] for row in listed["bundles"]] == [str(ours.pk)]
    assert listed["total"] == 1
    assert act(client, ours, "publish").status_code == 200
    assert upload(client, scope=chapter_scope(chapter), version="2.0.0").status_code == 201
    assert upload(client, scope=chapter_scope(foreign), version="2.0.0").status_code == 403
    for outside in (theirs, app):
        assert act(client, outside, "publish").status_code == 404
        assert client.get(f"{BUNDLES}/{outside.pk}").status_code == 404


def test_what_a_token_may_not_publish_is_not_published_along(course: Course, chapter: Chapter) -> None:
    """Releases of one act go together, and a token for the chapter alone can't take the experts with it."""
    client = client_of(a_token(created_by=maker().user, bundle_types=("chapter",)))
    expert, lesson = draft(("experts", "helper")), draft(chapter_scope(chapter))
    response = act(client, lesson, "publish", {"with": [str(expert.pk)]})
    assert response.status_code == 422
    assert response.json()["error"]["details"][0]["field"] == "with.0"
    assert not BundleRelease.objects.filter(state="published").exists()


# --- Credentials ----------------------------------------------------------------------------------------------------


def test_the_same_credential_in_both_headers_is_one(operator: APIClient) -> None:
    assert operator.get(BUNDLES, headers={"Authorization": f"Bearer {ADMIN_API_KEY}"}).status_code == 200


def test_two_credentials_are_none(operator: APIClient, staff: Actor) -> None:
    """Which of them acts would be a guess, and the audit would name the one that was guessed."""
    for other in (a_token(created_by=staff.user), staff.access_token, "nonsense"):
        response = operator.get(BUNDLES, headers={"Authorization": f"Bearer {other}"})
        assert (response.status_code, error_code(response)) == INVALID_TOKEN


def test_a_password_of_a_proxy_in_front_is_no_credential_of_ours(operator: APIClient) -> None:
    assert operator.get(BUNDLES, headers={"Authorization": "Basic dXNlcjpwYXNz"}).status_code == 200
    nobody = APIClient().get(BUNDLES, headers={"Authorization": "Basic dXNlcjpwYXNz"})
    assert (nobody.status_code, error_code(nobody)) == UNAUTHORIZED


@pytest.mark.parametrize("header", ["Authorization", "X-Admin-Key"])
@pytest.mark.parametrize("credential", ["ключ", "lcb_ключ", "a b", "\udcff", "eyJ.eyJ.x", "lcb_", "x" * 5_000])
def test_nonsense_is_an_invalid_token(operator: APIClient, header: str, credential: str) -> None:
    sent = f"Bearer {credential}" if header == "Authorization" else credential
    response = APIClient().get(BUNDLES, headers={header: sent})
    assert (response.status_code, error_code(response)) == INVALID_TOKEN
    assert response["WWW-Authenticate"] == "Bearer"
    assert credential not in response.content.decode()


@pytest.mark.parametrize("sent", ["", "Bearer", "Bearer "])
def test_an_empty_credential_is_none(operator: APIClient, sent: str) -> None:
    response = APIClient().get(BUNDLES, headers={"Authorization": sent, "X-Admin-Key": ""})
    assert (response.status_code, error_code(response)) == UNAUTHORIZED


def test_an_access_token_is_told_what_is_needed_and_an_ended_one_is_not(staff: Actor) -> None:
    assert "API token" in staff.get(BUNDLES).json()["error"]["message"]
    staff.session.revoked_at = timezone.now()
    staff.session.save(update_fields=["revoked_at"])
    response = staff.get(BUNDLES)
    assert (response.status_code, error_code(response)) == INVALID_TOKEN
    response = APIClient().get(BUNDLES, headers={"X-Admin-Key": staff.access_token})
    assert (response.status_code, error_code(response)) == INVALID_TOKEN


def test_an_api_token_opens_nothing_else(staff: Actor) -> None:
    client = client_of(a_token(created_by=staff.user), "Authorization")
    for path in ("/v1/me", "/v1/courses/my"):
        response = client.get(path)
        assert (response.status_code, error_code(response)) == INVALID_TOKEN


def test_its_last_use_is_noted(staff: Actor) -> None:
    client = client_of(a_token(created_by=staff.user))
    assert ApiToken.objects.get().last_used_at is None
    client.get(BUNDLES)
    used = ApiToken.objects.get().last_used_at
    assert used is not None
    client.get(BUNDLES)
    assert ApiToken.objects.get().last_used_at == used, "to the minute: not every call is a write"
    ApiToken.objects.update(last_used_at=used - timedelta(minutes=2))
    client.get(BUNDLES)
    assert (ApiToken.objects.get().last_used_at or used) > used


def test_authentication_is_one_query(staff: Actor, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    client = client_of(a_token(created_by=staff.user))
    client.get(BUNDLES)
    release = draft(APP)
    with django_assert_num_queries(2):  # the token with its maker, the release; a superuser's permissions need none
        assert client.get(f"{BUNDLES}/{release.pk}").status_code == 200


def test_the_audit_names_who_it_was(operator: APIClient) -> None:
    author = maker()
    upload(client_of(a_token(created_by=author.user, name="nightly build")), version="1.0.0")
    upload(operator, version="2.0.0")
    by_token, by_key = ReleaseEvent.objects.order_by("pk")
    assert (by_token.actor_kind, by_token.actor_name, by_token.user) == ("token", "nightly build", author.user)
    assert by_token.token == ApiToken.objects.get()
    assert (by_key.actor_kind, by_key.actor_name, by_key.user) == ("admin_key", "ADMIN_API_KEY", None)
    assert BundleRelease.objects.get(version="1.0.0").created_by == author.user


def test_credentials_are_never_told(
    operator: APIClient, staff: Actor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = a_token(created_by=staff.user)
    broken = APIClient(raise_request_exception=False)
    with caplog.at_level(logging.DEBUG):
        answers = [upload(client_of(credential), b"no archive") for credential in (secret, ADMIN_API_KEY)]
        answers += [upload(client_of(credential)) for credential in (secret, ADMIN_API_KEY, f"{secret}x")]
        monkeypatch.setattr("updates.pipeline.views.list_releases", "nothing that can be called")
        answers += [broken.get(BUNDLES, headers={"X-Admin-Key": each}) for each in (secret, ADMIN_API_KEY)]
    assert [answer.status_code for answer in answers] == [422, 422, 201, 200, 401, 500, 500]
    told = caplog.text + "".join(answer.content.decode() + str(answer.headers) for answer in answers)
    assert "TypeError" in caplog.text
    assert secret not in told
    assert ADMIN_API_KEY not in told
    assert not ReleaseEvent.objects.filter(refusal__contains=secret).exists()


# --- Addresses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("release_id", ["1", "00000000-0000-0000-0000-000000000000", "..", "%00", "a" * 300])
def test_no_such_release(operator: APIClient, release_id: str) -> None:
    for response in (
        operator.get(f"{BUNDLES}/{release_id}"),
        operator.delete(f"{BUNDLES}/{release_id}"),
        *(act(operator, release_id, action) for action in ("publish", "withdraw", "verify")),
        act(operator, release_id, "rollout", {"rollout_percent": 10}),
        act(operator, release_id, "reschedule", {"now": True}),
    ):
        assert (response.status_code, error_code(response)) == NOT_FOUND


def test_wrong_methods_and_slashes(operator: APIClient) -> None:
    release = draft(SHARED)
    for method, path in (
        ("post", ""),
        ("put", f"/{release.pk}"),
        ("post", f"/{release.pk}"),
        ("get", "/upload"),
        ("get", "/publish"),
        ("delete", "/publish"),
        ("get", f"/{release.pk}/publish"),
    ):
        response = getattr(operator, method)(f"{BUNDLES}{path}")
        assert (response.status_code, error_code(response)) == (405, "METHOD_NOT_ALLOWED"), (method, path)
    for path in ("/", "/upload/", f"/{release.pk}/", f"/{release.pk}/publish/"):
        assert operator.post(f"{BUNDLES}{path}").status_code == 404
