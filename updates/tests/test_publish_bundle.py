import hashlib
import re
import signal
import tarfile
import time
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from courses.models import Chapter
from updates.models import BundleRelease, ReleaseEvent
from updates.selectors import find_release
from updates.services.stored_bytes import artifact_key, holding_key
from updates.tests.shelf import APP, a_bundle, published, withdraw
from updates.tests.shell import call, manage, start, watch

pytestmark = pytest.mark.django_db

CORE = ("--type", "app_agents")


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """A content folder."""
    return make_content(tmp_path / "content", "prompt.md")


@pytest.fixture
def chapter_content(tmp_path: Path) -> Path:
    names = ("chapter_context", "task_list", "task_completion_principles")
    return make_content(tmp_path / "chapter", *(f"prompts/{name}.md" for name in names))


def make_content(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"This is {name}.\n")
    return folder


def publish(path: Path, *options: str, version: str = "1.0.0") -> tuple[str, str]:
    return call("publish_bundle", path, "--version", version, *options)


def only_release() -> BundleRelease:
    return BundleRelease.objects.get()


def actions() -> list[str]:
    return list(ReleaseEvent.objects.order_by("pk").values_list("action", flat=True))


def test_a_folder_is_built_and_published(content: Path) -> None:
    out, err = publish(content, *CORE, "--rollout", "12.5", "--min-desktop", "1.4.0", "--strict", "--mandatory")

    release = only_release()
    assert (release.bundle_type, release.scope_id, release.version) == ("app_agents", "core", "1.0.0")
    assert (release.state, release.rollout_basis_points) == ("published", 1_250)
    assert (release.min_desktop_version, release.strict_versions, release.is_mandatory) == ("1.4.0", True, True)
    assert release.manifest["format_version"] == "bundle-v2"
    assert "app_agents/core 1.0.0 is published, to 12.5 % of the devices." in out
    for fact in (release.sha256, f"{release.size_bytes:,} bytes (1 file, 19 bytes unpacked)", str(release.pk)):
        assert fact in out
    assert err.startswith("Note: Minimum desktop version: ")
    assert actions() == ["created", "published"]
    event = ReleaseEvent.objects.latest("pk")
    assert event.actor_kind == "command"
    assert event.actor_name.startswith("manage.py publish_bundle (")


def test_the_defaults_are_everybody_at_once_and_not_mandatory(content: Path) -> None:
    publish(content, *CORE)
    release = only_release()
    assert (release.rollout_basis_points, release.publish_at) == (10_000, None)
    assert (release.is_mandatory, release.strict_versions) == (False, False)
    assert (release.min_desktop_version, release.min_sidecar_version) == ("", "")


def test_an_archive_is_published_as_it_is(tmp_path: Path) -> None:
    with a_bundle(APP) as bundle:
        (tmp_path / "bundle.tar.gz").write_bytes(bundle.file.read())
        publish(tmp_path / "bundle.tar.gz", *CORE)
        assert only_release().sha256 == bundle.sha256


