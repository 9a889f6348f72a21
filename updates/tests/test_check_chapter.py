"""POST /v1/updates/check-chapter"""

import uuid
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from accounts.models import DeviceSession
from courses.models import Chapter, Course, Enrollment
from tests.cast import Actor, error_code
from updates.models import BundleRelease
from updates.tests.shelf import chapter_scope, published, withdraw

URL = "/v1/updates/check-chapter"

pytestmark = pytest.mark.django_db

EXPERTS = ("zeta", "alpha")
"""Not in the order of the alphabet: the chapter's order is kept."""


@pytest.fixture
def release(chapter: Chapter) -> BundleRelease:
    """The chapter's release; its experts are published as well."""
    for expert in EXPERTS:
        published(("experts", expert))
    return published(chapter_scope(chapter), experts=EXPERTS)


def body_for(chapter: Chapter, **fields: Any) -> dict[str, Any]:
    return {
        "course_id": str(chapter.course_id),
        "chapter_id": chapter.chapter_code,
        "installed": {"chapter_bundle": None, "experts": {}},
        **fields,
    }


def check(actor: Actor, body: Any) -> dict[str, Any]:
    response = actor.post(URL, body)
    assert response.status_code == 200, response.content
    return dict(response.json())


def listed(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(d["bundle_type"], d["scope_id"], d["version"]) for d in answer["required"]]


def test_by_code(learner: Actor, chapter: Chapter, release: BundleRelease) -> None:
    answer = check(learner, body_for(chapter))

    assert listed(answer) == [
        ("chapter", f"{chapter.course_id}/ch1_intro", "1.0.0"),
        ("experts", "zeta", "1.0.0"),
        ("experts", "alpha", "1.0.0"),
    ]
    assert answer["resolved_chapter"] == {
        "course_id": str(chapter.course_id),
        "chapter_id": "ch1_intro",
        "required_experts": ["zeta", "alpha"],
    }
    descriptor = answer["required"][0]
    assert set(descriptor) == {
        "bundle_type", "scope_id", "version", "artifact_url", "sha256", "size_bytes", "mandatory",
    }  # fmt: skip
    assert (descriptor["sha256"], descriptor["size_bytes"]) == (release.sha256, release.size_bytes)


def test_by_uuid_it_is_the_same_release_under_another_scope(
    learner: Actor, chapter: Chapter, release: BundleRelease
) -> None:
    by_code = check(learner, body_for(chapter))["required"][0]

    answer = check(learner, body_for(chapter, chapter_id=str(chapter.pk)))

    by_uuid = answer["required"][0]
    assert by_uuid["scope_id"] == str(chapter.pk)
    assert answer["resolved_chapter"]["chapter_id"] == str(chapter.pk)
    assert by_uuid["sha256"] == by_code["sha256"] == release.sha256
    assert by_uuid["artifact_url"].partition("?")[0] == by_code["artifact_url"].partition("?")[0]


def test_ids_are_echoed_as_they_were_sent(learner: Actor, chapter: Chapter, release: BundleRelease) -> None:
    sent = body_for(chapter, course_id=str(chapter.course_id).upper(), chapter_id=str(chapter.pk).upper())

    answer = check(learner, sent)

    assert answer["resolved_chapter"]["course_id"] == str(chapter.course_id).upper()
    assert answer["required"][0]["scope_id"] == str(chapter.pk).upper()


