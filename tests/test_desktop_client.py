"""examples/desktop_client.py against a real server: the client that people will copy from must work."""

import importlib.util
import json
import subprocess
import sys
import tarfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from config import limits
from telemetry.models import AnalyticsEvent, ChapterProgress
from tests.live import BASE_DIR, running_server
from updates.tests.shelf import APP, published

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


def installed_app(data_dir: Path) -> str:
    return str(json.loads((data_dir / "state.json").read_text())["app"]["app_agents"])


def test_what_the_app_is_too_old_for_is_told_once(server: str, seeded: None, tmp_path: Path) -> None:
    published(APP, "2.0.0", min_desktop_version="0.4.0", min_sidecar_version="0.2.0")
    time.sleep(limits.CATALOGUE_MAX_AGE_SECONDS)
    mine = ("--data-dir", str(tmp_path), "--email", "old@example.com", "--password", "a good password")

    result = run_client(server, *mine, "--desktop-version", "0.3.0")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("  app_agents/core 2.0.0: needs app 0.4.0 or newer\n") == 1
    assert installed_app(tmp_path) == "1.0.0"

    result = run_client(server, *mine)
    assert "needs app 0.4.0" in result.stdout, "the constant doesn't take the real version's place"

    result = run_client(server, *mine, "--desktop-version", "0.4.0")
    assert "needs" not in result.stdout
    assert "app_agents/core 2.0.0: takes the place of 1.0.0" in result.stdout
    assert installed_app(tmp_path) == "2.0.0"


def test_what_changes_during_the_run_is_no_fault_of_the_server(
    server: str, seeded: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load_client()
    time.sleep(limits.CATALOGUE_MAX_AGE_SECONDS)  # the server may still see what the test before has published
    with httpx.Client(base_url=server) as http:
        api = module.Api(http, module.State(tmp_path / "state.json", server), "g2")
        client = module.DesktopClient(api, tmp_path)
        client.register("busy@example.com", "a good password", None, None)
        client.update(client.check_app())
        published(APP, "2.0.0")
        time.sleep(limits.CATALOGUE_MAX_AGE_SECONDS)
        client.check_nothing_left("", [])
        assert "Changed meanwhile, for the next start: app_agents/core 2.0.0." in capsys.readouterr().out

        client.state.app["app_agents"] = "2.0.0"
        client.check_nothing_left("", [])
        assert "nothing to do" in capsys.readouterr().out

        client.check_app = lambda: {"required": [descriptor(client.state, "2.0.0")]}
        with pytest.raises(module.ClientError, match="still lists what is installed"):
            client.check_nothing_left("", [])


def descriptor(state: Any, version: str) -> dict[str, Any]:
    return {
        "bundle_type": "app_agents",
        "scope_id": "core",
        "version": version,
        "artifact_url": state.base_url,
        "sha256": "",
        "size_bytes": 1,
    }


def load_client() -> Any:
    """Import the client, which is in no package."""
    spec = importlib.util.spec_from_file_location("desktop_client", BASE_DIR / "examples" / "desktop_client.py")
    assert spec is not None
    assert spec.loader is not None
    client = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = client  # dataclasses look their module up
    spec.loader.exec_module(client)
    return client


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
    client = load_client()
    good = archive_of(tmp_path / "good.tar.gz", member("folder", tarfile.DIRTYPE), member("folder/prompt.md"))
    client.unpack(good, tmp_path / "bundles" / "good")
    assert (tmp_path / "bundles" / "good" / "folder" / "prompt.md").read_bytes() == bytes(3)

    bad = archive_of(tmp_path / "bad.tar.gz", member("prompt.md"), hostile)
    with pytest.raises(client.DownloadError):
        client.unpack(bad, tmp_path / "bundles" / "bad")
    assert sorted(path.name for path in (tmp_path / "bundles").iterdir()) == ["good"]
    assert not (tmp_path / "outside").exists()
