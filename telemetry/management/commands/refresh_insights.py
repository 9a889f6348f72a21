"""`manage.py refresh_insights`: the counts that staff see in the insights into courses."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, ProgrammingError

from config.terminal import INTERRUPTED, Progress
from telemetry import rollups


class Command(BaseCommand):
    help = (
        "Bring the counts up to date that the insights into courses are shown from. Run it every 15 minutes;"
        " again or on two machines at once does no harm, and events come in meanwhile."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        verbosity = options["verbosity"]
        try:
            refreshed = rollups.refresh(progress=Progress(self, verbosity))
        except (OperationalError, InterfaceError, ProgrammingError) as error:
            raise CommandError(f"The database refuses: {str(error).strip().splitlines()[0]}") from error
        except KeyboardInterrupt as error:
            raise CommandError("Stopped. The next run goes on from here.", returncode=INTERRUPTED) from error
        if verbosity:
            self.stdout.write(f"Counted {refreshed.days:,} days and {refreshed.courses:,} courses.")
