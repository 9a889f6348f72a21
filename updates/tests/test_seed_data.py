"""manage.py seed_data"""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pytest_django import Settings

from courses.models import Chapter, Course
from storage.artifacts import open_artifact
from tests.cast import Actor, make_actor
from tests.races import run_at_once
from updates import seeding
from updates.models import BundleRelease
from updates.tests.shelf import APP, draft, withdraw

pytestmark = pytest.mark.django_db


def seed() -> tuple[list[str], list[str]]:
    """Run the command; return the lines of its two outputs."""
    out, err = io.StringIO(), io.StringIO()
    call_command("seed_data", stdout=out, stderr=err, no_color=True)
    return out.getvalue().splitlines(), err.getvalue().splitlines()


def state_of_everything() -> list[tuple[object, ...]]:
    return [
        *Course.objects.order_by("pk").values_list(),
        *Chapter.objects.order_by("pk").values_list(),
        *BundleRelease.objects.order_by("pk").values_list("pk", "sha256", "state", "published_at", "cohort_key"),
    ]


def stored(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.tar.gz")}


def test_makes_the_course_its_chapters_and_five_releases(artifact_root: Path) -> None:
    lines, warnings = seed()

    course = Course.objects.get()
    assert (course.course_code, course.progression, course.is_active) == ("SOC101", "sequential", True)
    assert [(c.chapter_code, c.order) for c in course.chapters.all()] == [("ch1_intro", 1), ("ch2_pandas", 2)]
    assert {(r.bundle_type, r.scope_id, r.version, r.state) for r in BundleRelease.objects.all()} == {
        ("app_agents", "core", "1.0.0", "published"),
        ("experts_shared", "shared", "1.0.0", "published"),
        ("experts", "data_inspector", "1.0.0", "published"),
        ("experts", "concept_explainer", "1.0.0", "published"),
        ("chapter", f"{course.pk}/ch1_intro", "1.0.0", "published"),
    }
    chapter = BundleRelease.objects.get(bundle_type="chapter")
    assert chapter.required_experts == ["data_inspector", "concept_explainer"]
    assert chapter.chapter == course.chapters.get(chapter_code="ch1_intro")
    assert len(lines) == 3 + 5 + 5
    assert warnings == []
    assert len(stored(artifact_root)) == 5


def test_the_bundles_are_what_their_manifests_say() -> None:
    seed()

    for release in BundleRelease.objects.all():
        with open_artifact(key=release.artifact_key) as file:
            raw = file.read()
        assert (hashlib.sha256(raw).hexdigest(), len(raw)) == (release.sha256, release.size_bytes)
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(raw))) as archive:
            members = {member.name: member for member in archive}
            contents = {name: archive.extractfile(member).read() for name, member in members.items()}  # type: ignore[union-attr]
        manifest = json.loads(contents.pop("bundle.manifest.json"))
        assert manifest == release.manifest
        assert manifest["format_version"] == "bundle-v2"
        assert (manifest["bundle_type"], manifest["scope_id"]) == (release.bundle_type, release.scope_id)
        assert {entry["path"]: (entry["sha256"], entry["size_bytes"]) for entry in manifest["files"]} == {
            name: (hashlib.sha256(content).hexdigest(), len(content)) for name, content in contents.items()
        }
        if release.bundle_type == "chapter":
            prompts = {f"prompts/{name}.md" for name in ("chapter_context", "task_list", "task_completion_principles")}
            assert prompts <= set(contents)
            assert (manifest["chapter"]["has_scripts"], manifest["chapter"]["has_datasets"]) == (True, True)
        assert all(len(content) > 200 for content in contents.values())


def test_a_second_run_changes_nothing(artifact_root: Path) -> None:
    seed()
    before, bytes_before = state_of_everything(), stored(artifact_root)

    lines, warnings = seed()

    assert state_of_everything() == before
    assert stored(artifact_root) == bytes_before
    assert all("there already" in line for line in lines)
    assert warnings == []


