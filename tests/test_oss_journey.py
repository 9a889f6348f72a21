"""The seed data in OSS: stored, offered and downloaded by signed URLs, against an endpoint that checks signatures."""

import hashlib
from io import StringIO

import httpx
import pytest
from django.core.management import call_command

from courses.models import Course, Enrollment
from storage.tests.conftest import oss, signature_version, use_oss  # noqa: F401  fixtures
from storage.tests.oss_server import OssServer
from tests.cast import make_actor


@pytest.mark.django_db
@pytest.mark.parametrize("signature_version", ["v1", "v4"])
def test_bundles_come_from_the_bucket(oss: OssServer) -> None:  # noqa: F811
    said = [StringIO(), StringIO()]
    for out in said:
        call_command("seed_data", stdout=out)
    assert said[1].getvalue().count("there already (published)") == 5

    student = make_actor("student")
    course = Course.objects.get()
    Enrollment.objects.create(user=student.user, course=course)
    body = {"course_id": str(course.pk), "chapter_id": "ch1_intro", "installed": {"chapter_bundle": None}}
    required = student.post("/v1/updates/check-chapter", body).json()["required"]
    assert len(required) == 3
    for descriptor in required:
        assert descriptor["artifact_url"].startswith(f"http://{oss.address}/")
        content = httpx.get(descriptor["artifact_url"]).raise_for_status().content
        assert hashlib.sha256(content).hexdigest() == descriptor["sha256"]
        forged = descriptor["artifact_url"].replace("ignature=", "ignature=x")
        assert httpx.get(forged).status_code == 403
