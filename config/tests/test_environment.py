"""What the start refuses, as an operator meets it: a process, its environment, its last words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config.secret import development_secret
from tests.live import BASE_DIR, clean_environment

SECRET = "kX9mQ2vR7tB4nW8zL5cJ1hF6yD3sG0pA"
PRODUCTION = {
    "APP_ENV": "production",
    "DATABASE_URL": "postgresql://user:pass@127.0.0.1:1/llm_course",
    "JWT_SECRET": SECRET,
    "EMAIL_SENDER_BACKEND": "smtp",
    "SMTP_HOST": "mail.example.com",
    "SMTP_FROM_EMAIL": "courses@example.com",
    "ALLOWED_HOSTS": "api.example.com",
    "PUBLIC_BASE_URL": "https://api.example.com",
}


def run_python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the checkout with these variables and what every process needs."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=BASE_DIR,
        env=clean_environment() | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def start(code: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    """Load the settings in a clean environment; print what `code` says of them."""
    script = f"import django; django.setup(); from django.conf import settings; {code}"
    return run_python("-c", script, **{"DJANGO_SETTINGS_MODULE": "config.settings", "APP_ENV": "test", **variables})


def refusal(**variables: str) -> str:
    result = run_python("manage.py", "check", **variables)
    assert result.returncode != 0, result.stdout
    assert "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    return result.stderr


def test_production_starts_when_all_is_given() -> None:
    result = start("print(settings.PRODUCTION, settings.SEED_DATA, settings.DEBUG)", **PRODUCTION)
    assert result.stdout == "True False False\n", result.stderr


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL"),
        ({"JWT_SECRET": ""}, "JWT_SECRET"),
        ({"JWT_SECRET": "short"}, "JWT_SECRET"),
        ({"JWT_SECRET": "change-me-in-production-please-0123456789"}, "JWT_SECRET"),
        ({"JWT_SECRET": "CHANGE_ME_before_the_start_0123456789abcdef"}, "JWT_SECRET"),
        ({"EMAIL_SENDER_BACKEND": "console"}, "EMAIL_SENDER_BACKEND"),
        ({"EMAIL_SENDER_BACKEND": ""}, "EMAIL_SENDER_BACKEND"),
        ({"DEV_FIXED_EMAIL_CODE": "123456"}, "DEV_FIXED_EMAIL_CODE"),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "api.example.com, *"}, "ALLOWED_HOSTS"),
        ({"APP_ENV": "staging", "DATABASE_URL": ""}, "DATABASE_URL"),
    ],
)
def test_production_refuses(changes: dict[str, str], named: str) -> None:
    message = refusal(**{**PRODUCTION, **changes})
    assert named in message
    for value in changes.values():
        if len(value) > 12 or value == "short":
            assert value not in message, "the value may be a secret"


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"APP_PORT": "http"}, "APP_PORT"),
        ({"APP_PORT": "70000"}, "APP_PORT"),
        ({"APP_PORT": "-1"}, "APP_PORT"),
        ({"OSS_ENABLED": "maybe"}, "OSS_ENABLED"),
        ({"SEED_DATA": "ture"}, "SEED_DATA"),
        ({"JWT_SECRET": "s3cret-but-short"}, "JWT_SECRET"),
        ({"DATABASE_URL": "mysql://user:hunter2@host/db"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://user:hunter2@host:port/db"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgresql://user:hunter2@host"}, "DATABASE_URL"),
        ({"REDIS_URL": "http://hunter2"}, "REDIS_URL"),
        ({"PUBLIC_BASE_URL": "api.example.com"}, "PUBLIC_BASE_URL"),
        ({"CORS_ALLOWED_ORIGINS": "*"}, "CORS_ALLOWED_ORIGINS"),
        ({"EMAIL_SENDER_BACKEND": "sendmail"}, "EMAIL_SENDER_BACKEND"),
        ({"DEV_FIXED_EMAIL_CODE": "123"}, "DEV_FIXED_EMAIL_CODE"),
        ({"OSS_DOWNLOAD_URL_EXPIRE_SECONDS": "899"}, "OSS_DOWNLOAD_URL_EXPIRE_SECONDS"),
        ({"OSS_STS_DURATION_SECONDS": "60"}, "OSS_STS_DURATION_SECONDS"),
        ({"OSS_BUNDLE_PREFIX": "../"}, "OSS_BUNDLE_PREFIX"),
        ({"OSS_ENABLED": "true"}, "OSS_ENDPOINT"),
        ({"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
        ({"JWT_SECRET_FILE": "/nonexistent"}, "JWT_SECRET_FILE"),
    ],
)
def test_a_wrong_value_is_named_and_not_repeated(variables: dict[str, str], named: str) -> None:
    message = refusal(APP_ENV="test", **variables)
    assert named in message
    assert "hunter2" not in message
    assert "s3cret" not in message


def test_a_dollar_is_literal() -> None:
    result = start(
        "print(settings.EMAIL_HOST_PASSWORD, settings.EMAIL_HOST_USER, settings.DATABASES['default']['PASSWORD'])",
        SMTP_PASSWORD="$HOME",
        SMTP_USERNAME="a$b$$c",
        DATABASE_URL="postgresql://user:$pa$s@127.0.0.1/db",
    )
    assert result.stdout == "$HOME a$b$$c $pa$s\n", result.stderr


@pytest.mark.parametrize(
    ("word", "read"), [("TRUE", "True"), ("on", "True"), ("1", "True"), ("No", "False"), ("0", "False")]
)
def test_spellings_of_booleans(word: str, read: str) -> None:
    assert start("print(settings.AUTH_CONCEAL_ACCOUNTS)", AUTH_CONCEAL_ACCOUNTS=word).stdout.strip() == read


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg"])
def test_spellings_of_the_database_url(scheme: str) -> None:
    result = start(
        "d = settings.DATABASES['default']; print(d['ENGINE'], d['HOST'], d['PORT'], d['NAME'], d['USER'])",
        DATABASE_URL=f"{scheme}://user:pass@db.example.com:5433/courses?sslmode=require",
    )
    assert result.stdout == "django.db.backends.postgresql db.example.com 5433 courses user\n", result.stderr


def test_a_secret_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    result = start("print(settings.JWT_SECRET)", JWT_SECRET_FILE=str(tmp_path / "secret"))
    assert result.stdout.strip() == SECRET, result.stderr


def test_defaults_as_operators_know_them() -> None:
    names = (
        "APP_PORT ACCESS_TOKEN_EXPIRE_SECONDS REFRESH_TOKEN_EXPIRE_SECONDS EMAIL_CODE_EXPIRE_SECONDS "
        "AUTH_CODE_WINDOW_SECONDS AUTH_CODE_MAX_PER_EMAIL_WINDOW AUTH_CODE_MAX_PER_IP_WINDOW "
        "AUTH_CODE_COOLDOWN_SECONDS OSS_STS_DURATION_SECONDS OSS_DOWNLOAD_URL_EXPIRE_SECONDS OSS_BUNDLE_PREFIX"
    )
    result = start(f"print(*[getattr(settings, name) for name in {names.split()!r}])")
    assert result.stdout == "10723 3600 2592000 300 600 5 20 30 1800 900 bundles/\n", result.stderr


def test_the_example_file_names_every_variable_that_is_read() -> None:
    import re

    example = (BASE_DIR / ".env.example").read_text()
    listed = set(re.findall(r"^#?([A-Z][A-Z_]+)=", example, re.MULTILINE))
    source = (BASE_DIR / "config" / "settings.py").read_text()
    read = set(re.findall(r"env\.\w+\(\s*\"([A-Z_]+)\"", source))
    assert read == listed - {"POSTGRES_PASSWORD"}, "that one is for docker-compose.yml"


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from config.env import Environment;"
        "e = Environment.load(Path('dotenv')); print(e.text('APP_NAME'), e.text('SMTP_HOST'))"
    )
    (tmp_path / "dotenv").write_text("APP_NAME=from file\nSMTP_HOST=from-file\n")
    env = {"PATH": os.environ["PATH"], "APP_NAME": "from environment", "PYTHONPATH": str(BASE_DIR)}
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert result.stdout == "from environment from-file\n", result.stderr


@pytest.mark.parametrize("content", [b"SMTP_PASSWORD hunter2\n", b"A-B=hunter2\n", b"SMTP_HOST=\xff\xfehunter2\n"])
def test_a_line_of_the_file_that_is_no_setting_is_refused_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dotenv").write_bytes(b"# fine\n\nexport APP_NAME=x\n" + content)
    script = "from pathlib import Path; from config.env import Environment; Environment.load(Path('dotenv'))"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(BASE_DIR)}
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert "ImproperlyConfigured" in result.stderr
    assert "dotenv" in result.stderr
    assert "hunter2" not in result.stderr + result.stdout


def test_a_secret_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ImproperlyConfigured, match="taken"):
        development_secret(tmp_path / "taken")


def test_production_with_seed_data_and_short_tokens_is_warned_of() -> None:
    changes = {"SEED_DATA": "true", "ACCESS_TOKEN_EXPIRE_SECONDS": "300", "SMTP_HOST": ""}
    result = run_python("manage.py", "check", **PRODUCTION | changes)
    assert result.returncode == 0, result.stderr
    assert "config.W001" in result.stderr
    assert "config.W002" in result.stderr
    assert "config.W003" in result.stderr


def test_workers_that_start_at_once_agree_on_one_secret(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from config.secret import development_secret;"
        f"print(development_secret(Path({str(tmp_path)!r})))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", script], cwd=BASE_DIR, stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    secrets = {process.communicate()[0].strip() for process in processes}
    assert len(secrets) == 1
    assert len(secrets.pop()) >= 32
    assert (tmp_path / "secret").stat().st_mode & 0o077 == 0
    assert os.listdir(tmp_path) == ["secret"]
