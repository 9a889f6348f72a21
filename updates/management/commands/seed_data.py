import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.errors import ApiError
from updates.seeding import seed_data


class Command(BaseCommand):
    help = "Make the demonstration course SOC101 with its published bundles. Running it again changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with _told_once():
                seed_data(report=self.stdout.write, warn=lambda line: self.stderr.write(self.style.WARNING(line)))
        except ApiError as error:
            raise CommandError(error.message or error.code.message) from error


@contextmanager
def _told_once() -> Iterator[None]:
    """Keep the services' log of each release out of the terminal: this command reports the same."""
    logger = logging.getLogger("updates.services")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
