"""Settings, all from environment variables; `.env.example` explains each one.

A wrong value stops the start with a sentence that names the variable. Anything that is not development or test
counts as production, and production refuses what only suits a desk.
"""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import django_stubs_ext
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

from config import limits
from config.env import Environment
from config.secret import development_secret

# Django's generic classes can be subscripted in annotations and bases, as the type checker wants them.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent
LOCAL_DIR = BASE_DIR / ".local"

env = Environment.load(BASE_DIR / ".env")

# --- What kind of place this is ---------------------------------------------------------------------------------
APP_ENV = env.text("APP_ENV", "development").lower()
PRODUCTION = APP_ENV not in ("development", "test")
APP_NAME = env.text("APP_NAME", "LLM Course")
APP_HOST = env.text("APP_HOST", "127.0.0.1")
APP_PORT = env.integer("APP_PORT", 10723, minimum=1, maximum=65535)
WEB_CONCURRENCY = env.integer("WEB_CONCURRENCY", 4, minimum=1, maximum=256)
WEB_THREADS = env.integer("WEB_THREADS", 8, minimum=1, maximum=256)
CLIENT_STALL_SECONDS = env.integer("CLIENT_STALL_SECONDS", 15, minimum=1, maximum=600)
SEED_DATA = env.flag("SEED_DATA", default=APP_ENV == "development")

# Django's own debug pages would bypass the error handler and show settings to whoever can reach the port.
DEBUG = False

# --- Secrets ----------------------------------------------------------------------------------------------------
JWT_SECRET_MIN_CHARACTERS = 32  # HS256 wants a key as long as its hash: RFC 7518, section 3.2
_PLACEHOLDERS = ("change-me", "changeme", "change-this", "change-in-", "replace-me", "insecure", "your-", "dev-secret")

JWT_SECRET = env.text("JWT_SECRET")
if not JWT_SECRET:
    if PRODUCTION:
        raise ImproperlyConfigured("JWT_SECRET must be set in production: at least 32 random characters.")
    JWT_SECRET = development_secret(LOCAL_DIR)
    if len(JWT_SECRET) < JWT_SECRET_MIN_CHARACTERS:
        raise ImproperlyConfigured(f"{LOCAL_DIR / 'secret'} is too short: delete it, and a new one is made.")
if len(JWT_SECRET) < JWT_SECRET_MIN_CHARACTERS:
    raise ImproperlyConfigured(f"JWT_SECRET must have at least {JWT_SECRET_MIN_CHARACTERS} characters.")
if PRODUCTION and any(word in JWT_SECRET.lower().replace("_", "-") for word in _PLACEHOLDERS):
    raise ImproperlyConfigured("JWT_SECRET looks like a placeholder: production needs random characters.")

ADMIN_API_KEY = env.text("ADMIN_API_KEY")
if ADMIN_API_KEY and (len(ADMIN_API_KEY) < JWT_SECRET_MIN_CHARACTERS or not ADMIN_API_KEY.isascii()):
    raise ImproperlyConfigured(f"ADMIN_API_KEY must have at least {JWT_SECRET_MIN_CHARACTERS} ASCII characters.")
if PRODUCTION and any(word in ADMIN_API_KEY.lower().replace("_", "-") for word in _PLACEHOLDERS):
    raise ImproperlyConfigured("ADMIN_API_KEY looks like a placeholder: production needs random characters.")

PSEUDONYM_KEY = env.text("PSEUDONYM_KEY")
if PSEUDONYM_KEY and len(PSEUDONYM_KEY) < JWT_SECRET_MIN_CHARACTERS:
    raise ImproperlyConfigured(f"PSEUDONYM_KEY must have at least {JWT_SECRET_MIN_CHARACTERS} characters.")
if PRODUCTION and any(word in PSEUDONYM_KEY.lower().replace("_", "-") for word in _PLACEHOLDERS):
    raise ImproperlyConfigured("PSEUDONYM_KEY looks like a placeholder: production needs random characters.")

