import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management import CommandError
from django.utils import timezone
from pytest_django import Settings

from courses.models import Chapter
from tests.live import test_database_url
from updates.models import BundleRelease, ReleaseEvent
from updates.services.publication import Terms, publish_releases
from updates.services.registrations import register_draft
from updates.tests.mirror import Mirror, mirror_on_campus, ok
from updates.tests.shelf import (
    APP,
    SHARED,
    SOMEBODY,
    a_bundle,
    chapter_scope,
    draft,
    publish,
    published,
    withdraw,
)
from updates.tests.shell import call, manage, start

pytestmark = pytest.mark.django_db

HEADINGS = ["STATE", "RELEASE", "ROLLOUT", "SIZE", "FROM", "(UTC)", "MANDATORY", "PUBLISHED", "BY", "ID"]
EXPERT = ("experts", "data_inspector")
SOON = datetime(2098, 1, 2, 3, 4, tzinfo=UTC)


def listed(*options: object) -> list[list[str]]:
    """The rows of the table, without its headings."""
    out, _ = call("releases", *options)
    return [line.split("  ") for line in out.splitlines()[1:]]


def names(*options: object) -> list[str]:
    return [row[1].strip() for row in listed(*options)]


def releases(*arguments: object) -> str:
    out, _ = call("releases", *arguments)
    return out


# --- The list ------------------------------------------------------------------------------------------------------


def test_the_list_has_a_line_for_each_release(chapter: Chapter) -> None:
    app = published(APP, rollout_basis_points=1_250)
    BundleRelease.objects.filter(pk=app.pk).update(published_at=datetime(2026, 12, 1, 6, 30, tzinfo=UTC))
    by_code = draft(chapter_scope(chapter), "2.0.0-rc.1", is_mandatory=False)

    lines = releases().splitlines()

    assert lines[0].split() == HEADINGS
    assert len(lines) == 3
    of_app = next(line for line in lines if "app_agents/core@1.0.0" in line)
    for cell in ("published", "12.5 %", "bytes", "2026-12-01 06:30", "yes", "  test (", str(app.pk)[:8]):
        assert cell in of_app
    of_chapter = next(line for line in lines if "chapter/TST100/ch1_intro@2.0.0-rc.1" in line)
    for cell in ("draft", "100 %", "no", str(by_code.pk)[:8]):
        assert cell in of_chapter
    assert {line.index("app_agents" if "app_" in line else "chapter") for line in lines[1:]} == {
        lines[0].index("RELEASE")
    }
    assert max(map(len, lines)) <= 140


def test_a_release_to_come_is_offered_from_its_time(chapter: Chapter) -> None:
    ahead = timezone.now().year + 1
    published(APP, publish_at=datetime(ahead, 3, 1, tzinfo=UTC))
    assert f"{ahead}-03-01 00:00" in releases()
    assert listed()[0][0].strip() == "scheduled"


def test_the_list_can_be_narrowed(chapter: Chapter) -> None:
    published(APP)
    published(APP, "1.1.0")
    withdraw(published(SHARED))
    draft(chapter_scope(chapter))
    assert names("--type", "app_agents") == ["app_agents/core@1.1.0", "app_agents/core@1.0.0"]
    assert names("--state", "withdrawn") == ["experts_shared/shared@1.0.0"]
    assert names("--type", "chapter", "--scope", "tst100/CH1_INTRO") == ["chapter/TST100/ch1_intro@1.0.0"]
    assert names("--type", "experts") == []
    assert names("--type", "app_agents", "--state", "draft") == []


def test_the_list_says_when_there_are_more() -> None:
    for minor in range(5):
        draft(APP, f"1.{minor}.0")
    out, err = call("releases", "--limit", "3")
    assert len(out.splitlines()) == 4
    assert err.strip() == "3 of 5; --limit shows more."
    out, err = call("releases", "--limit", "5")
    assert (len(out.splitlines()), err) == (6, "")


def test_more_than_a_page_of_the_selector_can_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.limits.BUNDLES_PER_PAGE_MAX", 2)
    for minor in range(5):
        draft(APP, f"1.{minor}.0")
    assert len(names("--limit", "10")) == 5
    assert len(set(names("--limit", "3"))) == 3


