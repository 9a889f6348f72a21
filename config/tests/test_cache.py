"""The counter cache in PostgreSQL, by Django's cache interface."""

import time

import pytest
from django.core.cache.backends.base import InvalidCacheKey

from config.cache import PostgresCounterCache
from config.models import Counter
from tests.races import in_parallel

pytestmark = pytest.mark.django_db


@pytest.fixture
def counters() -> PostgresCounterCache:
    return PostgresCounterCache("", {})


def test_add_once(counters: PostgresCounterCache) -> None:
    assert counters.add("k", 1, 60) is True
    assert counters.add("k", 5, 60) is False
    assert counters.get("k") == 1
    assert counters.get("other", 7) == 7


def test_set_get_delete(counters: PostgresCounterCache) -> None:
    counters.set("k", 3, 60)
    counters.set("k", 4, 60)
    assert counters.get("k") == 4
    assert "k" in counters
    assert counters.delete("k") is True
    assert counters.delete("k") is False
    assert counters.get("k") is None


def test_incr_decr(counters: PostgresCounterCache) -> None:
    counters.set("k", 3, 60)
    assert counters.incr("k") == 4
    assert counters.incr("k", 10) == 14
    assert counters.decr("k", 4) == 10


def test_incr_of_nothing(counters: PostgresCounterCache) -> None:
    with pytest.raises(ValueError, match="not found"):
        counters.incr("k")


def test_expiry(counters: PostgresCounterCache) -> None:
    counters.set("k", 3, 0.2)
    counters.set("for ever".replace(" ", "-"), 1, None)
    counters.set("at-once", 1, 0)
    time.sleep(0.3)
    assert counters.get("k") is None
    assert counters.get("at-once") is None
    assert counters.get("for-ever") == 1
    with pytest.raises(ValueError, match="not found"):
        counters.incr("k")
    assert counters.touch("k", 60) is False
    assert counters.add("k", 9, 60) is True
    assert counters.touch("k", 60) is True


def test_integers_only(counters: PostgresCounterCache) -> None:
    with pytest.raises(TypeError):
        counters.set("k", "text", 60)


def test_keys_that_no_cache_takes(counters: PostgresCounterCache) -> None:
    with pytest.warns(Warning, match="longer than"), pytest.raises((InvalidCacheKey, Exception)):
        counters.set("k" * 300, 1, 60)


def test_clear_and_cleaning(counters: PostgresCounterCache, monkeypatch: pytest.MonkeyPatch) -> None:
    counters.set("old", 1, 0)
    monkeypatch.setattr("config.cache._CLEAN_ONE_IN", 1)
    counters.add("new", 1, 60)
    assert [counter.key for counter in Counter.objects.all()] == [counters.make_key("new")]
    counters.clear()
    assert not Counter.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_parallel_counts_are_exact() -> None:

    def one(_: int) -> bool:
        counters = PostgresCounterCache("", {})
        added = counters.add("k", 1, 60)
        if not added:
            counters.incr("k")
        for _ in range(9):
            counters.incr("k")
        return added

    assert sum(in_parallel(20, one)) == 1
    assert PostgresCounterCache("", {}).get("k") == 200
