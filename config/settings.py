"""Settings of the whole program, read once at start from the environment (see docs/operations.md)."""

from __future__ import annotations

import os
from typing import Any

import environ

from config.environment import ROOT, is_local, run_dir, setting, stack
from config.navigation import UNFOLD as UNFOLD

env = environ.Env()
RUN_DIR = run_dir()
LOCAL_STACK = is_local()

SECRET_KEY = setting("SECRET_KEY", "secret_key")
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS: list[str] = env.list(
    "ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "testserver"] if LOCAL_STACK else []
)
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])
PUBLIC_URL = env.str("PUBLIC_URL", default="http://127.0.0.1:8000" if LOCAL_STACK else "")

INSTALLED_APPS = [
    "unfold",
    # Without the admin's own look for pages: config/urls.py looks, and no command or worker loads them.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "compliance",
    "lifecycle",  # before django_q, whose `qcluster` ours replaces
    "django_q",
    *(["demo"] if LOCAL_STACK else []),
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [ROOT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# The application's role may not change audit rows; migrations run as the owner (`MIGRATE=1`, set by bin scripts).
_owner = env.bool("MIGRATE", default=False)
DATABASES = {
    "default": env.db_url_config(
        setting("DATABASE_OWNER_URL", "control_owner", default=setting("DATABASE_URL", "control"))
        if _owner
        else setting("DATABASE_URL", "control")
    )
}
DATABASES["default"]["CONN_MAX_AGE"] = 0
# The fence keeps session locks, so it never goes through a transaction pooler. Unset: DATABASE_URL is direct.
DIRECT_DATABASE_URL = env.str("DIRECT_DATABASE_URL", default="")
DATABASES["default"]["OPTIONS"] = {"application_name": "lifecycle", "connect_timeout": 10}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
STATIC_URL = "static/"
STATIC_ROOT = RUN_DIR / "static"
STATICFILES_DIRS = [ROOT / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}

# Task workers: django-q2 delivers, our rows decide (field/ecosystem.md says why each number).
Q_CLUSTER: dict[str, Any] = {
    "name": "default",
    "orm": "default",
    "workers": env.int("WORKERS", default=2),
    "queue_limit": 1,
    "bulk": 1,
    "timeout": 90,
    "retry": 300,
    "ack_failures": True,
    "max_attempts": 1,
    "catch_up": False,
    "save_limit": 100,
    "recycle": 200,
    "max_rss": 300 * 1024,  # KiB: a worker that grew this large is replaced after its task
    "poll": 0.2,
    "label": "Task queue",
    # A second queue for slices of many seconds, so that short work never waits behind them.
    "ALT_CLUSTERS": {"long": {"workers": env.int("LONG_WORKERS", default=2)}},
}

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["compliance.api.authentication.TokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_THROTTLE_CLASSES": [
        "compliance.api.throttling.UserRate",
        "compliance.api.throttling.AnonymousRate",
    ],
    "DEFAULT_THROTTLE_RATES": {"user": env.str("API_RATE", default="600/min"), "anon": "30/min"},
    # Without a proxy of ours X-Forwarded-For is the caller's own invention, and no address to count by.
    "NUM_PROXIES": 1 if env.bool("BEHIND_PROXY", default=False) else 0,
    "EXCEPTION_HANDLER": "compliance.api.errors.handler",
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Tenant lifecycle API",
    "DESCRIPTION": "Erasure with proof, legal holds, certificates.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
}

# Mail, notifications
EMAIL_BACKEND = env.str("EMAIL_BACKEND", default="django.core.mail.backends.smtp.EmailBackend")
EMAIL_HOST = setting("EMAIL_HOST", "smtp", "host", default="127.0.0.1")
EMAIL_PORT = int(setting("EMAIL_PORT", "smtp", "port", default="25"))
EMAIL_HOST_USER = env.str("EMAIL_HOST_USER", default="")
EMAIL_HOST_PASSWORD = env.str("EMAIL_HOST_PASSWORD", default="")
EMAIL_USE_TLS = env.bool("EMAIL_USE_TLS", default=False)
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="privacy@lifecycle.example")
NOTIFY_URLS: dict[str, list[str]] = {
    "legal": env.list("NOTIFY_LEGAL", default=[]),
    "compliance": env.list("NOTIFY_COMPLIANCE", default=[]),
    "engineering": env.list("NOTIFY_ENGINEERING", default=[]),
}
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
TEAM_MAIL = {
    "legal": env.str("LEGAL_MAIL", default="legal@lifecycle.example"),
    "compliance": env.str("COMPLIANCE_MAIL", default="compliance@lifecycle.example"),
    "engineering": env.str("ENGINEERING_MAIL", default="engineering@lifecycle.example"),
}
COMPLIANCE_MAIL = TEAM_MAIL["compliance"]

# Keys and proof
KEYSTORE_DIR = setting("KEYSTORE_DIR", "keystore")
# PEM files of the Ed25519 keys with which the platform signs a person's own request.
REQUEST_PUBLIC_KEYS: list[str] = env.list("REQUEST_PUBLIC_KEYS", default=[])
GNUPG_HOME = setting("GNUPG_HOME", "gnupg_home")
SIGNING_FINGERPRINT = setting("SIGNING_FINGERPRINT", "signing_fingerprint")
CERTIFICATE_STORE = {
    name: setting(f"CERTIFICATES_{name.upper()}", "certificates", name)
    for name in ("endpoint", "bucket", "key", "secret")
}
BACKUP_STORE = {
    name: setting(f"BACKUPS_{name.upper()}", "backups", name)
    for name in ("endpoint", "bucket", "key", "secret")
}
CERTIFICATE_LOCK_YEARS = 7
CERTIFICATE_ISSUER = env.str(
    "CERTIFICATE_ISSUER", default="Data protection office of the platform's operator"
)

# Moves between regions. Seconds, unless the name says otherwise; a plan may name its own.
REGION_PLACES = env.str("REGION_PLACES", default=str(RUN_DIR / "places.json"))
PROVISIONER = env.str("PROVISIONER", default="")  # terraform, tofu or static; empty: what the machine has
TERRAFORM_MODULE = env.str(
    "TERRAFORM_MODULE", default=str(ROOT / "deploy" / "terraform" / "local") if LOCAL_STACK else ""
)
MIGRATION: dict[str, Any] = {
    "steps": env.list("MIGRATION_STEPS", cast=int, default=[10, 25, 50, 75, 100]),
    "step_seconds": env.float("MIGRATION_STEP_SECONDS", default=600),
    "soak_seconds": env.float("MIGRATION_SOAK_SECONDS", default=86_400),
    "hold_seconds": env.float("MIGRATION_HOLD_SECONDS", default=300),
    "fresh_seconds": env.float("MIGRATION_FRESH_SECONDS", default=3),
    "copying_per_database": env.int("MIGRATION_COPYING", default=4),
    "kept_green_days": env.int("MIGRATION_KEPT_GREEN_DAYS", default=7),
}

# Clocks of the erasure, in seconds unless the name says otherwise
WATCH_SECONDS = env.int("WATCH_SECONDS", default=90 * 86_400)
PINECONE_PURGE_DAYS = 90
STEP_BACKOFF: list[float] = env.list("STEP_BACKOFF", cast=float, default=[20.0, 60.0, 120.0])
GROWTH_LIMIT = env.float("GROWTH_LIMIT", default=0.2)
FENCE_SECONDS = 5.0
FENCE_ENABLED = env.bool("FENCE_ENABLED", default=True)
if not FENCE_ENABLED and not LOCAL_STACK:
    raise environ.ImproperlyConfigured("FENCE_ENABLED=0 is for trials on the local stack only. Remove it.")

# Browser security
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 8 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not LOCAL_STACK
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=not LOCAL_STACK)
SECURE_HSTS_SECONDS = 0 if LOCAL_STACK else 31_536_000
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not LOCAL_STACK
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BEHIND_PROXY", default=False) else None
)
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        # Unfold's build of Alpine evaluates expressions and its templates carry inline scripts.
        "script-src": ["'self'", "'unsafe-inline'", "'unsafe-eval'"],
        "style-src": ["'self'", "'unsafe-inline'"],
        "img-src": ["'self'", "data:"],
        "frame-ancestors": ["'none'"],
        "form-action": ["'self'"],
    }
}

LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"quiet": {"()": "config.logs.NoPersonalData"}},
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["quiet"]}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {
        name: {"level": "WARNING"}
        for name in (
            "botocore",
            "boto3",
            "httpx",
            "httpcore",
            "weasyprint",
            "fontTools",
            "gnupg",
            "pikepdf",
            "urllib3",
            "django-q",
            "pinecone",
        )
    },
}
STACK = stack()
os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