@pytest.mark.parametrize("options", [("--limit", "0"), ("--scope", "core"), ("--state", "new"), ("--type", "other")])
def test_what_cannot_be_listed_is_told(options: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match=options[0]):
        releases(*options)


def test_scripts_get_an_object_for_each_release(chapter: Chapter) -> None:
    app = published(APP, rollout_basis_points=1_250, min_desktop_version="1.4.0")
    draft(chapter_scope(chapter))
    first, second = (json.loads(line) for line in releases("--json").splitlines())
    facts = first if first["bundle_type"] == "app_agents" else second
    other = second if facts is first else first
    assert facts["id"] == str(app.pk)
    assert (facts["scope_id"], facts["version"], facts["state"]) == ("core", "1.0.0", "published")
    assert (facts["rollout_percent"], facts["is_mandatory"]) == (12.5, True)
    assert (facts["sha256"], facts["size_bytes"]) == (app.sha256, app.size_bytes)
    assert facts["min_desktop_version"] == "1.4.0"
    assert datetime.fromisoformat(facts["published_at"]) == app.published_at
    assert facts["published_by"].startswith("manage.py test")
    assert (other["published_by"], other["published_at"]) == (None, None)


def test_who_published_last_is_shown_and_no_refusal_counts() -> None:
    release = published(APP)
    event = ReleaseEvent.objects.get(action="published")
    for name, refusal in (("night shift", ""), ("somebody refused", "No.")):
        event.pk, event.actor_name, event.refusal = None, name, refusal
        event.save()
    assert "night shift" in releases()
    assert release.pk


def test_a_name_cannot_steer_the_terminal() -> None:
    published(APP)
    ReleaseEvent.objects.filter(action="published").update(actor_name="nightly\x1b[2J\n\u202ebuild")
    out = releases()
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert len(out.splitlines()) == 2


# --- Acts ----------------------------------------------------------------------------------------------------------


def test_a_chapter_and_its_expert_move_as_one(chapter: Chapter) -> None:
    expert = draft(EXPERT)
    needs_it = draft(chapter_scope(chapter), experts=("data_inspector",))

    out = releases("publish", expert.pk, "chapter/TST100/ch1_intro@1.0.0", "--rollout", "10")

    rows = list(BundleRelease.objects.all())
    assert {(r.state, r.rollout_basis_points) for r in rows} == {("published", 1_000)}
    assert len({r.cohort_key for r in rows}) == 1
    assert f"{expert} is published, to 10 % of the devices." in out

    out = releases("widen", "experts/data_inspector@1.0.0", "--rollout", "50")
    assert "chapter/TST100/ch1_intro 1.0.0 is published, to 50 % of the devices." in out
    assert set(BundleRelease.objects.values_list("rollout_basis_points", flat=True)) == {5_000}

    out = releases("withdraw", needs_it.pk)
    assert f"{expert} is withdrawn." in out
    assert set(BundleRelease.objects.values_list("state", flat=True)) == {"withdrawn"}

    actor = ReleaseEvent.objects.latest("pk").actor_name
    assert actor.startswith("manage.py releases (")


def test_one_of_an_act_can_be_withdrawn_alone(chapter: Chapter) -> None:
    expert, needs_it = draft(EXPERT), draft(chapter_scope(chapter), experts=("data_inspector",))
    publish(expert, needs_it)

    _, err = call("releases", "withdraw", "--alone", expert.pk)

    expert.refresh_from_db()
    needs_it.refresh_from_db()
    assert (expert.state, needs_it.state) == ("withdrawn", "published")
    assert "needs data_inspector, of which no release is published any more" in err


def test_what_was_withdrawn_is_published_again_when_that_is_said() -> None:
    release = published(APP)
    withdraw(release)
    assert "is published" in releases("publish", "app_agents/core@1.0.0")
    with pytest.raises(CommandError, match="can't be published"):
        releases("publish", "app_agents/core@1.0.0")


def test_a_time_can_be_given() -> None:
    release = draft(APP)
    ahead = timezone.now().year + 1
    assert f"is scheduled for {ahead}-01-01 00:00 UTC" in releases(
        "publish", release.pk, "--at", f"{ahead}-01-01T08:00:00+08:00"
    )


