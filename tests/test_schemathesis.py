"""The API against its own OpenAPI document: no 500, no undocumented status, no answer outside its schema."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from courses.models import Course, Enrollment
from tests.cast import make_actor
from tests.live import BASE_DIR


@pytest.mark.django_db(transaction=True)
def test_schemathesis_finds_nothing(server: str, seeded: None, tmp_path: Path) -> None:
    learner = make_actor("learner")
    course = Course.objects.get()
    Enrollment.objects.create(user=learner.user, course=course)
    config = tmp_path / "schemathesis.toml"
    # A random id would only ever be refused: every other request asks for a course that is there.
    known = f'\n[parameters]\n"path.course_id" = ["{course.pk}", "unknown"]\n'
    config.write_text((BASE_DIR / "schemathesis.toml").read_text() + known)
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(config)),
        *("run", f"{server}/openapi.json"),
        *("--header", f"Authorization: Bearer {learner.access_token}"),
        *("--checks", "all", "--max-examples", "30", "--no-color"),
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stdout[-8000:] + result.stderr
    generated = re.search(r"(\d+) generated, (\d+) passed", result.stdout)
    assert generated, result.stdout[-2000:]
    assert int(generated[1]) > 1_000
