"""POST /v1/analytics/events:ingest: how many events a learner may send, and what an outage does."""

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from config import limits
from telemetry.models import AnalyticsEvent, EventBudget
from telemetry.tests.partitioned import drop_partitions
from tests.cast import Actor, error_code
from tests.races import in_parallel, in_thread, wait_until_blocked

URL = "/v1/analytics/events:ingest"
TIME = "2026-03-01T08:30:00Z"


def events(count: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"event_type": "opened", "event_time": TIME, "event_id": f"e-{n}"} for n in range(start, start + count)]


def post(actor: Actor, sent: list[dict[str, Any]]) -> Any:
    return actor.client.post(URL, json.dumps({"events": sent}), content_type="application/json")


def test_window_is_short_enough_for_clients_that_try_for_two_minutes() -> None:
    budget, seconds = limits.EVENTS_PER_USER
    assert seconds <= 60
    assert budget >= limits.EVENTS_PER_CALL_MAX


def test_budget_is_counted_in_events_and_by_learner(
    learner: Actor, fellow: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EVENTS_PER_USER", (10, 60))
    assert post(learner, events(4)).status_code == 200
    assert post(learner, events(4)).status_code == 200  # a replay costs as much

    refused = post(learner, events(3, start=100))
    assert refused.status_code == 429
    assert error_code(refused) == "TOO_MANY_REQUESTS"
    assert 1 <= int(refused["Retry-After"]) <= 60
    assert AnalyticsEvent.objects.count() == 4

    assert post(learner, events(2, start=200)).status_code == 200  # the refused call was not counted
    assert post(learner, events(1, start=300)).status_code == 429
    assert post(learner, []).status_code == 200
    assert post(fellow, events(10)).status_code == 200


def test_bad_events_count_as_well(learner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_PER_USER", (10, 60))
    assert post(learner, [{}] * 10).json()["failed"] == 10
    assert post(learner, events(1)).status_code == 429


def test_what_is_no_call_does_not_count(learner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_PER_USER", (1_000, 60))
    assert post(learner, events(limits.EVENTS_PER_CALL_MAX + 1)).status_code == 413
    assert post(learner, [*events(999), 5]).status_code == 422  # type: ignore[list-item]
    assert post(learner, events(1_000)).status_code == 200


def test_refused_call_passes_in_the_next_window(learner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_PER_USER", (2, 60))
    assert post(learner, events(2)).status_code == 200
    assert post(learner, events(2, start=2)).status_code == 429
    EventBudget.objects.update(ends_at=timezone.now() - timedelta(minutes=1))
    later = time.monotonic() + 61
    monkeypatch.setattr("telemetry.budget.monotonic", lambda: later)
    assert post(learner, events(2, start=2)).json()["duplicates"] == 0
    assert AnalyticsEvent.objects.count() == 4
    assert post(learner, events(1, start=4)).status_code == 429  # a whole new window, and no more


def test_call_that_is_larger_than_the_whole_budget(learner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_PER_USER", (2, 60))
    assert post(learner, events(3)).status_code == 429
    assert not AnalyticsEvent.objects.exists()


def test_who_goes_on_sending_is_refused_before_anything_is_read(
    learner: Actor, fellow: Actor, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(limits, "EVENTS_PER_USER", (10, 60))
    assert post(learner, events(8)).status_code == 200
    assert post(learner, events(3, start=8)).status_code == 429
    with monkeypatch.context() as patch:
        patch.setattr("telemetry.ingest.read_events", None)
        with django_assert_num_queries(1):  # authentication
            again = post(learner, events(3, start=8))
        assert again.status_code == 429
        assert 1 <= int(again["Retry-After"]) <= 60
    assert post(learner, events(2, start=8)).status_code == 200  # what is left
    assert post(fellow, events(3)).status_code == 200


def test_a_clock_that_was_set_back_keeps_nobody_waiting_for_more_than_a_window(
    learner: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "EVENTS_PER_USER", (10, 60))
    assert post(learner, events(4)).status_code == 200
    EventBudget.objects.update(ends_at=timezone.now() + timedelta(hours=5))
    assert post(learner, events(4)).status_code == 200
    assert EventBudget.objects.get().ends_at <= timezone.now() + timedelta(seconds=61)


@pytest.mark.django_db(transaction=True)
def test_budgets_of_a_day_ago_are_forgotten(learner: Actor, fellow: Actor) -> None:
    post(learner, events(1))
    post(fellow, events(1))
    EventBudget.objects.filter(user_id=fellow.user.pk).update(ends_at=timezone.now() - timedelta(days=1, minutes=1))
    try:
        call_command("maintain_telemetry", verbosity=0)
    finally:
        drop_partitions()
    assert EventBudget.objects.get().user_id == learner.user.pk


@pytest.mark.django_db(transaction=True)
def test_budget_is_exact_among_calls_at_once(learner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_PER_USER", (5, 60))
    answers = in_parallel(8, lambda number: post(learner, events(1, start=number)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 3
    assert AnalyticsEvent.objects.count() == 5


@pytest.mark.django_db(transaction=True)
def test_database_that_goes_away_in_the_middle(learner: Actor) -> None:
    """Nothing is acknowledged, nothing of the batch is stored, and the next try is no replay."""
    with transaction.atomic():
        AnalyticsEvent.objects.create(user=learner.user, event_id="e-2", event_time=TIME, event_type="x")
        answer = in_thread(lambda: post(learner, events(4)))
        wait_until_blocked()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
            )
        response = answer.result()
        transaction.set_rollback(True)
    assert response.status_code == 503
    assert error_code(response) == "SERVICE_UNAVAILABLE"
    assert int(response["Retry-After"]) >= 1
    assert not AnalyticsEvent.objects.exists()
    assert post(learner, events(4)).json() == {"accepted": 4, "failed": 0, "duplicates": 0, "errors": []}