def test_the_time_of_what_is_scheduled_is_moved_with_those_published_together() -> None:
    release, companion = draft(APP, "7.7.7"), draft(SHARED, "7.7.7")
    publish_releases(releases=[release, companion], principal=SOMEBODY, terms=Terms(publish_at=SOON))

    out, err = call("releases", "reschedule", "app_agents/core@7.7.7", "--at", "2099-01-01T08:00:00+08:00")

    for name in ("app_agents/core", "experts_shared/shared"):
        assert f"{name} 7.7.7 is scheduled for 2099-01-01 00:00 UTC, to 100 % of the devices." in out
    assert "no device is offered it before 2099-01-01 00:00 UTC" in err
    assert ReleaseEvent.objects.filter(action="rescheduled", actor_kind="command").count() == 2


def test_what_is_scheduled_is_published_now_when_that_is_said() -> None:
    release = published(APP, "7.7.7", publish_at=SOON)

    assert "app_agents/core 7.7.7 is published" in releases("reschedule", release.pk, "--now")

    release.refresh_from_db()
    assert not release.is_scheduled


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "one of the arguments --at --now is required"),
        (("--at", "2099-01-01T08:00:00Z", "--now"), "not allowed with argument"),
        (("--at", "2099-01-01T08:00:00"), "needs an offset"),
        (("--at", "2020-01-01T08:00:00Z"), "This time is over"),
    ],
)
def test_a_time_that_is_none_moves_nothing(options: tuple[str, ...], words: str) -> None:
    release = published(APP, "7.7.7", publish_at=SOON)
    with pytest.raises(CommandError, match=words):
        releases("reschedule", release.pk, *options)
    release.refresh_from_db()
    assert release.publish_at == SOON


def test_what_is_offered_already_has_no_time_to_move() -> None:
    release = published(APP, "7.7.7")
    for time in (("--now",), ("--at", "2099-01-01T08:00:00Z")):
        with pytest.raises(CommandError, match="devices are offered it"):
            releases("reschedule", release.pk, *time)


def test_a_rollout_is_not_narrowed() -> None:
    release = published(APP)
    with pytest.raises(CommandError, match="can only be widened"):
        releases("widen", release.pk, "--rollout", "50")


def test_all_or_none_are_published(chapter: Chapter) -> None:
    app, needs_it = draft(APP), draft(chapter_scope(chapter), experts=("data_inspector",))
    with pytest.raises(CommandError, match="no published release: data_inspector"):
        releases("publish", app.pk, needs_it.pk)
    assert set(BundleRelease.objects.values_list("state", flat=True)) == {"draft"}


def test_the_same_release_twice_is_one(chapter: Chapter) -> None:
    release = published(APP)
    releases("withdraw", release.pk, "app_agents/core@1.0.0", str(release.pk)[:8])
    assert ReleaseEvent.objects.filter(action="withdrawn").count() == 1


def test_drafts_are_deleted_with_their_bytes(chapter: Chapter, artifact_root: Path) -> None:
    gone = draft(chapter_scope(chapter))
    assert releases("delete", "chapter/TST100/ch1_intro@1.0.0") == "chapter/TST100/ch1_intro 1.0.0 is deleted.\n"
    assert not BundleRelease.objects.exists()
    assert not (artifact_root / gone.artifact_key).exists()
    assert ReleaseEvent.objects.latest("pk").action == "deleted"


def test_what_was_ever_published_is_not_deleted_but_the_others_are() -> None:
    stays, gone = published(APP), draft(SHARED)
    withdraw(stays)
    with pytest.raises(CommandError, match=r"1 of 2 could not be deleted\."):
        releases("delete", stays.pk, gone.pk)
    assert BundleRelease.objects.get() == stays


# --- Names of releases ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["{id}", "{short}", "{short}-", "experts/data_inspector@1.0.0-rc.1", "experts/DATA_INSPECTOR@1.0.0-RC.1"],
)
def test_names_of_a_release(name: str) -> None:
    release = draft(EXPERT, "1.0.0-rc.1")
    draft(EXPERT, "1.0.0")
    reference = name.format(id=str(release.pk).upper(), short=str(release.pk)[:8])
    assert f"{release} is published" in releases("publish", reference)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("00000000-0000-4000-8000-000000000000", "No release is called"),
        ("00000000", "No release is called"),
        ("app_agents/core@9.0.0", "No release is called"),
        ("chapter/NONE/ch1@1.0.0", "no course 'NONE'"),
        ("0000000", "neither an id"),
        ("app_agents/core", "neither an id"),
        ("other/core@1.0.0", "neither an id"),
        ("@", "neither an id"),
        ("", "neither an id"),
        ("%", "neither an id"),
    ],
)
def test_a_name_of_no_release_is_told(name: str, words: str) -> None:
    draft(APP)
    with pytest.raises(CommandError, match=words):
        releases("publish", name)
    assert set(BundleRelease.objects.values_list("state", flat=True)) == {"draft"}