# One operator secret; Django's signing and ours are kept apart by the salts that each use names.
SECRET_KEY = JWT_SECRET

# --- Where we are reached ---------------------------------------------------------------------------------------
PUBLIC_BASE_URL = env.http_url("PUBLIC_BASE_URL")
ALLOWED_HOSTS = env.items("ALLOWED_HOSTS") or [
    "localhost",
    "127.0.0.1",
    "[::1]",
    *([host] if (host := urlsplit(PUBLIC_BASE_URL).hostname) else []),
]
if PRODUCTION and any(host.strip(".") in ("*", "") for host in ALLOWED_HOSTS):
    raise ImproperlyConfigured("ALLOWED_HOSTS must name the hosts in production; a wildcard is refused.")
TRUSTED_PROXY_COUNT = env.integer("TRUSTED_PROXY_COUNT", 0, minimum=0, maximum=10)
CSRF_TRUSTED_ORIGINS = env.items("CSRF_TRUSTED_ORIGINS") or ([PUBLIC_BASE_URL] if PUBLIC_BASE_URL else [])
if TRUSTED_PROXY_COUNT:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

CORS_ALLOWED_ORIGINS = env.items("CORS_ALLOWED_ORIGINS")
if "*" in CORS_ALLOWED_ORIGINS:
    raise ImproperlyConfigured("CORS_ALLOWED_ORIGINS must list origins; `*` is refused.")
CORS_ALLOWED_ORIGIN_REGEXES: list[str] = []
if not PRODUCTION and not CORS_ALLOWED_ORIGINS:
    CORS_ALLOWED_ORIGINS = ["null"]
    CORS_ALLOWED_ORIGIN_REGEXES = [r"^https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$"]
CORS_ALLOW_HEADERS = ["accept", "authorization", "content-type", "x-device-id", "range"]
CORS_EXPOSE_HEADERS = ["Retry-After", "X-Request-Id", "Content-Range", "Accept-Ranges", "ETag"]
CORS_URLS_REGEX = r"^/(v1/|healthz$|openapi\.json$|artifacts/)"
CORS_PREFLIGHT_MAX_AGE = 86400

# --- Django -----------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "config.apps.ConfigConfig",  # before the admin, whose templates it replaces some of
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "accounts.apps.AccountsAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "accounts.apps.AccountsConfig",
    "courses.apps.CoursesConfig",
    "storage.apps.StorageConfig",
    "updates.apps.UpdatesConfig",
    "telemetry.apps.TelemetryConfig",
]
MIDDLEWARE = [
    "config.middleware.RequestIdMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "config.middleware.ErrorShapeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.middleware.AdminLanguageMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]  # of the admin; the API speaks English
LOCALE_PATHS = [BASE_DIR / "config" / "locale"]
FORMAT_MODULE_PATH = ["config.formats"]
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATA_UPLOAD_MAX_MEMORY_SIZE = limits.REQUEST_BODY_MAX_BYTES  # of a form without its files
DATA_UPLOAD_MAX_NUMBER_FILES = limits.UPLOAD_FORM_FILES_MAX
DATA_UPLOAD_MAX_NUMBER_FIELDS = limits.FORM_FIELDS_MAX
FILE_UPLOAD_HANDLERS = ["config.uploads.SiteUploadHandler"]

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION and not PUBLIC_BASE_URL.startswith("http://")
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

# --- Database ---------------------------------------------------------------------------------------------------
_database = env.database("DATABASE_URL")
if _database is None:
    if PRODUCTION:
        raise ImproperlyConfigured("DATABASE_URL must be set in production.")
    _database = {
        "ENGINE": "config.embedded_postgres",
        "NAME": "llm_course",
        "CLUSTER_DIR": LOCAL_DIR / "postgres",
    }
DATABASES: dict[str, dict[str, Any]] = {
    "default": _database
    | {
        # Worker threads live long: a connection each, checked before a request uses it.
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }
}

