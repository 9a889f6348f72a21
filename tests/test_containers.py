"""The container files agree with each other, with the code and with .env.example. No container engine is needed."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent

# What the container has to settle itself, whatever the operator's .env says about the host.
SETTLED_BY_COMPOSE = {"DATABASE_URL", "REDIS_URL"}
SETTLED_BY_IMAGE = {"APP_HOST", "APP_PORT", "ARTIFACT_ROOT"}
# Variables in the image that are not the server's.
OF_THE_INTERPRETER = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, each as its name and the rest."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = text.replace("\\\n", "")
    pairs = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(name, rest) for name, rest in pairs]


def final_stage() -> list[tuple[str, str]]:
    """Return the instructions that make the image itself."""
    everything = instructions()
    start = max(index for index, (name, _) in enumerate(everything) if name == "FROM")
    return everything[start:]


def image_variables() -> dict[str, str]:
    """Return what ENV sets in the image."""
    settings = " ".join(rest for name, rest in final_stage() if name == "ENV")
    return dict(item.split("=", 1) for item in settings.split())


def copied_sources() -> list[str]:
    """Return the paths in the repository that COPY names."""
    copies = [rest.split() for name, rest in instructions() if name == "COPY"]
    return [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]


def is_sent_to_builder(path: str) -> bool:
    """Whether .dockerignore lets a path through. The last rule that matches it, or a folder above it, decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        rule = line.removeprefix("!")
        parts = (re.escape(part).replace(r"\*", "[^/]*") for part in rule.removeprefix("**/").split("/"))
        anywhere = "(.*/)?" if rule.startswith("**/") else ""
        if re.fullmatch(anywhere + "/".join(parts) + "(/.*)?", path):
            sent = line.startswith("!")
    return sent


def documented_variables() -> set[str]:
    """Return the names in .env.example, those with a default and those without."""
    return set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return content


