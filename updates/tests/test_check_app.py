"""POST /v1/updates/check-app"""

import hashlib
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from accounts.models import DeviceSession
from tests.cast import Actor, error_code, make_actor
from updates.catalogue import catalogue
from updates.models import BundleRelease
from updates.services.registrations import register_draft
from updates.tests.shelf import APP, SHARED, SOMEBODY, draft, publish, published, withdraw

URL = "/v1/updates/check-app"

pytestmark = pytest.mark.django_db

NORMAL = {"desktop_version": "0.1.0", "sidecar_version": "0.1.0", "installed": {"app_agents": "", "experts_shared": ""}}


def check(actor: Actor, body: Any = None) -> dict[str, Any]:
    response = actor.post(URL, NORMAL if body is None else body)
    assert response.status_code == 200, response.content
    return dict(response.json())


def versions(actor: Actor, body: Any = None) -> list[str]:
    return [descriptor["version"] for descriptor in check(actor, body)["required"]]


def test_lists_both_families_with_what_the_client_needs(learner: Actor) -> None:
    core, shared = published(APP), published(SHARED, "2.0.0", is_mandatory=False)

    answer = check(learner)

    assert set(answer) == {"required", "optional", "blocked"}
    (required,), (optional,) = answer["required"], answer["optional"]
    assert required == {
        "bundle_type": "app_agents",
        "scope_id": "core",
        "version": "1.0.0",
        "artifact_url": required["artifact_url"],
        "sha256": core.sha256,
        "size_bytes": core.size_bytes,
        "mandatory": True,
    }
    assert (optional["bundle_type"], optional["scope_id"]) == ("experts_shared", "shared")
    assert (optional["version"], optional["sha256"], optional["mandatory"]) == ("2.0.0", shared.sha256, False)


def test_the_url_downloads_the_very_bytes_without_a_token(learner: Actor) -> None:
    published(APP)
    (descriptor,) = check(learner)["required"]

    assert descriptor["artifact_url"].startswith("http://testserver/")
    response = Client().get(descriptor["artifact_url"].removeprefix("http://testserver"))

    body = response.getvalue()
    assert response.status_code == 200
    assert len(body) == descriptor["size_bytes"]
    assert hashlib.sha256(body).hexdigest() == descriptor["sha256"]


def test_the_url_begins_with_the_public_address_of_the_server(learner: Actor, settings: Settings) -> None:
    published(APP)
    settings.PUBLIC_BASE_URL = "https://learn.example.org/api"

    (descriptor,) = check(learner)["required"]

    assert descriptor["artifact_url"].startswith("https://learn.example.org/api/")


def test_nothing_is_listed_when_the_current_versions_are_installed(learner: Actor) -> None:
    published(APP)
    published(SHARED)

    body = {**NORMAL, "installed": {"app_agents": "1.0.0", "experts_shared": "1.0.0"}}

    assert check(learner, body) == {"required": [], "optional": [], "blocked": []}
    assert check(learner, body) == {"required": [], "optional": [], "blocked": []}


def test_nothing_is_listed_without_releases_or_with_a_draft(learner: Actor) -> None:
    draft(APP)

    assert check(learner) == {"required": [], "optional": [], "blocked": []}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"installed": None},
        {"installed": {}},
        {"desktop_version": None, "sidecar_version": None, "installed": {"app_agents": None}, "platform_scope": None},
        {"desktop_version": "", "sidecar_version": "", "installed": {"app_agents": ""}, "platform_scope": "win-x64"},
        {"desktop_version": "next", "installed": {"app_agents": 1, "experts_shared": ["1.0.0"], "other": {}}},
        {"desktop_version": "9" * 5000, "sidecar_version": "1.2.3" * 20, "installed": {"app_agents": {"1.0.0": 1}}},
        {**NORMAL, "unknown": [1, 2]},
    ],
)
def test_tolerates_what_clients_leave_out_or_send_oddly(learner: Actor, body: dict[str, Any]) -> None:
    published(APP)

    assert versions(learner, body) == ["1.0.0"]


def test_g2_gets_the_same_families_as_g1(learner: Actor) -> None:
    published(APP)
    published(SHARED)
    body = {
        "desktop_version": "0.3.0",
        "sidecar_version": "0.0.0",
        "installed": {"app_agents": "1.0.0", "python_runtime": ""},
    }

    answer = check(learner, body)

    assert answer["required"] == []
    assert [descriptor["bundle_type"] for descriptor in answer["optional"]] == ["experts_shared"]


def test_a_newer_release_and_its_withdrawal(learner: Actor) -> None:
    published(APP, "1.0.0")
    newer = published(APP, "1.1.0")
    installed = {**NORMAL, "installed": {"app_agents": "1.1.0"}}
    assert versions(learner) == ["1.1.0"]
    assert versions(learner, installed) == []

    withdraw(newer)

    assert versions(learner, installed) == ["1.0.0"]
    publish(newer)
    assert versions(learner, installed) == []


