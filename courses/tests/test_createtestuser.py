"""manage.py createtestuser"""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from courses.models import Course, Enrollment
from tests.cast import Actor, error_code

pytestmark = pytest.mark.django_db


LONG_EMAIL = f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}.com"


def create(*arguments: str) -> str:
    out = StringIO()
    call_command("createtestuser", *arguments, stdout=out)
    return out.getvalue()


def can_log_in(email: str, password: str) -> bool:
    body = {"email": email, "password": password, "device_id": "d"}
    return APIClient().post("/v1/auth/login", body, format="json").status_code == 200


def test_a_user_is_made_and_enrolled(course: Course) -> None:
    said = create("--email", "T@example.com", "--password", "long enough", "--name", "T", "--course-code", "tst100")
    assert said == "Created t@example.com (T), enrolled in TST100.\n"
    assert can_log_in("t@example.com", "long enough")
    assert Enrollment.objects.get().user.email == "t@example.com"


def test_again_updates(course: Course, learner: Actor) -> None:
    Enrollment.objects.update(removed_at=timezone.now())
    said = create("--email", learner.user.email, "--password", "another one", "--course-code", "TST100")
    assert said == "Updated learner@example.com (learner), enrolled in TST100.\n"
    assert can_log_in(learner.user.email, "another one")
    assert Enrollment.objects.get().removed_at is None
    assert error_code(learner.get("/v1/me")) == "INVALID_TOKEN", "a new password ends the old sessions"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--email", LONG_EMAIL, "--password", "long enough"], "is not an email address"),
        (["--email", "none", "--password", "long enough"], "is not an email address"),
        (["--email", "t@example.com", "--password", "short"], "8 to 128 characters"),
        (["--email", "t@example.com", "--password", "long enough", "--course-code", "NOPE"], "no course NOPE"),
        (["--email", "t@example.com", "--password", "long enough", "--name", "x" * 121], "120 characters"),
    ],
)
def test_refusals_make_nothing(arguments: list[str], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        create(*arguments)
    assert not User.objects.exists()
