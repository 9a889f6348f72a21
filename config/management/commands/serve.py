"""`manage.py serve`: prepare the database, then serve the API from this very process."""

import errno
import secrets
import socket
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection, connections
from django.db.utils import OperationalError
from gunicorn.app.base import Application

GUNICORN_CONF: Final = Path(__file__).resolve().parents[2] / "gunicorn_conf.py"
STAFF_EMAIL: Final = "admin@example.com"
STAFF_PASSWORD_BYTES: Final = 12  # of randomness: 16 characters
PREPARE_LOCK: Final = 0x5E27E  # the advisory lock under which one of several starting nodes migrates
ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  where to reach a server that listens on all


class Server(Application):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn with the configuration that the container image uses, from within this process."""

    def __init__(self, when_ready: Callable[[], None]) -> None:
        self._when_ready = when_ready
        super().__init__()

    def load_config(self) -> None:
        self.load_config_from_file(str(GUNICORN_CONF))
        self.cfg.set("when_ready", lambda _arbiter: self._when_ready())

    def load(self) -> Any:
        from config.wsgi import application

        return application


class Command(BaseCommand):
    help = "Apply the migrations, add the example data where SEED_DATA is on, and serve until Ctrl-C."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take no options: host, port and sizes are settings."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Serve. Raises SystemExit with a sentence when the port is taken or the database can't be used."""
        ensure_port_is_free(settings.APP_HOST, settings.APP_PORT)
        try:
            staff = self.prepare_database()
        except OperationalError as error:
            raise SystemExit(str(error).strip()) from None
        except KeyboardInterrupt:
            raise SystemExit("Stopped before the database was ready; the next start goes on from there.") from None
        Server(lambda: self.announce(staff)).run()

    def prepare_database(self) -> str:
        """Migrate, seed, and make the staff account of a fresh development database. Returns what to say of it."""
        self.say("Preparing the database.")
        try:
            wait_for_other_nodes()
            call_command("migrate", interactive=False, verbosity=0)
            if settings.SEED_DATA:
                call_command("seed_data", stdout=self.stdout, stderr=self.stderr)
            return ensure_staff_account() if settings.APP_ENV == "development" else ""
        finally:
            connections.close_all()

    def announce(self, staff: str) -> None:
        url = base_url(settings.APP_HOST, settings.APP_PORT)
        self.say(f"Serving the API at {url}: docs at {url}/docs, OpenAPI at {url}/openapi.json, admin at {url}/admin/.")
        if staff:
            self.say(staff)
        self.say("Ctrl-C stops it.")

    def say(self, sentence: str) -> None:
        self.stdout.write(sentence)
        self.stdout.flush()  # a pipe or a log file shall have it at once, and forked workers no copy of it


def ensure_port_is_free(host: str, port: int) -> None:
    """Raise SystemExit with a sentence when the address can't be listened on."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
    except OSError as error:
        advice = "set APP_HOST and APP_PORT to an address of this machine"
        if error.errno == errno.EADDRINUSE:
            advice = "stop the program that uses it, or set APP_PORT to another port"
        raise SystemExit(f"Can't listen on {host}:{port} ({error.strerror}): {advice}.") from None


def wait_for_other_nodes() -> None:
    """Let nodes that start together migrate one after another. The lock ends with this connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [PREPARE_LOCK])


def ensure_staff_account() -> str:
    """Make the first staff account, with a random password, unless there is one. Returns a sentence about it."""
    users = get_user_model().objects
    staff = users.filter(is_superuser=True, is_active=True).order_by("created_at").first()
    if staff is not None:
        reset = f".venv/bin/python manage.py changepassword {staff.email}"
        return f"Staff account for the admin: {staff.email}; for a new password run {reset}"
    if users.filter(email=STAFF_EMAIL).exists():
        return "There is no staff account for the admin; to make one run .venv/bin/python manage.py createsuperuser"
    password = secrets.token_urlsafe(STAFF_PASSWORD_BYTES)
    users.create_superuser(email=STAFF_EMAIL, password=password)
    return f"Staff account for the admin: {STAFF_EMAIL} with the password {password} (it is shown only this once)."


def base_url(host: str, port: int) -> str:
    reachable = ANY_ADDRESS.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
