"""API tokens: made, used, ended."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from config import limits
from config.errors import ApiError, ErrorCode
from config.redaction import REDACTED, redact_text
from courses.models import Course
from tests.cast import Actor
from tests.races import run_at_once
from updates.models import ApiToken
from updates.services.tokens import authenticate_token, create_token, revoke_token
from updates.tests.pipelines import a_token, maker
from updates.tests.shelf import refused

pytestmark = pytest.mark.django_db


def make(created_by: Any, **fields: Any) -> tuple[ApiToken, str]:
    soon = timezone.now() + timedelta(days=1)
    return create_token(**{"name": "ci", "abilities": ["read"], "expires_at": soon, "created_by": created_by, **fields})


def test_a_token_is_shown_once_and_kept_as_a_digest(staff: Actor) -> None:
    token, secret = make(staff.user, abilities=["publish", "read", "publish"], bundle_types=["chapter"])
    assert secret.startswith("lcb_")
    assert len(secret) >= 4 + 43, "256 random bits"
    token.refresh_from_db()
    assert token.digest == hashlib.sha256(secret.encode()).hexdigest()
    assert token.hint == secret[:10]
    assert secret not in str(ApiToken.objects.values().get())
    assert token.abilities == ["read", "publish"]
    assert authenticate_token(secret=secret) == token
    assert make(staff.user, name="other")[1] != secret


def test_nobody_makes_a_token_that_may_more_than_its_maker() -> None:
    author = maker("author", "read", "upload")
    assert make(author.user, abilities=["read", "upload"])
    with refused(ErrorCode.FORBIDDEN):
        make(author.user, name="other", abilities=["read", "publish"])
    assert ApiToken.objects.count() == 1


def test_learners_make_none(learner: Actor) -> None:
    with refused(ErrorCode.FORBIDDEN):
        make(learner.user)


@pytest.mark.parametrize(
    "fields",
    [
        {"abilities": []},
        {"name": ""},
        {"name": "x" * 101},
        {"name": "ci\n2026-01-01 00:00:00 ERROR forged"},
        {"name": "ci\x1b[2K"},
        {"name": "ci\u202e"},
        {"name": " ci"},
        {"name": "ci "},
        {"name": "ADMIN_API_KEY"},
        {"name": "Admin_Api_Key"},
        {"name": "\uff21DMIN_API_KEY"},
        {"name": "staff@example.com"},
        {"name": "staff\uff20example.com"},
        {"bundle_types": ["plugins"]},
        {"expires_at": timezone.now() - timedelta(seconds=1)},
        {"expires_at": timezone.now() + timedelta(days=limits.API_TOKEN_MAX_DAYS + 1)},
    ],
)
def test_what_is_no_token(staff: Actor, fields: dict[str, Any]) -> None:
    with refused(ErrorCode.VALIDATION_ERROR):
        make(staff.user, **fields)
    assert not ApiToken.objects.exists()


def test_names_of_any_language(staff: Actor) -> None:
    for name in ("nightly build", "夜间构建", "Prüfstand (2)", "ci/main"):
        assert make(staff.user, name=name)[0].name == name


def test_an_ability_that_there_is_not(staff: Actor) -> None:
    with pytest.raises((ApiError, KeyError)):
        make(staff.user, abilities=["destroy"])
    assert not ApiToken.objects.exists()


def test_a_token_for_a_course_is_for_chapters(staff: Actor, course: Course) -> None:
    with refused(ErrorCode.VALIDATION_ERROR, "chapters"):
        make(staff.user, course=course, bundle_types=["experts"])
    assert make(staff.user, course=course, bundle_types=["experts", "chapter"])


def test_a_name_is_taken_once(staff: Actor) -> None:
    make(staff.user)
    with refused(ErrorCode.VALIDATION_ERROR):
        make(staff.user)


@pytest.mark.django_db(transaction=True)
def test_a_name_is_taken_once_at_the_same_moment(staff: Actor) -> None:
    def attempt() -> str:
        try:
            make(staff.user)
        except ApiError as error:
            return str(error.code)
        return "made"

    assert sorted(run_at_once(*(attempt,) * 4)) == ["VALIDATION_ERROR"] * 3 + ["made"]


def test_a_revoked_token_ends_at_once(staff: Actor) -> None:
    token, secret = make(staff.user)
    assert revoke_token(token=token) is True
    assert revoke_token(token=token) is False
    with refused(ErrorCode.INVALID_TOKEN, "revoked"):
        authenticate_token(secret=secret)


def test_an_expired_token(staff: Actor) -> None:
    _, secret = make(staff.user)
    ApiToken.objects.update(expires_at=timezone.now())
    with refused(ErrorCode.INVALID_TOKEN, "expired"):
        authenticate_token(secret=secret)


def test_a_token_ends_with_its_course(staff: Actor, course: Course) -> None:
    """Were it bound to no course any more, it would be for all."""
    _, secret = make(staff.user, course=course)
    course.delete()
    with refused(ErrorCode.INVALID_TOKEN, "no such"):
        authenticate_token(secret=secret)


def test_one_query_for_the_token_its_maker_and_its_course(
    staff: Actor, course: Course, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    _, secret = make(staff.user, course=course)
    authenticate_token(secret=secret)
    with django_assert_num_queries(1):
        token = authenticate_token(secret=secret)
        assert token.created_by == staff.user
        assert token.course == course


def test_a_token_is_redacted_wherever_it_lands(staff: Actor) -> None:
    secret = a_token(created_by=staff.user)
    for text in (f"the pipeline said {secret}.", f"curl -H 'X-Admin-Key: {secret}'", f'{{"text": "\\n{secret}"}}'):
        assert REDACTED in redact_text(text)
        assert secret not in redact_text(text)
    assert redact_text("albcb_x and lcb_short") == "albcb_x and lcb_short"