@pytest.mark.usefixtures("release")
def test_only_what_is_not_current_is_listed(learner: Actor, chapter: Chapter) -> None:
    installed = {"chapter_bundle": "1.0.0", "experts": {"zeta": "1.0.0", "alpha": "0.9.0"}}

    answer = check(learner, body_for(chapter, installed=installed))

    assert listed(answer) == [("experts", "alpha", "1.0.0")]
    assert answer["resolved_chapter"]["required_experts"] == ["zeta", "alpha"]

    installed["experts"] = {"zeta": "1.0.0", "alpha": "1.0.0"}
    assert check(learner, body_for(chapter, installed=installed))["required"] == []


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(
    "installed",
    [
        None,
        {},
        {"chapter_bundle": "", "experts": None},
        {"chapter_bundle": 1, "experts": ["zeta"]},
        {"chapter_bundle": ["1.0.0"], "experts": {"zeta": None, "alpha": 3}},
    ],
)
def test_what_is_oddly_installed_counts_as_nothing(learner: Actor, chapter: Chapter, installed: Any) -> None:
    assert len(check(learner, body_for(chapter, installed=installed))["required"]) == 3


@pytest.mark.usefixtures("release")
def test_installed_may_be_left_out(learner: Actor, chapter: Chapter) -> None:
    body = body_for(chapter)
    del body["installed"]

    assert len(check(learner, body)["required"]) == 3


def test_the_experts_are_those_of_the_current_release(learner: Actor, chapter: Chapter, release: BundleRelease) -> None:
    newer = published(chapter_scope(chapter), "2.0.0", experts=("alpha",))
    assert check(learner, body_for(chapter))["resolved_chapter"]["required_experts"] == ["alpha"]

    withdraw(newer)

    assert check(learner, body_for(chapter))["resolved_chapter"]["required_experts"] == ["zeta", "alpha"]


def test_an_expert_without_a_release_is_named_but_not_listed(learner: Actor, chapter: Chapter) -> None:
    published(chapter_scope(chapter), experts=("missing",))
    withdraw(BundleRelease.objects.get(bundle_type="experts"))

    answer = check(learner, body_for(chapter))

    assert [scope for _, scope, _ in listed(answer)] == [f"{chapter.course_id}/ch1_intro"]
    assert answer["resolved_chapter"]["required_experts"] == ["missing"]


def test_a_chapter_without_a_release_needs_nothing(learner: Actor, chapter: Chapter) -> None:
    published(chapter_scope(chapter), rollout_basis_points=0, experts=("alpha",))

    answer = check(learner, body_for(chapter))

    assert answer["required"] == []
    assert answer["resolved_chapter"]["required_experts"] == []


@pytest.mark.usefixtures("release")
def test_what_the_device_is_too_old_for_is_named_and_the_one_before_is_listed(learner: Actor, chapter: Chapter) -> None:
    scope = chapter_scope(chapter)
    published(scope, "2.0.0", experts=EXPERTS, min_desktop_version="0.4.0", min_sidecar_version="0.2.0")
    published(("experts", "alpha"), "2.0.0", min_sidecar_version="0.5.0")
    DeviceSession.objects.filter(pk=learner.session.pk).update(desktop_version="0.3.0", sidecar_version="0.3.0")
    of_chapter = {"bundle_type": "chapter", "version": "2.0.0", "min_desktop_version": "0.4.0"}
    of_expert = {"bundle_type": "experts", "scope_id": "alpha", "version": "2.0.0", "min_sidecar_version": "0.5.0"}

    answer = check(learner, body_for(chapter))
    assert [version for _, _, version in listed(answer)] == ["1.0.0"] * 3
    assert answer["blocked"] == [{**of_chapter, "scope_id": scope[1]}, of_expert]

    answer = check(learner, body_for(chapter, chapter_id=str(chapter.pk)))
    assert answer["blocked"] == [{**of_chapter, "scope_id": str(chapter.pk)}, of_expert]

    DeviceSession.objects.filter(pk=learner.session.pk).update(desktop_version="0.4.0", sidecar_version="0.5.0")
    answer = check(learner, body_for(chapter))
    assert (answer["blocked"], listed(answer)[0][2]) == ([], "2.0.0")


