from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import EmailValidator, MaxLengthValidator

from accounts.models import normalize_email
from courses.models import Course
from courses.services import save_test_user


class Command(BaseCommand):
    help = "Create or update a user, and enrol it in a course."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--email", required=True)
        parser.add_argument("--password", required=True, help="8 to 128 characters")
        parser.add_argument("--name", default="", help="display name; default: the part of the email before the @")
        parser.add_argument("--course-code", default="", help="enrol the user in this course")

    def handle(self, *args: Any, **options: Any) -> None:
        email = normalize_email(options["email"])
        try:
            EmailValidator()(email)
            MaxLengthValidator(254)(email)
        except ValidationError as error:
            raise CommandError(f"{email!r} is not an email address.") from error
        if not 8 <= len(options["password"]) <= 128:
            raise CommandError("The password must have 8 to 128 characters.")
        if len(options["name"]) > 120:
            raise CommandError("The name may have at most 120 characters.")
        course = None
        if code := options["course_code"].strip():
            course = Course.objects.filter(course_code__iexact=code).first()
            if course is None:
                raise CommandError(f"There is no course {code}.")
        user, created = save_test_user(
            email=email, password=options["password"], display_name=options["name"], course=course
        )
        place = f", enrolled in {course.course_code}" if course else ""
        self.stdout.write(f"{'Created' if created else 'Updated'} {user.email} ({user.display_name}){place}.")
