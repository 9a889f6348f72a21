"""The picture of the releases in the memory of a worker."""

import os
import time
from collections.abc import Callable

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, connections
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from config import limits
from tests.cast import Actor, error_code, make_actor
from tests.races import in_thread, run_at_once
from updates.catalogue import Catalogue, catalogue
from updates.models import BundleRelease, CatalogueRevision
from updates.services.publication import publish_releases, withdraw_releases
from updates.tests.shelf import APP, SOMEBODY, draft, published, withdraw


def app_versions(picture: Catalogue = catalogue) -> list[str]:
    return [release.version for release in picture.snapshot().of_scope(*APP)]


@pytest.mark.django_db
def test_the_most_recently_published_comes_first() -> None:
    first, second = published(APP, "1.0.0"), published(APP, "0.9.0")
    draft(APP, "3.0.0")
    assert app_versions() == ["0.9.0", "1.0.0"]

    withdraw(second)
    assert app_versions() == ["1.0.0"]

    BundleRelease.objects.filter(pk=first.pk).update(state="withdrawn")
    catalogue.forget()
    assert app_versions() == []


@pytest.mark.django_db
def test_a_snapshot_does_not_change() -> None:
    published(APP, "1.0.0")
    before = catalogue.snapshot()

    published(APP, "2.0.0")

    assert [release.version for release in before.of_scope(*APP)] == ["1.0.0"]
    with pytest.raises(TypeError):
        before.releases[APP] = ()  # type: ignore[index]
    assert app_versions() == ["2.0.0", "1.0.0"]


@pytest.mark.django_db
def test_a_renewal_costs_one_query_while_nothing_changed(
    django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(APP, "1.0.0")
    with django_assert_num_queries(4):
        catalogue.snapshot()
    with django_assert_num_queries(0):
        catalogue.snapshot()
    monkeypatch.setattr(limits, "CATALOGUE_MAX_AGE_SECONDS", 0)
    with django_assert_num_queries(1):
        catalogue.snapshot()
    draft(APP, "2.0.0")
    with django_assert_num_queries(4):
        catalogue.snapshot()


@pytest.mark.django_db
def test_a_picture_without_a_revision_is_kept_as_well(
    django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    CatalogueRevision.objects.all().delete()
    monkeypatch.setattr(limits, "CATALOGUE_MAX_AGE_SECONDS", 0)
    assert app_versions() == []
    with django_assert_num_queries(1):
        catalogue.snapshot()

    draft(APP, "1.0.0")

    with django_assert_num_queries(4):
        catalogue.snapshot()


@pytest.mark.django_db
def test_membership_of_the_testers_changes_the_revision(learner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CATALOGUE_MAX_AGE_SECONDS", 0)
    testers, _ = Group.objects.get_or_create(name="Testers")
    assert catalogue.snapshot().testers == frozenset()

    learner.user.groups.add(testers)
    assert catalogue.snapshot().testers == {learner.user.pk}

    Group.objects.filter(pk=testers.pk).update(name="Others")
    assert catalogue.snapshot().testers == frozenset()

    Group.objects.filter(pk=testers.pk).update(name="Testers")
    assert catalogue.snapshot().testers == {learner.user.pk}
    learner.user.groups.clear()
    assert catalogue.snapshot().testers == frozenset()


@pytest.mark.django_db
def test_a_login_or_a_deleted_learner_renews_nothing(fellow: Actor, outsider: Actor) -> None:
    published(APP)
    before = CatalogueRevision.objects.get().revision

    outsider.user.delete()
    make_actor("newcomer")

    assert CatalogueRevision.objects.get().revision == before


@pytest.mark.django_db(transaction=True)
def test_a_publication_is_seen_at_once_here_and_within_2_s_elsewhere() -> None:
    elsewhere = Catalogue()
    release = draft(APP, "1.0.0")
    assert app_versions() == app_versions(elsewhere) == []

    in_thread(lambda: publish_releases(releases=[release], principal=SOMEBODY)).result(20)

    assert app_versions() == ["1.0.0"], "the process that publishes sees it at once"
    ends = time.monotonic() + 2
    while app_versions(elsewhere) == [] and time.monotonic() < ends:
        time.sleep(0.02)
    assert app_versions(elsewhere) == ["1.0.0"]

    release.refresh_from_db()
    in_thread(lambda: withdraw_releases(releases=[release], principal=SOMEBODY)).result(20)

    assert app_versions() == []
    time.sleep(limits.CATALOGUE_MAX_AGE_SECONDS)
    assert app_versions(elsewhere) == []


@pytest.mark.django_db(transaction=True)
def test_many_threads_renew_once(monkeypatch: pytest.MonkeyPatch) -> None:
    release = draft(APP, "1.0.0")
    publish_releases(releases=[release], principal=SOMEBODY)

    def look() -> tuple[list[str], int]:
        with CaptureQueriesContext(connection) as queries:
            versions = app_versions()
        return versions, len(queries)

    found = run_at_once(*[look] * 8)

    assert [versions for versions, _ in found] == [["1.0.0"]] * 8
    assert sum(queries for _, queries in found) == 4


@pytest.mark.django_db(transaction=True)
def test_a_change_between_revision_and_rows_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows may be newer than the revision that was read before them, never older."""
    release = draft(APP, "1.0.0")
    picture = Catalogue()
    monkeypatch.setattr(limits, "CATALOGUE_MAX_AGE_SECONDS", 0)
    published_meanwhile = False

    def interfere(execute: Callable[..., object], sql: str, params: object, many: bool, context: object) -> object:
        nonlocal published_meanwhile
        result = execute(sql, params, many, context)
        if "updates_bundlerelease" in sql and not published_meanwhile:
            published_meanwhile = True
            in_thread(lambda: publish_releases(releases=[release], principal=SOMEBODY)).result(20)
        return result

    with connection.execute_wrapper(interfere):
        assert app_versions(picture) == []

    assert app_versions(picture) == ["1.0.0"]


@pytest.mark.django_db
def test_a_database_that_is_away_is_503(learner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_without_database() -> None:
        mine = connections["default"]
        mine.settings_dict = {**mine.settings_dict, "OPTIONS": {"service": "nowhere"}}
        with pytest.raises(OperationalError):
            Catalogue().snapshot()

    in_thread(look_without_database).result(20)

    def fail(execute: object, sql: str, *rest: object) -> object:
        if "updates_cataloguerevision" in sql:
            raise OperationalError("the connection is closed")
        return execute(sql, *rest)  # type: ignore[operator]

    with connection.execute_wrapper(fail):
        response = learner.post("/v1/updates/check-app", {})

    assert (response.status_code, error_code(response)) == (503, "SERVICE_UNAVAILABLE")
    assert int(response["Retry-After"]) > 0
    assert learner.post("/v1/updates/check-app", {}).status_code == 200


@pytest.mark.django_db
def test_a_fork_while_the_lock_is_held_leaves_the_child_working() -> None:
    published(APP)
    catalogue.snapshot()
    with catalogue._lock:
        child = os.fork()
        if child == 0:
            free = catalogue._lock.acquire(timeout=2)
            os._exit(0 if free and catalogue._picture is None else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert app_versions() == ["1.0.0"]
