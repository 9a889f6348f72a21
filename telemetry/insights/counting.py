"""What to do about counts that are missing or old, which depends on who reads it."""

from django.utils.translation import gettext as _

from accounts.models import User
from config.search import Person


def how_counted(person: Person) -> str:
    """Say what brings the counts up to date: to those who run the server by which command, to others whom to ask."""
    if isinstance(person, User) and person.is_superuser:
        return _("manage.py refresh_insights brings the counts up to date, and should run every 15 minutes.")
    return _("The counts are brought up to date every 15 minutes or so. If not, ask whoever runs this server.")
