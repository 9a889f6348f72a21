"""examples/desktop_client.py against a real server: the client that people will copy from must work."""

import importlib.util
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from telemetry.models import AnalyticsEvent, ChapterProgress
from tests.live import BASE_DIR, running_server

pytestmark = pytest.mark.django_db(transaction=True)


def run_client(base_url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "examples/desktop_client.py", "--base-url", base_url, *arguments]
    return subprocess.run(command, cwd=BASE_DIR, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("generation", ["g1", "g2"])
def test_a_complete_first_day(server: str, seeded: None, tmp_path: Path, generation: str) -> None:
    result = run_client(server, "--generation", generation, "--data-dir", str(tmp_path), "--simulate-expired-token")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "Done: everything works."
    assert ChapterProgress.objects.exists()
    assert AnalyticsEvent.objects.exists()
    assert sorted(tmp_path.rglob("bundle.manifest.json"))


def test_a_second_start_has_nothing_to_download(server: str, seeded: None, tmp_path: Path) -> None:
    mine = ("--data-dir", str(tmp_path), "--email", "second@example.com", "--password", "a good password")
    for _ in range(2):
        result = run_client(server, *mine)
        assert result.returncode == 0, result.stdout + result.stderr
    assert len(list(tmp_path.rglob("bundle.manifest.json"))) == 5


def test_tokens_that_live_two_seconds(seeded: None, tmp_path: Path) -> None:
    with running_server(tmp_path / "log", ACCESS_TOKEN_EXPIRE_SECONDS="2") as base_url:
        for generation in ("g1", "g2"):
            result = run_client(base_url, "--generation", generation, "--simulate-expired-token")
            assert result.returncode == 0, result.stdout + result.stderr


def test_failures_are_one_sentence(server: str, seeded: None, tmp_path: Path) -> None:
    result = run_client(server, "--course-code", "NOPE")
    assert result.returncode == 1
    assert "COURSE_NOT_FOUND" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    result = run_client("http://127.0.0.1:1")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


def archive_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            tar.addfile(member, BytesIO(bytes(member.size)))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, 3 if kind == tarfile.REGTYPE else 0
    return info


@pytest.mark.parametrize(
    "hostile",
    [
        member("../outside"),
        member("/tmp/outside"),
        member("a/../../outside"),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("link", tarfile.LNKTYPE, "prompt.md"),
        member("pipe", tarfile.FIFOTYPE),
        member("prompt.md"),
    ],
    ids=lambda info: f"{info.name} {info.type!r}",
)
def test_a_hostile_bundle_is_refused_whole(tmp_path: Path, hostile: tarfile.TarInfo) -> None:
    spec = importlib.util.spec_from_file_location("desktop_client", BASE_DIR / "examples" / "desktop_client.py")
    assert spec is not None
    assert spec.loader is not None
    client = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = client  # dataclasses look their module up
    spec.loader.exec_module(client)
    good = archive_of(tmp_path / "good.tar.gz", member("folder", tarfile.DIRTYPE), member("folder/prompt.md"))
    client.unpack(good, tmp_path / "bundles" / "good")
    assert (tmp_path / "bundles" / "good" / "folder" / "prompt.md").read_bytes() == bytes(3)

    bad = archive_of(tmp_path / "bad.tar.gz", member("prompt.md"), hostile)
    with pytest.raises(client.DownloadError):
        client.unpack(bad, tmp_path / "bundles" / "bad")
    assert sorted(path.name for path in (tmp_path / "bundles").iterdir()) == ["good"]
    assert not (tmp_path / "outside").exists()