def test_lost_archives_are_built_again_to_the_byte(artifact_root: Path, settings: Settings, tmp_path: Path) -> None:
    seed()
    first = stored(artifact_root)
    settings.ARTIFACT_ROOT = tmp_path / "second"

    lines, warnings = seed()

    assert stored(tmp_path / "second") == first
    assert sum("is restored" in line for line in lines) == 5
    assert warnings == []


def test_other_bytes_than_the_lost_ones_are_not_put_in_their_place(
    artifact_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed()
    (artifact_root / "bundles/app_agents/core/1.0.0/bundle.tar.gz").unlink()
    changed = tmp_path / "sources"
    (changed / "app_agents/core").mkdir(parents=True)
    (changed / "app_agents/core/prompt.md").write_text("Something else\n")
    monkeypatch.setattr(seeding, "_SOURCES", changed)

    _, (warning,) = seed()

    assert "app_agents/core 1.0.0: its archive is missing" in warning
    assert len(stored(artifact_root)) == 4


def test_a_damaged_archive_is_told(artifact_root: Path) -> None:
    seed()
    (artifact_root / "bundles/app_agents/core/1.0.0/bundle.tar.gz").write_bytes(b"half of it")

    _, (warning,) = seed()

    assert "app_agents/core 1.0.0: its archive in the artifact store is damaged" in warning


def test_what_staff_did_stays() -> None:
    seed()
    release = BundleRelease.objects.get(bundle_type="app_agents")
    withdraw(release)
    Course.objects.update(title="My own title", course_code="SOC102", progression="open")
    before = state_of_everything()

    seed()

    assert state_of_everything() == before


def test_an_existing_course_with_the_code_is_taken() -> None:
    course = Course.objects.create(course_code="soc101", title="Mine")
    chapter = Chapter.objects.create(course=course, chapter_code="CH1_Intro", title="Mine as well")

    seed()

    assert Course.objects.get() == course
    release = BundleRelease.objects.get(bundle_type="chapter")
    assert (release.scope_id, release.chapter) == (f"{course.pk}/CH1_Intro", chapter)


def test_a_draft_of_staff_under_the_same_version_is_left_alone() -> None:
    theirs = draft(APP)

    _, (warning,) = seed()

    theirs.refresh_from_db()
    assert theirs.state == "draft"
    assert warning.startswith("app_agents/core 1.0.0: not made.")
    assert BundleRelease.objects.filter(state="published").count() == 4


def test_a_run_that_was_killed_before_it_published_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(**_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(seeding, "publish_releases", die)
        with pytest.raises(KeyboardInterrupt):
            seed()
    assert set(BundleRelease.objects.values_list("state", flat=True)) == {"draft"}

    lines, warnings = seed()

    assert sum(line.endswith(": published.") for line in lines) == 5
    assert warnings == []


def test_a_store_that_fails_is_one_sentence(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    settings.ARTIFACT_ROOT = tmp_path / "file" / "artifacts"

    with pytest.raises(CommandError, match="storage is not available"):
        seed()


@pytest.mark.django_db(transaction=True)
def test_two_runs_at_once_make_one_of_each(artifact_root: Path) -> None:
    (one, warned), (other, warned_too) = run_at_once(seed, seed)

    assert warned == warned_too == []
    assert sum("created" in line for line in one + other) == 3
    assert sum(line.endswith(": published.") for line in one + other) == 5
    assert Course.objects.count() == 1
    assert BundleRelease.objects.filter(state="published").count() == 5
    assert len(stored(artifact_root)) == 5


def test_a_learner_gets_the_seeded_content() -> None:
    seed()
    actor: Actor = make_actor("new")
    joined = actor.post("/v1/courses/join", {"course_code": "soc101"})
    assert joined.status_code == 200

    app = actor.post("/v1/updates/check-app", {"installed": {}}).json()
    course_id = joined.json()["course"]["id"]
    first, second = (
        actor.post("/v1/updates/check-chapter", {"course_id": course_id, "chapter_id": code}).json()
        for code in ("ch1_intro", "ch2_pandas")
    )

    assert len(app["required"]) == len(app["optional"]) == 1
    assert [d["scope_id"] for d in first["required"]] == [
        f"{course_id}/ch1_intro",
        "data_inspector",
        "concept_explainer",
    ]
    assert second["required"] == []
