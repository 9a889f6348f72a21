from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.errors import ApiError
from updates.management.terminal import told_once
from updates.seeding import seed_data


class Command(BaseCommand):
    help = "Make the demonstration course SOC101 with its published bundles. Running it again changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with told_once():
                seed_data(report=self.stdout.write, warn=lambda line: self.stderr.write(self.style.WARNING(line)))
        except ApiError as error:
            raise CommandError(str(error.sentence)) from error
