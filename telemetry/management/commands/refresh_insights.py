"""`manage.py refresh_insights`: the counts that staff see in the insights into courses."""

from typing import Any

from django.core.management.base import BaseCommand

from config.terminal import Progress, errors_told
from telemetry import rollups


class Command(BaseCommand):
    help = (
        "Bring the counts up to date that the insights into courses are shown from. Run it every 15 minutes;"
        " again or on two machines at once does no harm, and events come in meanwhile."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        verbosity = options["verbosity"]
        with errors_told("Stopped. The next run goes on from here."):
            refreshed = rollups.refresh(progress=Progress(self, verbosity))
        if verbosity:
            self.stdout.write(f"Counted days: {refreshed.days:,}; courses: {refreshed.courses:,}.")
