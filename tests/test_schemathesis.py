"""The API against its own OpenAPI document: no 500, no undocumented status, no answer outside its schema."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from courses.models import Course, Enrollment
from tests.cast import make_actor
from tests.live import BASE_DIR, running_server
from updates.models import BundleRelease

ADMIN_API_KEY = "the-operators-key-of-the-tests-0123456789"

CONFIG = """
[headers]
Authorization = "Bearer {access_token}"

{shipped}

[[operations]]
include-path-regex = "^/v1/admin/"
headers = {{ Authorization = "Bearer {key}", X-Admin-Key = "{key}" }}

# Random values would only ever be refused: many requests name what is there, or what can be made.
[dictionaries]
courses.values = ["{course}"]
releases.values = {releases}
scopes.values = ["core", "shared", "helper"]
versions.values = ["1.2.0", "1.3.0", "1.4.0-rc.1"]
addresses.values = ["https://127.0.0.1/bundle.tar.gz"]

[parameters]
"path.course_id" = {{ dictionary = "courses", probability = 0.5 }}
"path.id" = {{ dictionary = "releases", probability = 0.8 }}
"body.with.[*]" = {{ dictionary = "releases", probability = 0.5 }}
"body.scope_id" = {{ dictionary = "scopes", probability = 0.8 }}
"body.version" = {{ dictionary = "versions", probability = 0.8 }}
"body.artifact_url" = {{ dictionary = "addresses", probability = 0.9 }}
"""


@pytest.mark.django_db(transaction=True)
def test_schemathesis_finds_nothing(seeded: None, tmp_path: Path) -> None:
    learner = make_actor("learner")
    course = Course.objects.get()
    Enrollment.objects.create(user=learner.user, course=course)
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        CONFIG.format(
            access_token=learner.access_token,
            shipped=(BASE_DIR / "schemathesis.toml").read_text(),
            key=ADMIN_API_KEY,
            course=course.pk,
            releases=json.dumps([str(release.pk) for release in BundleRelease.objects.all()]),
        )
    )
    with running_server(tmp_path / "log", ADMIN_API_KEY=ADMIN_API_KEY) as server:
        _run(server, config)


def _run(server: str, config: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(config)),
        *("run", f"{server}/openapi.json"),
        *("--checks", "all", "--max-examples", "30", "--no-color"),
    ]
    result = subprocess.run(command, cwd=config.parent, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr
    generated = re.search(r"(\d+) generated, (\d+) passed", result.stdout)
    assert generated, result.stdout[-2000:]
    assert int(generated[1]) > 1_000
