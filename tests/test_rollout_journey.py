"""A release on its way: a tenth of the devices, everybody, nobody. Staff act at one server, devices ask another."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytest_django import Settings

from tests.live import BASE_DIR, running_server
from tests.races import run_at_once
from updates.models import BundleRelease
from updates.selection import rollout_bucket
from updates.tests.pipelines import ADMIN_API_KEY
from updates.tests.shelf import APP, a_bundle

pytestmark = pytest.mark.django_db(transaction=True)

SEEN_WITHIN_SECONDS = 2.0


class Staff:
    """A pipeline at the second server."""

    def __init__(self, http: httpx.Client, base_url: str) -> None:
        self.http = http
        http.base_url = httpx.URL(f"{base_url}/v1/admin/bundles")

    def upload(self, version: str, **fields: str) -> str:
        form = {"bundle_type": APP[0], "scope_id": APP[1], "version": version, **fields}
        with a_bundle(APP, version) as bundle:
            response = self.http.post("/upload", data=form, files={"file": bundle.file})
        assert response.status_code == 201, response.text
        return str(response.json()["id"])

    def act(self, release_id: str, verb: str, **body: Any) -> None:
        response = self.http.post(f"/{release_id}/{verb}", json=body)
        assert response.status_code == 200, response.text


class Device:
    """The example client in a folder of its own, at the first server."""

    def __init__(self, folder: Path, base_url: str, device_id: str) -> None:
        self.folder, self.base_url = folder, base_url
        folder.mkdir()
        (folder / "state.json").write_text(json.dumps({"base_url": base_url, "device_id": device_id}))

    def run(self) -> str:
        """Start the app once; return what it said."""
        mine = ("--email", f"{self.folder.name}@example.com", "--password", "a good password")
        command = [sys.executable, "examples/desktop_client.py", "--base-url", self.base_url, *mine]
        result = subprocess.run(
            [*command, "--data-dir", str(self.folder)],
            cwd=BASE_DIR,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def installed(self) -> str:
        """The version of the app agents that is in place."""
        version: str = json.loads((self.folder / "state.json").read_text())["app"]["app_agents"]
        assert (self.folder / "bundles" / "app_agents" / "core" / version).is_dir()
        return version


def started(*devices: Device) -> list[str]:
    """Start the app on each device, once every worker must know what was done; return what is in place then."""
    time.sleep(SEEN_WITHIN_SECONDS)
    run_at_once(*(device.run for device in devices))
    return [device.installed() for device in devices]


def device_ids(release: BundleRelease, is_wanted: Callable[[int], bool]) -> Iterator[str]:
    assert release.cohort_key
    for number in count():
        if is_wanted(rollout_bucket(release.cohort_key, f"device-{number}")):
            yield f"device-{number}"


@pytest.fixture
def artifact_root(settings: Settings, tmp_path: Path) -> None:
    """A store of its own, for both servers: one that outlives the test may hold other bytes under the same versions."""
    settings.ARTIFACT_ROOT = tmp_path / "artifacts"


@pytest.mark.usefixtures("artifact_root", "seeded")
def test_a_release_goes_to_some_to_all_and_back(tmp_path: Path) -> None:
    with (
        running_server(tmp_path / "one", WEB_CONCURRENCY="2") as asked,
        running_server(tmp_path / "two", WEB_CONCURRENCY="2", ADMIN_API_KEY=ADMIN_API_KEY) as acted,
        httpx.Client(headers={"X-Admin-Key": ADMIN_API_KEY}) as http,
    ):
        staff = Staff(http, acted)
        release = BundleRelease.objects.get(pk=staff.upload("1.1.0", publish="true", rollout_percent="10"))
        inside = Device(tmp_path / "inside", asked, next(device_ids(release, lambda bucket: bucket < 1_000)))
        outside = Device(tmp_path / "outside", asked, next(device_ids(release, lambda bucket: bucket >= 1_000)))
        assert started(inside, outside) == ["1.1.0", "1.0.0"]

        staff.act(str(release.pk), "rollout", rollout_percent=100)
        assert started(inside, outside) == ["1.1.0", "1.1.0"]

        staff.act(str(release.pk), "withdraw")
        assert started(inside, outside) == ["1.0.0", "1.0.0"]

        staff.upload("1.2.0", publish="true", min_desktop_version="9.0.0", strict_versions="true")
        time.sleep(SEEN_WITHIN_SECONDS)
        assert "app_agents/core 1.2.0: needs app 9.0.0 or newer" in inside.run()
        assert inside.installed() == "1.0.0"