# --- Cache: counts of rate limits, shared by all workers ----------------------------------------------------------
REDIS_URL = env.text("REDIS_URL")
if REDIS_URL and urlsplit(REDIS_URL).scheme not in ("redis", "rediss", "unix"):
    raise ImproperlyConfigured("REDIS_URL must be a redis:// or rediss:// URL.")
CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": env.text("REDIS_KEY_PREFIX", "llm-course"),
        "OPTIONS": {"socket_connect_timeout": 2, "socket_timeout": 2},
    }
    if REDIS_URL
    else {"BACKEND": "config.cache.PostgresCounterCache"}
}
# django-ratelimit knows three backends by name and warns of others; both of ours count atomically.
SILENCED_SYSTEM_CHECKS = ["django_ratelimit.W001", "django_ratelimit.E003"]

# --- Accounts ---------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
# One hasher: another cost would tell by the time of a refusal which addresses have an account.
PASSWORD_HASHERS = ["accounts.hashers.Argon2idHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 8}},
]
ACCESS_TOKEN_EXPIRE_SECONDS = env.integer("ACCESS_TOKEN_EXPIRE_SECONDS", 3600, minimum=1, maximum=86_400)
REFRESH_TOKEN_EXPIRE_SECONDS = env.integer("REFRESH_TOKEN_EXPIRE_SECONDS", 2_592_000, minimum=1, maximum=63_072_000)
EMAIL_CODE_EXPIRE_SECONDS = env.integer("EMAIL_CODE_EXPIRE_SECONDS", 300, minimum=1, maximum=86_400)
DEV_FIXED_EMAIL_CODE = env.text("DEV_FIXED_EMAIL_CODE")
if DEV_FIXED_EMAIL_CODE:
    if PRODUCTION:
        raise ImproperlyConfigured("DEV_FIXED_EMAIL_CODE must not be set in production: anybody could register.")
    if not 4 <= len(DEV_FIXED_EMAIL_CODE) <= 12:
        raise ImproperlyConfigured("DEV_FIXED_EMAIL_CODE must have 4 to 12 characters.")
AUTH_CONCEAL_ACCOUNTS = env.flag("AUTH_CONCEAL_ACCOUNTS", default=True)
AUTH_CODE_WINDOW_SECONDS = env.integer("AUTH_CODE_WINDOW_SECONDS", 600, minimum=1, maximum=86_400)
AUTH_CODE_MAX_PER_EMAIL_WINDOW = env.integer("AUTH_CODE_MAX_PER_EMAIL_WINDOW", 5, minimum=1, maximum=1_000_000)
AUTH_CODE_MAX_PER_IP_WINDOW = env.integer("AUTH_CODE_MAX_PER_IP_WINDOW", 20, minimum=1, maximum=1_000_000)
AUTH_CODE_COOLDOWN_SECONDS = env.integer("AUTH_CODE_COOLDOWN_SECONDS", 30, minimum=0, maximum=86_400)

SIMPLE_JWT: dict[str, Any] = {
    "ALGORITHM": "HS256",
    "SIGNING_KEY": JWT_SECRET,
    "ACCESS_TOKEN_LIFETIME": timedelta(seconds=ACCESS_TOKEN_EXPIRE_SECONDS),
    "USER_ID_CLAIM": "sub",
    "TOKEN_TYPE_CLAIM": "type",
    "JTI_CLAIM": None,
    "UPDATE_LAST_LOGIN": False,
}

# --- Mail -------------------------------------------------------------------------------------------------------
EMAIL_SENDER_BACKEND = env.choice("EMAIL_SENDER_BACKEND", ("console", "smtp"), "console")
if PRODUCTION and EMAIL_SENDER_BACKEND == "console":
    raise ImproperlyConfigured("EMAIL_SENDER_BACKEND must be smtp in production: console prints the codes to the log.")