def test_an_archive_that_is_rewritten_meanwhile_is_stored_as_it_was_checked(
    tmp_path: Path, artifact_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bundle.tar.gz"
    with a_bundle(APP) as bundle:
        path.write_bytes(bundle.file.read())

    def rewrite(**identity: str) -> BundleRelease | None:
        path.write_bytes(b"x" * path.stat().st_size)
        return find_release(**identity)

    monkeypatch.setattr("updates.management.commands.publish_bundle.find_release", rewrite)
    publish(path, *CORE)
    release = only_release()
    stored = (artifact_root / release.artifact_key).read_bytes()
    assert hashlib.sha256(stored).hexdigest() == release.sha256


def test_the_same_folder_gives_the_same_bytes(content: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(content, *CORE)
    twin = make_content(tmp_path / "twin", "prompt.md")
    out, _ = publish(twin, *CORE)
    assert "There already: " in out
    assert only_release().manifest["created_at"] == "1980-01-01T00:00:00Z"

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1764547200")
    publish(content, *CORE, version="1.1.0")
    dated = BundleRelease.objects.get(version="1.1.0")
    assert dated.manifest["created_at"] == "2025-12-01T00:00:00Z"


@pytest.mark.parametrize("date", ["yesterday", "1" * 30, "1.5"])
def test_a_date_that_is_none_is_refused(content: Path, monkeypatch: pytest.MonkeyPatch, date: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", date)
    with pytest.raises(CommandError, match="SOURCE_DATE_EPOCH must be a whole number"):
        publish(content, *CORE)


# --- The same command again ----------------------------------------------------------------------------------------


def test_again_changes_nothing(content: Path) -> None:
    publish(content, *CORE)
    before = only_release()
    out, err = publish(content, *CORE)
    after = only_release()
    assert "There already: app_agents/core 1.0.0 is published, to 100 % of the devices." in out
    assert err == ""
    assert actions() == ["created", "published"]
    assert (after.published_at, after.cohort_key) == (before.published_at, before.cohort_key)


def test_again_with_other_options_says_that_they_have_no_effect(content: Path) -> None:
    publish(content, *CORE, "--rollout", "10")
    _, err = publish(content, *CORE, "--rollout", "20")
    assert only_release().rollout_basis_points == 1_000
    assert "keeps what it had: rollout." in err


def test_again_publishes_a_draft_with_what_is_asked_now(content: Path) -> None:
    out, _ = publish(content, *CORE, "--draft", "--rollout", "10", "--mandatory")
    assert "app_agents/core 1.0.0 is a draft." in out
    assert only_release().state == "draft"

    out, err = publish(content, *CORE, "--min-desktop", "2.0.0")

    release = only_release()
    assert (release.state, release.min_desktop_version) == ("published", "2.0.0")
    assert (release.rollout_basis_points, release.is_mandatory) == (1_000, True)
    assert "There already" not in out
    assert "keeps what it had" not in err
    assert actions() == ["created", "changed", "published"]
    assert ReleaseEvent.objects.get(action="changed").changes == {"min_desktop_version": ["", "2.0.0"]}


def test_a_draft_again_stays_one(content: Path) -> None:
    for _ in range(2):
        out, err = publish(content, *CORE, "--draft")
    assert "There already: app_agents/core 1.0.0 is a draft." in out
    assert err == ""
    assert actions() == ["created"]


def test_a_draft_of_what_is_published_is_what_is_published(content: Path) -> None:
    publish(content, *CORE)
    out, _ = publish(content, *CORE, "--draft")
    assert "There already: app_agents/core 1.0.0 is published" in out
    assert only_release().state == "published"


def test_what_was_withdrawn_stays_so(content: Path) -> None:
    publish(content, *CORE)
    withdraw(only_release())
    with pytest.raises(CommandError, match="was withdrawn") as refusal:
        publish(content, *CORE)
    assert "draft is kept" not in str(refusal.value)
    assert only_release().state == "withdrawn"


def test_other_bytes_under_a_version_are_refused(content: Path) -> None:
    publish(content, *CORE)
    (content / "prompt.md").write_text("Other.\n")
    with pytest.raises(CommandError, match="exists already with other bytes"):
        publish(content, *CORE)


# --- Scopes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["{course.id}/ch1_intro", "TST100/ch1_intro", "tst100/CH1_INTRO"])
def test_a_chapter_is_named_by_its_course(chapter: Chapter, chapter_content: Path, by: str) -> None:
    scope = by.format(course=chapter.course)
    out, _ = publish(chapter_content, "--type", "chapter", "--scope", scope, "--title", "Look!")
    release = only_release()
    assert release.scope_id == f"{chapter.course_id}/ch1_intro"
    assert release.chapter == chapter
    assert release.manifest["scope_id"] == release.scope_id
    assert release.manifest["chapter"]["title"] == "Look!"
    assert "chapter/TST100/ch1_intro 1.0.0 is published" in out
    assert "(3 files, " in out


@pytest.mark.parametrize(
    ("scope", "words"),
    [
        ("NONE/ch1_intro", "There is no course 'NONE'"),
        ("00000000-0000-4000-8000-000000000000/ch1_intro", "There is no course"),
        ("TST100/ch9", "has no chapter 'ch9'. It has: ch1_intro, ch2_more."),
        ("TST100", "has no chapter ''"),
        ("", "--scope is needed for chapter."),
    ],
)
def test_a_chapter_that_is_not_there_is_told(chapter: Chapter, chapter_content: Path, scope: str, words: str) -> None:
    with pytest.raises(CommandError) as refusal:
        publish(chapter_content, "--type", "chapter", "--scope", scope)
    assert words in str(refusal.value)
    assert not BundleRelease.objects.exists()


def test_the_one_scope_of_a_family_may_be_named(content: Path) -> None:
    publish(content, *CORE, "--scope", "core")
    assert only_release().scope_id == "core"
    with pytest.raises(CommandError, match="This must be core"):
        publish(content, *CORE, "--scope", "other")


# --- Experts -------------------------------------------------------------------------------------------------------


def test_a_chapter_without_its_experts_stays_a_draft(chapter: Chapter, chapter_content: Path) -> None:
    chapter_options = ("--type", "chapter", "--scope", "TST100/ch1_intro", "--expert", "data_inspector")
    with pytest.raises(CommandError, match="no published release: data_inspector") as refusal:
        publish(chapter_content, *chapter_options)
    release = only_release()
    assert (release.state, release.required_experts) == ("draft", ["data_inspector"])
    assert f"The draft is kept, as {release.pk}." in str(refusal.value)

    published(("experts", "data_inspector"))
    publish(chapter_content, *chapter_options)
    release.refresh_from_db()
    assert release.state == "published"


def test_experts_of_an_archive_are_those_of_its_manifest_unless_others_are_named(
    chapter: Chapter, tmp_path: Path
) -> None:
    scope = ("chapter", f"{chapter.course_id}/ch1_intro")
    with a_bundle(scope, experts=("data_inspector",)) as bundle:
        (tmp_path / "bundle.tar.gz").write_bytes(bundle.file.read())
    options = ("--type", "chapter", "--scope", "TST100/ch1_intro", "--draft")
    publish(tmp_path / "bundle.tar.gz", *options)
    assert only_release().required_experts == ["data_inspector"]
    publish(tmp_path / "bundle.tar.gz", *options, "--expert", "a", "--expert", "b")
    assert only_release().required_experts == ["a", "b"]


# --- Options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "basis_points"),
    [("0", 0), ("0.01", 1), ("5", 500), ("12.5%", 1_250), ("33.33", 3_333), ("100", 10_000), ("100.00 %", 10_000)],
)
def test_rollouts_in_percent(content: Path, text: str, basis_points: int) -> None:
    publish(content, *CORE, "--draft", "--rollout", text)
    assert only_release().rollout_basis_points == basis_points


@pytest.mark.parametrize("text", ["", "ten", "100.01", "101", "5.555", "1e1", "nan", "0,5", "5.", "1000000"])
def test_a_rollout_that_is_none_is_refused(content: Path, text: str) -> None:
    with pytest.raises(CommandError, match="not a percentage from 0 to 100"):
        publish(content, *CORE, "--rollout", text)
    assert not BundleRelease.objects.exists()


def test_a_time_is_kept_to_the_second(content: Path) -> None:
    ahead = timezone.now().year + 1
    out, _ = publish(content, *CORE, "--at", f"{ahead}-12-01T06:00:00+08:00")
    assert only_release().publish_at == datetime(ahead, 11, 30, 22, tzinfo=UTC)
    assert f"is scheduled for {ahead}-11-30 22:00 UTC, to 100 % of the devices." in out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2026-12-01T06:00:00", "needs an offset"),
        ("2026-12-01", "needs an offset"),
        ("tomorrow", "is not a time"),
        ("2026-13-01T06:00:00Z", "is not a time"),
    ],
)
def test_a_time_needs_its_offset(content: Path, text: str, words: str) -> None:
    with pytest.raises(CommandError, match=words):
        publish(content, *CORE, "--at", text)
    assert not BundleRelease.objects.exists()


