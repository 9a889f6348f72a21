"""`manage.py maintain_telemetry`: what the tables of events, of their counts and of adoption need once a day."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.personal_data import prune_erased_logins
from config.terminal import Progress, errors_told
from telemetry import budget, rollups
from telemetry.partitions import maintain_events, sole_maintainer
from updates.services.adoption import prune_adoption


class Command(BaseCommand):
    help = (
        "Make the monthly partitions of events ahead, drop those older than ANALYTICS_RETENTION_DAYS, and delete what"
        " expired elsewhere; count what insights into courses are shown from; delete the counts of which versions"
        " devices had that are older than a year. Run it daily; again or on two machines at once does no harm, and"
        " events come in meanwhile."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        """Maintain the table. Raises CommandError when something could not be done, after all the rest."""
        with errors_told("Stopped. The next run goes on from here."):
            self._maintain(options["verbosity"])

    def _maintain(self, verbosity: int) -> None:
        said = 0

        def say(line: str) -> None:
            nonlocal said
            said += 1
            self._say(line, verbosity)

        with sole_maintainer() as granted:
            if not granted:
                self._say("Another maintain_telemetry is at work; this one leaves it to that.", verbosity)
                return
            progress = Progress(self, verbosity)
            problems = maintain_events(report=say, progress=progress)
            if forgotten := rollups.prune():
                say(f"Deleted {forgotten:,} days of learners that are older than events are kept.")
            if days := rollups.refresh(progress=progress).days:
                say(f"Counted anew: {days:,} {'days' if days > 1 else 'day'} of courses.")
            counts, devices = prune_adoption()
            if counts or devices:
                say(f"Deleted {counts:,} old counts of versions, and {devices:,} of devices not seen for as long.")
            budget.prune()
            if logins := prune_erased_logins():
                say(f"Deleted {logins:,} expired logins of erased accounts.")
        if problems:
            raise CommandError("\n".join(dict.fromkeys(problems)))
        if not said:
            self._say("There was nothing to change.", verbosity)

    def _say(self, line: str, verbosity: int) -> None:
        if verbosity:
            self.stdout.write(line)
            self.stdout.flush()  # a log shall have it at once