EMAIL_BACKEND = f"django.core.mail.backends.{EMAIL_SENDER_BACKEND}.EmailBackend"
EMAIL_HOST = env.text("SMTP_HOST")
EMAIL_PORT = env.integer("SMTP_PORT", 587, minimum=1, maximum=65535)
EMAIL_HOST_USER = env.text("SMTP_USERNAME")
EMAIL_HOST_PASSWORD = env.text("SMTP_PASSWORD")
_tls = env.flag("SMTP_USE_TLS", default=True)
# Port 465 speaks TLS from the first byte (RFC 8314); on any other port TLS is started by STARTTLS.
EMAIL_USE_SSL = _tls and EMAIL_PORT == 465
EMAIL_USE_TLS = _tls and not EMAIL_USE_SSL
EMAIL_TIMEOUT = 10  # seconds, for connecting and for each answer
DEFAULT_FROM_EMAIL = env.text("SMTP_FROM_EMAIL")

# --- Artifacts --------------------------------------------------------------------------------------------------
ARTIFACT_ROOT = Path(env.text("ARTIFACT_ROOT", str(LOCAL_DIR / "artifacts")))
OSS_ENABLED = env.flag("OSS_ENABLED", default=False)
OSS_REGION_ID = env.text("OSS_REGION_ID")
OSS_ENDPOINT = env.text("OSS_ENDPOINT")
OSS_BUCKET_NAME = env.text("OSS_BUCKET_NAME")
OSS_CDN_DOMAIN = env.text("OSS_CDN_DOMAIN")
OSS_ACCESS_KEY_ID = env.text("OSS_ACCESS_KEY_ID")
OSS_ACCESS_KEY_SECRET = env.text("OSS_ACCESS_KEY_SECRET")
OSS_ROLE_ARN = env.text("OSS_ROLE_ARN")
OSS_STS_ENDPOINT = env.text("OSS_STS_ENDPOINT")
OSS_STS_DURATION_SECONDS = env.integer("OSS_STS_DURATION_SECONDS", 1800, minimum=900, maximum=3600)
OSS_DOWNLOAD_SIGNED_URL_ENABLED = env.flag("OSS_DOWNLOAD_SIGNED_URL_ENABLED", default=True)
OSS_DOWNLOAD_URL_EXPIRE_SECONDS = env.integer(
    "OSS_DOWNLOAD_URL_EXPIRE_SECONDS", 900, minimum=limits.ARTIFACT_URL_MIN_SECONDS, maximum=604_800
)
OSS_BUNDLE_PREFIX = env.text("OSS_BUNDLE_PREFIX", "bundles/").strip("/") + "/"
if OSS_BUNDLE_PREFIX == "/" or ".." in OSS_BUNDLE_PREFIX.split("/"):
    raise ImproperlyConfigured("OSS_BUNDLE_PREFIX must be a folder name such as bundles/.")
# Version 4 needs the region; version 1 is what older private installations speak.
OSS_SIGNATURE_VERSION = env.choice("OSS_SIGNATURE_VERSION", ("v1", "v4"), "v4" if OSS_REGION_ID else "v1")
if OSS_ENABLED and OSS_SIGNATURE_VERSION == "v4" and not OSS_REGION_ID:
    raise ImproperlyConfigured("OSS_SIGNATURE_VERSION v4 needs OSS_REGION_ID.")
if OSS_ENABLED:
    for _name in ("OSS_ENDPOINT", "OSS_BUCKET_NAME", "OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET"):
        if not globals()[_name]:
            raise ImproperlyConfigured(f"{_name} must be set when OSS_ENABLED is true.")

# Hosts of bundles elsewhere that may have a private address: a mirror on the campus, say.
VERIFY_PRIVATE_HOSTS = frozenset(host.lower() for host in env.items("VERIFY_PRIVATE_HOSTS"))

# Content-hashed names need collectstatic (the image runs it); without it the finders serve the files as they lie.
_collected = BASE_DIR / "staticfiles"
_use_collected = (_collected / "staticfiles.json").is_file() or "collectstatic" in sys.argv
STATIC_URL = "/static/"
STATIC_ROOT = _collected if _use_collected else None
WHITENOISE_USE_FINDERS = not _use_collected
WHITENOISE_AUTOREFRESH = False

STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "artifacts": {"BACKEND": "storage.oss.OssArtifactStorage" if OSS_ENABLED else "storage.local.LocalArtifactStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if _use_collected
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# --- Telemetry ----------------------------------------------------------------------------------------------------
ANALYTICS_RETENTION_DAYS = env.integer("ANALYTICS_RETENTION_DAYS", 730, minimum=31, maximum=36_500)
XAPI_BASE_URL = env.http_url("XAPI_BASE_URL") or PUBLIC_BASE_URL or "http://localhost"

# --- Where a lower room gets an answer from a higher one (see each Protocol) ---------------------------------------
ARTIFACT_ACCESS = "updates.access.ReleaseArtifactAccess"  # storage.access.ArtifactAccess
CHAPTER_PROGRESS = "telemetry.selectors.ChapterProgressReader"  # courses.progress.ProgressReader

# --- The admin: django-unfold --------------------------------------------------------------------------------------
UNFOLD: dict[str, Any] = {
    "SITE_TITLE": APP_NAME,
    "SITE_HEADER": APP_NAME,
    "SITE_SYMBOL": "school",
    "SITE_URL": None,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("config/favicon.svg")}],
    "STYLES": [
        lambda request: static("config/admin.css"),
        lambda request: static("config/search.css"),
        lambda request: static("config/overview.css"),
    ],
    "SCRIPTS": [lambda request: static("config/admin.js"), lambda request: static("config/search.js")],
    "SIDEBAR": {"navigation": "config.admin.navigation"},
    "COLORS": {
        "font": {"subtle-light": "var(--color-base-600)"},  # unfold's own is too pale on grey
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(62.3% .188 259.815)",
            "600": "oklch(52% .19 260)",
            "700": "oklch(46% .18 261)",
            "800": "oklch(40% .16 262)",
            "900": "oklch(35% .13 263)",
            "950": "oklch(28.2% .091 267.935)",
        },
    },
}

LOGIN_REDIRECT_URL = "/admin/"  # after a login that leads nowhere else

# What the first page tells and what the search finds, in this order (config.overview, config.search).
ADMIN_OVERVIEW = ["updates.overview.overview", "telemetry.insights.overview.overview"]
ADMIN_SEARCH = [
    "courses.search.search",
    "telemetry.insights.search.search",
    "updates.search.search",
    "accounts.search.search",
]

# What is kept of a person, in the order in which it is erased (config.personal_data).
PERSONAL_DATA = [
    "telemetry.personal_data.holdings",
    "updates.personal_data.holdings",
    "courses.personal_data.holdings",
    "accounts.personal_data.holdings",
]

# --- REST -------------------------------------------------------------------------------------------------------
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["accounts.authentication.SessionTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["config.renderers.SafeJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["config.parsers.LimitedJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "config.negotiation.IgnoreAccept",
    "DEFAULT_METADATA_CLASS": None,
    "DEFAULT_SCHEMA_CLASS": "config.openapi.Schema",
    "EXCEPTION_HANDLER": "config.exception_handler.handle",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "NON_FIELD_ERRORS_KEY": "body",
    "DATETIME_FORMAT": "iso-8601",
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": APP_NAME,
    "DESCRIPTION": "The backend of the desktop learning app: accounts, courses, content updates, progress, analytics.",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": r"/v1(?=/)",  # operations are grouped by what comes after it
    # Enums stay where they are used: two fields called `status` need no common name.
    "POSTPROCESSING_HOOKS": [],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
}

# --- Logging ----------------------------------------------------------------------------------------------------
LOG_LEVEL = env.choice("LOG_LEVEL", ("debug", "info", "warning", "error"), "info")
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request_id": {"()": "config.logs.RequestIdFilter"}},
    "formatters": {
        "line": {
            "()": "config.logs.LineFormatter",
            "format": "%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s",
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request_id"]}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL.upper()},
    "loggers": {
        # Every 4xx would be a warning line; learners on bad networks make many. 5xx are logged by the handler.
        "django.request": {"level": "CRITICAL"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        # oss2 logs whole request URLs at INFO, signatures included.
        "oss2": {"level": "WARNING"},
    },
}