@pytest.mark.parametrize("version", ["one", "1.0", "1.0.0/../..", "v1.0.0"])
def test_a_version_that_is_none_is_refused_in_a_line(content: Path, version: str) -> None:
    with pytest.raises(CommandError) as refusal:
        publish(content, *CORE, version=version)
    assert "version" in str(refusal.value)
    assert not BundleRelease.objects.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--version", "1.0"), "--version: "),
        (("--min-desktop", "new"), "--min-desktop: "),
        (("--min-sidecar", "1"), "--min-sidecar: "),
        (("--expert", "a b"), "--expert: "),
        (("--scope", "other"), "--scope: This must be core"),
        (("--title", "Look!"), "--title is for a chapter that is built from a folder."),
    ],
)
def test_options_are_checked_before_anything_is_built(
    content: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    def build(**arguments: object) -> None:
        pytest.fail("It is built.")

    monkeypatch.setattr("updates.management.commands.publish_bundle.build_bundle", build)
    with pytest.raises(CommandError) as refusal:
        publish(content, *CORE, *options)
    assert words in str(refusal.value)


def test_an_archive_has_its_title_already(chapter: Chapter, tmp_path: Path) -> None:
    with a_bundle(("chapter", f"{chapter.course_id}/ch1_intro")) as bundle:
        (tmp_path / "bundle.tar.gz").write_bytes(bundle.file.read())
    options = ("--type", "chapter", "--scope", "TST100/ch1_intro", "--title", "Look!")
    with pytest.raises(CommandError, match="--title is for a chapter"):
        publish(tmp_path / "bundle.tar.gz", *options)


# --- What a person can mend ----------------------------------------------------------------------------------------


def test_each_fault_is_told_with_its_file(chapter: Chapter, content: Path) -> None:
    with pytest.raises(CommandError) as refusal:
        publish(content, "--type", "chapter", "--scope", "TST100/ch1_intro")
    for name in ("chapter_context", "task_list", "task_completion_principles"):
        assert re.search(rf"^ *prompts/{name}\.md: ", str(refusal.value), re.MULTILINE)


def test_faults_of_an_archive_cannot_steer_the_terminal(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bundle.tar.gz", "w:gz") as archive:
        for name in ("a\x1b[2Jb", "../c\x1b]0;d\x07"):
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(CommandError) as refusal:
        publish(tmp_path / "bundle.tar.gz", *CORE)
    assert "\x1b" not in str(refusal.value)
    assert "\x07" not in str(refusal.value)


def test_what_is_no_archive_is_told(content: Path) -> None:
    with pytest.raises(CommandError, match="gz"):
        publish(content / "prompt.md", *CORE)


def test_a_path_to_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"nothing\.tar\.gz: No such file"):
        publish(tmp_path / "nothing.tar.gz", *CORE)


def test_a_storage_that_is_away_is_told(content: Path, settings: Settings) -> None:
    settings.ARTIFACT_ROOT = "/dev/null/store"
    with pytest.raises(CommandError, match="storage is not available"):
        publish(content, *CORE)
    assert not BundleRelease.objects.exists()


def test_an_archive_that_is_too_large_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("config.limits.BUNDLE_ARCHIVE_MAX_BYTES", 1_000)
    (tmp_path / "bundle.tar.gz").write_bytes(b"x" * 1_001)
    with pytest.raises(CommandError, match="more than 1,000 bytes"):
        publish(tmp_path / "bundle.tar.gz", *CORE)


# --- Progress, and a process of its own ----------------------------------------------------------------------------


def test_stages_are_lines_where_nobody_watches(content: Path, tmp_path: Path) -> None:
    out, _ = publish(content, *CORE)
    assert out.splitlines()[:3] == ["Building ...", "Checking ...", "Storing ..."]
    with a_bundle(APP, "1.1.0") as bundle:
        (tmp_path / "bundle.tar.gz").write_bytes(bundle.file.read())
    out, _ = publish(tmp_path / "bundle.tar.gz", *CORE, version="1.1.0")
    assert out.splitlines()[:3] == ["Reading ...", "Checking ...", "Storing ..."]


def test_nothing_is_stored_when_it_is_refused(content: Path) -> None:
    publish(content, *CORE)
    (content / "prompt.md").write_text("Other.\n")
    out = StringIO()
    with pytest.raises(CommandError, match="exists already"):
        call_command("publish_bundle", str(content), *CORE, "--version", "1.0.0", stdout=out)
    assert "Checking ..." in out.getvalue()
    assert "Storing" not in out.getvalue()


def test_no_progress_is_shown_where_none_is_wanted(content: Path) -> None:
    out, err = publish(content, *CORE, "--verbosity", "0")
    assert out.startswith("app_agents/core 1.0.0 is published")
    assert err == ""


@pytest.mark.django_db(transaction=True)
def test_in_a_process_of_its_own(content: Path) -> None:
    arguments = ("publish_bundle", content, *CORE, "--version", "1.0.0")
    done = manage(*arguments)
    assert (done.status, done.err) == (0, "")
    assert only_release().state == "published"
    assert manage(*arguments).status == 0

    (content / "prompt.md").write_text("Other.\n")
    conflict = manage(*arguments)
    assert conflict.status == 1
    assert conflict.err.startswith("CommandError: The release app_agents/core 1.0.0 exists already")
    assert len(conflict.err.splitlines()) == 1

    mistyped = manage("publish_bundle", content, "--type", "app_agent", "--version", "1.0.0")
    assert mistyped.status == 2
    assert "Traceback" not in mistyped.err

    away = manage(*arguments, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert away.status == 1
    assert away.err.startswith("CommandError: The database can't be used: ")
    assert len(away.err.splitlines()) == 1


@pytest.mark.django_db(transaction=True)
def test_a_bar_is_shown_on_a_terminal(content: Path) -> None:
    arguments = ("publish_bundle", content, *CORE, "--version", "1.0.0")
    shown = watch(arguments)
    assert shown.status == 0
    for stage in ("Building", "Checking", "Storing"):
        assert re.search(rf"{stage}: +\d+%\|", shown.out)
    assert "..." not in shown.out
    assert "is published" in shown.out.rpartition("\r")[0]

    quiet = watch([*arguments, "--verbosity", "0"])
    assert "%|" not in quiet.out
    assert "There already" in quiet.out


@pytest.mark.django_db(transaction=True)
def test_ctrl_c_leaves_nothing_half_done(content: Path, artifact_root: Path) -> None:
    key = artifact_key(bundle_type="app_agents", scope_id="core", version="1.0.0")
    arguments = ("publish_bundle", content, *CORE, "--version", "1.0.0")
    with holding_key(key):
        process = start(arguments, {})
        wait_for_another_upload()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.decode().startswith("CommandError: Stopped. Nothing is half-done")
    assert len(err.splitlines()) == 1
    assert not BundleRelease.objects.exists()
    assert not [path for path in artifact_root.rglob("*") if path.is_file()]

    assert manage(*arguments).status == 0
    assert only_release().state == "published"


def wait_for_another_upload() -> None:
    """Wait until another process tries to get the key that this one holds."""
    for _ in range(600):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND query LIKE '%%pg_try_advisory_lock%%'"
            )
            if cursor.fetchone() != (0,):
                return
        time.sleep(0.05)
    pytest.fail("The other process does not come.")