def test_a_short_id_of_two_releases_is_told() -> None:
    for last in (1, 2):
        BundleRelease.objects.create(
            id=uuid.UUID(int=0xABCD << 112 | last),
            bundle_type="experts",
            scope_id=f"expert{last}",
            version="1.0.0",
            external_url="https://example.com/",
            sha256="0" * 64,
            size_bytes=1,
        )
    with pytest.raises(CommandError, match="More than one release is called 'abcd0000'"):
        releases("publish", "abcd0000")


# --- Verifying -----------------------------------------------------------------------------------------------------


@pytest.fixture
def mirror(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    with mirror_on_campus(settings, monkeypatch, tmp_path) as mirror:
        yield mirror


def elsewhere(mirror: Mirror, version: str) -> BundleRelease:
    with a_bundle(APP, version) as bundle:
        mirror.answers[f"/{version}"] = ok(bundle.file.read())
        return register_draft(
            bundle_type="app_agents",
            scope_id="core",
            version=version,
            external_url=mirror.url(f"/{version}"),
            sha256=bundle.sha256,
            size_bytes=bundle.size_bytes,
            manifest={},
            principal=SOMEBODY,
        ).release


def test_each_release_is_verified_and_the_wrong_ones_are_told(mirror: Mirror) -> None:
    wrong, right = elsewhere(mirror, "1.0.0"), elsewhere(mirror, "1.1.0")
    del mirror.answers["/1.0.0"]
    with pytest.raises(CommandError, match=r"1 of 2 could not be verified\."):
        releases("verify", wrong.pk, right.pk)
    wrong.refresh_from_db()
    right.refresh_from_db()
    assert wrong.verified_at is None
    assert right.verified_at is not None
    assert f"{right} is right: {right.size_bytes:,} bytes." in releases("verify", right.pk)


# --- A process of its own ------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_in_a_process_of_its_own(mirror: Mirror) -> None:
    release = elsewhere(mirror, "1.0.0")
    trust = {"SSL_CERT_FILE": os.environ["SSL_CERT_FILE"]}

    refusal = manage("releases", "verify", release.pk, **trust)
    assert refusal.status == 1
    told, summary = refusal.err.splitlines()
    assert told.startswith(f"{release}: localhost: ")
    assert "is not a public address" in told
    assert summary == "CommandError: 1 of 1 could not be verified."

    done = manage("releases", "verify", release.pk, **trust, VERIFY_PRIVATE_HOSTS="localhost")
    assert (done.status, done.err) == (0, "")

    done = manage("releases", "publish", release.pk)
    assert (done.status, done.out, done.err) == (0, f"{release} is published, to 100 % of the devices.\n", "")

    done = manage("releases")
    assert (done.status, done.err) == (0, "")
    assert "app_agents/core@1.0.0" in done.out

    wrong = manage("releases", "withdraw", "nothing")
    assert wrong.status == 1
    assert wrong.err.startswith("CommandError: 'nothing' is neither an id")
    assert len(wrong.err.splitlines()) == 1


@pytest.mark.django_db(transaction=True)
def test_a_reader_may_leave_early() -> None:
    published(APP)
    ours, theirs = os.pipe()
    os.close(ours)
    process = start(["releases", "--json"], {}, theirs)
    os.close(theirs)
    assert process.wait(30) == 0


@pytest.mark.django_db(transaction=True)
def test_tables_that_are_missing_are_told() -> None:
    empty = manage("releases", DATABASE_URL=f"{test_database_url()}&options=-c%20search_path%3Dnowhere")
    assert empty.status == 1
    assert empty.err == "CommandError: The database has no tables for this yet: run manage.py migrate.\n"
