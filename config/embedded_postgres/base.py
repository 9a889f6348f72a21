"""A database backend: Django's PostgreSQL, with a server of its own that starts on the first connection.

    DATABASES = {"default": {"ENGINE": "config.embedded_postgres", "NAME": "…", "CLUSTER_DIR": Path("…")}}

CLUSTER_DIR is the folder that holds the cluster, its locks and its log. DURABLE, True unless given, may be False for a
cluster that only tests use: it is made without fsync. Nothing starts at import.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db.backends.postgresql import base
from django.db.backends.postgresql.client import DatabaseClient as PostgresClient

from config.embedded_postgres import server, supervisor


class DatabaseClient(PostgresClient):
    """The psql of the same package, which isn't on the PATH."""

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        host = ensure_running(settings_dict)
        connection = {"HOST": host, "PORT": str(supervisor.PORT), "USER": supervisor.SUPERUSER}
        arguments, environment = super().settings_to_cmd_args_env({**settings_dict, **connection}, parameters)
        return [str(server.program("psql")), *arguments[1:]], environment


class DatabaseWrapper(base.DatabaseWrapper):
    client_class = DatabaseClient

    def get_connection_params(self) -> dict[str, Any]:
        host = ensure_running(self.settings_dict)
        return {
            **super().get_connection_params(),
            "host": host,
            "port": supervisor.PORT,
            "user": supervisor.SUPERUSER,
        }


def ensure_running(settings_dict: dict[str, Any]) -> str:
    """Make sure of the server that the settings describe, and return the folder of its socket."""
    folder = settings_dict.get("CLUSTER_DIR")
    if not folder:
        raise ImproperlyConfigured("The engine config.embedded_postgres needs CLUSTER_DIR, the cluster's folder.")
    return server.ensure_running(Path(folder), settings_dict["NAME"], durable=settings_dict.get("DURABLE", True))