def check_against_the_specification(file: Path) -> subprocess.CompletedProcess[str]:
    """Validate by the Compose Specification's own schema, which the package carries."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_compose_file_follows_the_specification() -> None:
    result = check_against_the_specification(ROOT / "docker-compose.yml")
    assert result.returncode == 0, result.stdout


def test_schema_notices_a_misspelt_key(compose: dict[str, Any], tmp_path: Path) -> None:
    api = compose["services"]["api"]
    misspelt = tmp_path / "docker-compose.yml"
    misspelt.write_text(yaml.safe_dump(compose | {"services": {"api": api | {"depend_on": api["depends_on"]}}}))
    result = check_against_the_specification(misspelt)
    assert result.returncode == 1
    assert "depend_on" in result.stdout


def test_compose_file_refers_only_to_what_it_declares(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        volumes = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert volumes <= set(compose["volumes"])


def test_services_that_are_waited_for_say_when_they_are_ready(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for name, wait in service.get("depends_on", {}).items():
            assert wait["condition"] != "service_healthy" or "healthcheck" in services[name]


def test_api_starts_after_the_migrations(compose: dict[str, Any]) -> None:
    api, migrate = compose["services"]["api"], compose["services"]["migrate"]
    assert api["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
    assert "manage.py migrate --noinput" in migrate["command"][-1]
    assert "manage.py seed_data" in migrate["command"][-1]


def test_api_and_migrations_are_the_same_server(compose: dict[str, Any]) -> None:
    """The secret generated in development, the database and the bundles must be the same ones."""
    api, migrate = compose["services"]["api"], compose["services"]["migrate"]
    for key in ("image", "build", "environment", "volumes"):
        assert api[key] == migrate[key]


def test_every_documented_setting_reaches_the_server(compose: dict[str, Any]) -> None:
    """A setting that an operator writes into .env must not be lost on the way into the container."""
    given = set(compose["services"]["api"]["environment"])
    expected = documented_variables() - SETTLED_BY_IMAGE - {"POSTGRES_PASSWORD"}
    assert given == expected | SETTLED_BY_COMPOSE


def test_settings_are_passed_on_under_their_own_name(compose: dict[str, Any]) -> None:
    for name, value in compose["services"]["api"]["environment"].items():
        if name not in SETTLED_BY_COMPOSE:
            assert re.fullmatch(r"\$\{" + name + r":-[a-z]*\}", value)


def test_every_variable_of_the_compose_file_is_documented() -> None:
    used = set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "docker-compose.yml").read_text()))
    assert used - documented_variables() == set()


def test_every_variable_of_the_image_is_documented() -> None:
    assert set(image_variables()) - OF_THE_INTERPRETER - documented_variables() == set()


def test_compose_file_reaches_its_own_database_and_cache(compose: dict[str, Any]) -> None:
    variables = compose["services"]["api"]["environment"]
    database = compose["services"]["postgres"]["environment"]
    password = database["POSTGRES_PASSWORD"]
    user, name = database["POSTGRES_USER"], database["POSTGRES_DB"]
    assert variables["DATABASE_URL"] == f"postgresql://{user}:{password}@postgres:5432/{name}"
    assert variables["REDIS_URL"] == "redis://redis:6379/0"


def test_ports(compose: dict[str, Any]) -> None:
    """Published to this machine only, unless the operator says otherwise of the API."""
    assert compose["services"]["postgres"]["ports"] == ["127.0.0.1:15432:5432"]
    assert compose["services"]["api"]["ports"] == ["${APP_HOST:-127.0.0.1}:${APP_PORT:-10723}:10723"]
    assert ("EXPOSE", "10723") in final_stage()
    assert image_variables()["APP_PORT"] == "10723"
    assert image_variables()["APP_HOST"] == "0.0.0.0"


def test_image_is_for_production_unless_told_otherwise() -> None:
    assert image_variables()["APP_ENV"] == "production"


def test_everything_copied_exists_and_is_sent_to_the_builder() -> None:
    sources = copied_sources()
    assert sources
    for source in sources:
        assert (ROOT / source).exists()
        assert is_sent_to_builder(source)


def test_every_app_is_copied() -> None:
    apps = {path.parent.name for path in ROOT.glob("*/apps.py")}
    assert apps
    assert apps <= set(copied_sources())


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".git/config",
        ".local/secret",
        ".venv/bin/python",
        "config/tests/test_env.py",
        "config/.env",
        "README.md",
    ],
)
def test_what_stays_out_of_the_image(path: str) -> None:
    assert not is_sent_to_builder(path)


def test_code_is_sent_to_the_builder() -> None:
    assert is_sent_to_builder("config/settings.py")
    assert is_sent_to_builder("accounts/migrations/0001_initial.py")


def test_image_starts_what_exists() -> None:
    command = json.loads(next(rest for name, rest in final_stage() if name == "CMD"))
    program, option, configuration, application = command
    assert (program, option) == ("gunicorn", "-c")
    assert (ROOT / configuration).is_file()
    module, attribute = application.split(":")
    source = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()
    assert re.search(rf"^(def {attribute}\(|{attribute} = )", source, re.MULTILINE)
    assert re.search(r"^gunicorn==", (ROOT / "requirements" / "production.txt").read_text(), re.MULTILINE)


def test_image_does_not_run_as_root() -> None:
    user = [rest for name, rest in final_stage() if name == "USER"][-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_image_has_the_health_check() -> None:
    check = next(rest for name, rest in final_stage() if name == "HEALTHCHECK")
    assert "http://127.0.0.1:" in check
    assert "os.environ['APP_PORT'] + '/healthz'" in check
    assert '"healthz"' in (ROOT / "config" / "urls.py").read_text()


def test_image_keeps_bundles_in_the_volume(compose: dict[str, Any]) -> None:
    folder = image_variables()["ARTIFACT_ROOT"]
    assert ("VOLUME", "/data") in final_stage()
    assert folder.startswith("/data/")
    assert f"artifacts:{folder}" in compose["services"]["api"]["volumes"]