def test_a_release_whose_time_has_not_come_is_not_offered(learner: Actor) -> None:
    published(APP, "1.0.0")
    published(APP, "2.0.0", publish_at=timezone.now() + timedelta(hours=1))
    assert versions(learner) == ["1.0.0"]

    BundleRelease.objects.filter(version="2.0.0").update(publish_at=timezone.now() - timedelta(seconds=1))
    catalogue.forget()

    assert versions(learner) == ["2.0.0"]


@pytest.mark.usefixtures("calm_catalogue")
def test_its_time_comes_without_any_job(
    learner: Actor, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    published(APP, "1.0.0")
    moment = (timezone.now() + timedelta(days=1)).replace(hour=12)
    published(APP, "2.0.0", publish_at=moment)
    assert versions(learner) == ["1.0.0"]

    for now, offered in ((moment - timedelta(microseconds=1), "1.0.0"), (moment, "2.0.0")):
        monkeypatch.setattr("updates.device_checks.timezone.now", lambda now=now: now)
        # Authentication, and the record of the day and of what is offered: the picture of the releases is the same.
        with django_assert_num_queries(2):
            assert versions(learner) == [offered]


def test_a_rollout_reaches_some_devices_and_every_tester(learner: Actor) -> None:
    published(APP, "1.0.0")
    published(APP, "2.0.0", rollout_basis_points=0)
    assert versions(learner) == ["1.0.0"]

    group, _ = Group.objects.get_or_create(name="Testers")
    learner.user.groups.add(group)
    catalogue.forget()

    assert versions(learner) == ["2.0.0"]


def test_the_last_real_version_counts_for_a_minimum(learner: Actor) -> None:
    published(APP, "1.0.0")
    published(APP, "2.0.0", min_desktop_version="0.3.0")
    assert versions(learner) == ["2.0.0"], "an unknown version meets a minimum"

    assert versions(learner, {**NORMAL, "desktop_version": "0.2.9"}) == ["1.0.0"]
    assert versions(learner) == ["1.0.0"], "the constant of the normal check says nothing"
    assert versions(learner, {**NORMAL, "desktop_version": "0.3.0"}) == ["2.0.0"]
    assert versions(learner) == ["2.0.0"]


def test_a_strict_minimum_shuts_unknown_versions_out(learner: Actor) -> None:
    published(APP, "1.0.0")
    published(APP, "2.0.0", min_sidecar_version="0.3.0", strict_versions=True)

    assert versions(learner) == ["1.0.0"]
    assert versions(learner, {**NORMAL, "sidecar_version": "0.3.0"}) == ["2.0.0"]


def test_mandatory_when_a_skipped_release_was(learner: Actor) -> None:
    published(APP, "1.0.0", is_mandatory=False)
    published(APP, "1.1.0", is_mandatory=True)
    published(APP, "1.2.0", is_mandatory=False)

    for installed, mandatory in (("1.0.0", True), ("1.1.0", False), ("", True)):
        (descriptor,) = check(learner, {"installed": {"app_agents": installed}})["required"]
        assert (descriptor["version"], descriptor["mandatory"]) == ("1.2.0", mandatory)


def test_the_way_back_from_a_withdrawn_release_is_as_mandatory_as_its_end(learner: Actor) -> None:
    published(APP, "1.0.0", is_mandatory=True)
    published(APP, "1.1.0", is_mandatory=False)
    bad = published(APP, "1.2.0", is_mandatory=True)
    withdraw(bad)

    for installed, mandatory in (("1.2.0", False), ("1.0.0", False), ("", True)):
        (descriptor,) = check(learner, {"installed": {"app_agents": installed}})["required"]
        assert (descriptor["version"], descriptor["mandatory"]) == ("1.1.0", mandatory)

    published(APP, "1.3.0", is_mandatory=False)
    (descriptor,) = check(learner, {"installed": {"app_agents": "1.2.0"}})["required"]
    assert (descriptor["version"], descriptor["mandatory"]) == ("1.3.0", False)


def test_an_artifact_that_lies_elsewhere_is_named_as_it_is(learner: Actor) -> None:
    url = "https://cdn.example.org/core-1.0.0/bundle.tar.gz"
    release = register_draft(
        bundle_type="app_agents",
        scope_id="core",
        version="1.0.0",
        sha256="a" * 64,
        size_bytes=12,
        manifest={},
        external_url=url,
        principal=SOMEBODY,
    ).release
    publish(release)

    assert check(learner)["required"][0]["artifact_url"] == url


@pytest.mark.parametrize(
    ("desktop", "unmet"), [("0.2.9", {"min_desktop_version": "0.3.0"}), ("0.3.0", {}), ("0.4.0-rc.1", {})]
)
def test_what_the_app_is_too_old_for_is_named(learner: Actor, desktop: str, unmet: dict[str, str]) -> None:
    published(APP, "1.0.0")
    published(APP, "2.0.0", min_desktop_version="0.3.0", min_sidecar_version="0.2.0")

    answer = check(learner, {**NORMAL, "desktop_version": desktop, "sidecar_version": "0.2.0"})

    named = [{"bundle_type": "app_agents", "scope_id": "core", "version": "2.0.0", **unmet}]
    assert answer["blocked"] == (named if unmet else [])
    assert answer["required"][0]["version"] == ("1.0.0" if unmet else "2.0.0")


def test_of_several_the_newest_is_named_first_and_none_that_is_older_than_the_current(learner: Actor) -> None:
    published(APP, "0.9.0", min_desktop_version="9.0.0")
    published(APP, "1.0.0")
    for minor in (1, 2):
        published(APP, f"1.{minor}.0", min_desktop_version=f"9.{minor}.0")

    answer = check(learner, {**NORMAL, "desktop_version": "0.3.0"})

    assert [(b["version"], b["min_desktop_version"]) for b in answer["blocked"]] == [
        ("1.2.0", "9.2.0"),
        ("1.1.0", "9.1.0"),
    ]


def test_an_unknown_version_is_blocked_by_a_strict_release_only(learner: Actor) -> None:
    published(SHARED, "1.0.0", min_sidecar_version="0.3.0")
    assert check(learner)["blocked"] == []

    published(SHARED, "2.0.0", min_sidecar_version="0.3.0", strict_versions=True)

    (blocked,) = check(learner)["blocked"]
    assert (blocked["version"], blocked["min_sidecar_version"]) == ("2.0.0", "0.3.0")


@pytest.mark.parametrize(
    "fields", [{"rollout_basis_points": 0}, {"publish_at": timezone.now() + timedelta(days=1)}], ids=["cohort", "due"]
)
def test_what_is_not_for_the_device_yet_is_not_named(learner: Actor, fields: dict[str, Any]) -> None:
    published(APP, min_desktop_version="9.0.0", **fields)

    assert check(learner, {**NORMAL, "desktop_version": "0.3.0"})["blocked"] == []


def test_real_versions_are_kept_and_constants_are_not(learner: Actor) -> None:
    def kept() -> tuple[str, str]:
        session = DeviceSession.objects.get(pk=learner.session.pk)
        return session.desktop_version, session.sidecar_version

    check(learner, {"desktop_version": "0.3.1", "sidecar_version": "0.0.0"})
    assert kept() == ("0.3.1", "0.0.0")
    check(learner, {"desktop_version": "0.1.0", "sidecar_version": "latest"})
    check(learner, {"desktop_version": "", "sidecar_version": None})
    assert kept() == ("0.3.1", "0.0.0")
    check(learner, {"desktop_version": " 0.4.0-rc.1 ", "sidecar_version": "1" * 70 + ".0.0"})
    assert kept() == ("0.4.0-rc.1", "0.0.0")


@pytest.mark.usefixtures("calm_catalogue")
def test_one_query_for_authentication_and_none_for_releases(
    learner: Actor, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    published(APP)
    published(SHARED)
    real = {**NORMAL, "desktop_version": "0.3.0"}
    check(learner, real)

    with django_assert_num_queries(1):
        check(learner)
    with django_assert_num_queries(1):
        check(learner, real)
    with django_assert_num_queries(2):
        check(learner, {**NORMAL, "desktop_version": "0.3.1"})


def test_needs_a_token(api: APIClient) -> None:
    assert error_code(api.post(URL, NORMAL, format="json")) == "UNAUTHORIZED"


def test_knows_no_other_method(learner: Actor) -> None:
    response = learner.get(URL)

    assert (response.status_code, error_code(response)) == (405, "METHOD_NOT_ALLOWED")


def test_a_trailing_slash_is_not_found(learner: Actor) -> None:
    assert learner.post(f"{URL}/", NORMAL).status_code == 404


def test_malformed_json(learner: Actor) -> None:
    response = learner.client.post(URL, "{", content_type="application/json")

    assert (response.status_code, error_code(response)) == (400, "MALFORMED_REQUEST")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"desktop_version": 1}, "desktop_version"),
        ({"sidecar_version": ["0.1.0"]}, "sidecar_version"),
        ({"sidecar_version": "0.1.0\x00"}, "sidecar_version"),
        ({"installed": []}, "installed"),
        ({"installed": "1.0.0"}, "installed"),
        ({"platform_scope": {}}, "platform_scope"),
        ([], "body"),
    ],
)
def test_wrong_types_are_refused_by_field(learner: Actor, body: Any, field: str) -> None:
    response = learner.post(URL, body)

    assert (response.status_code, error_code(response)) == (422, "VALIDATION_ERROR")
    assert [detail["field"] for detail in response.json()["error"]["details"]] == [field]


def test_a_rollout_is_by_device_and_each_stays_where_it_is(learner: Actor) -> None:
    published(APP, "1.0.0")
    published(APP, "2.0.0", rollout_basis_points=5_000)
    seen: set[str] = set()
    for _ in range(40):
        DeviceSession.objects.filter(pk=learner.session.pk).update(device_id=str(uuid.uuid4()))
        first, second = versions(learner), versions(learner)
        assert first == second
        seen.update(first)
    assert seen == {"1.0.0", "2.0.0"}  # by chance one of them is missing once in 500 billion runs


def test_another_account_sees_the_same_releases(learner: Actor) -> None:
    published(APP)

    assert versions(make_actor("stranger")) == versions(learner) == ["1.0.0"]
