"""While the database is away nothing is the caller's fault: clients wipe their credentials on a 4xx."""

from typing import Any

import pytest
from django.db import connections

from tests.cast import PASSWORD, Actor, error_code, make_actor
from tests.races import WAIT_SECONDS, in_thread


def calls(actor: Actor) -> list[tuple[str, str, dict[str, Any]]]:
    login = {"email": actor.user.email, "password": PASSWORD, "device_id": "d"}
    return [
        ("get", "/v1/me", {}),
        ("post", "/v1/auth/refresh", {"refresh_token": actor.refresh_token, "device_id": "learner-device"}),
        ("post", "/v1/auth/login", login),
        ("post", "/v1/auth/logout", {"refresh_token": actor.refresh_token}),
        ("post", "/v1/auth/request-email-code", {"email": "new@example.com", "purpose": "register"}),
        ("post", "/v1/auth/register", {**login, "verification_code": "123456"}),
        ("get", "/v1/courses/my", {}),
        ("post", "/v1/updates/check-app", {"installed": {}}),
        ("post", "/v1/progress/chapter", {"course_id": "x", "chapter_id": "y", "status": "IN_PROGRESS"}),
        ("post", "/v1/analytics/events:ingest", {"events": []}),
        ("get", "/healthz", {}),
    ]


@pytest.mark.django_db(transaction=True)
def test_every_call_is_503_with_retry_after() -> None:
    learner = make_actor("learner")

    def without_database() -> list[Any]:
        mine = connections["default"]
        mine.settings_dict = {**mine.settings_dict, "OPTIONS": {"service": "nowhere"}}
        return [getattr(learner.client, method)(path, body, format="json") for method, path, body in calls(learner)]

    answers = in_thread(without_database).result(WAIT_SECONDS)
    for (_, path, _body), answer in zip(calls(learner), answers, strict=True):
        assert answer.status_code == 503, (path, answer.content)
        assert error_code(answer) == "SERVICE_UNAVAILABLE"
        assert int(answer["Retry-After"]) >= 1