@pytest.mark.usefixtures("release", "calm_catalogue")
def test_two_queries(learner: Actor, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    check(learner, body_for(chapter))

    with django_assert_num_queries(2):
        check(learner, body_for(chapter))
    with django_assert_num_queries(2):
        check(learner, body_for(chapter, chapter_id=str(chapter.pk)))


# --- Refusals ---------------------------------------------------------------------------------------------------


def refused(actor: Actor, body: Any) -> tuple[int, str]:
    response = actor.post(URL, body)
    return response.status_code, error_code(response)


@pytest.mark.usefixtures("release")
def test_an_outsider_is_denied_as_for_an_unknown_course(outsider: Actor, learner: Actor, chapter: Chapter) -> None:
    assert refused(outsider, body_for(chapter)) == (403, "COURSE_ACCESS_DENIED")
    for course_id in (str(uuid.uuid4()), "", "SOC101", chapter.course_id.hex, f"{{{chapter.course_id}}}"):
        assert refused(learner, body_for(chapter, course_id=course_id)) == (403, "COURSE_ACCESS_DENIED")


@pytest.mark.usefixtures("release")
def test_a_removed_learner_is_denied(learner: Actor, chapter: Chapter) -> None:
    Enrollment.objects.filter(user=learner.user).update(removed_at=timezone.now())

    assert refused(learner, body_for(chapter)) == (403, "COURSE_ACCESS_DENIED")


@pytest.mark.usefixtures("release")
def test_a_deactivated_course_is_not_found(learner: Actor, course: Course, chapter: Chapter) -> None:
    Course.objects.filter(pk=course.pk).update(is_active=False)

    assert refused(learner, body_for(chapter)) == (404, "COURSE_NOT_FOUND")


@pytest.mark.usefixtures("release")
def test_an_unknown_or_inactive_chapter_is_not_found(learner: Actor, course: Course, chapter: Chapter) -> None:
    other = Course.objects.create(course_code="OTHER", title="Other")
    foreign = Chapter.objects.create(course=other, chapter_code="ch9", title="Foreign")
    for chapter_id in ("nowhere", "", "ch9", str(foreign.pk), str(uuid.uuid4()), chapter.pk.hex):
        assert refused(learner, body_for(chapter, chapter_id=chapter_id)) == (404, "CHAPTER_NOT_FOUND")

    Chapter.objects.filter(pk=chapter.pk).update(is_active=False)

    assert refused(learner, body_for(chapter)) == (404, "CHAPTER_NOT_FOUND")
    assert refused(learner, body_for(chapter, chapter_id=str(chapter.pk))) == (404, "CHAPTER_NOT_FOUND")


def test_needs_a_token(api: APIClient, chapter: Chapter) -> None:
    assert error_code(api.post(URL, body_for(chapter), format="json")) == "UNAUTHORIZED"


def test_knows_no_other_method(learner: Actor) -> None:
    response = learner.client.put(URL, {}, format="json")

    assert (response.status_code, error_code(response)) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"course_id": 1}, "course_id"),
        ({"course_id": None}, "course_id"),
        ({"chapter_id": ["ch1_intro"]}, "chapter_id"),
        ({"chapter_id": "ch1\x00"}, "chapter_id"),
        ({"chapter_id": "c" * 256}, "chapter_id"),
        ({"installed": []}, "installed"),
    ],
)
def test_wrong_types_are_refused_by_field(learner: Actor, chapter: Chapter, fields: Any, field: str) -> None:
    response = learner.post(URL, body_for(chapter, **fields))

    assert (response.status_code, error_code(response)) == (422, "VALIDATION_ERROR")
    assert [detail["field"] for detail in response.json()["error"]["details"]] == [field]


def test_a_lone_surrogate_is_refused(learner: Actor, chapter: Chapter) -> None:
    raw = f'{{"course_id": "{chapter.course_id}", "chapter_id": "\\ud800"}}'

    response = learner.client.post(URL, raw, content_type="application/json")

    assert (response.status_code, error_code(response)) == (422, "VALIDATION_ERROR")
