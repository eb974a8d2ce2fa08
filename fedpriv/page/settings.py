"""Everything that Django decides, as a function of the page's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedpriv.errors import InputError
from fedpriv.page.config import (
    DATABASE_FILE,
    LOOPBACK_NAMES,
    MOST_FORM_BYTES,
    MOST_UPLOAD_BYTES,
    open_home,
    signing_key,
)
from fedpriv.page.logs import LOGGING

if TYPE_CHECKING:
    from fedpriv.page.config import PageConfig

HERE = Path(__file__).parent
LANGUAGES = (("en", "English"), ("ro", "Română"))
CACHE_TABLE = "page_cache"
LEAST_PASSWORD_LENGTH = 12

_WORKING_DAY_S = 8 * 3600
_YEAR_S = 365 * 24 * 3600
_CONNECTION_AGE_S = 600
_MOST_FORM_FIELDS = 20
_STATIC_AGE_S = 3600

_CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "blob:"],  # blob: the browser's own preview
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}

_ABOUT_TLS = ("security.W004", "security.W008", "security.W012", "security.W016")
"""Checks that nothing travels unencrypted. On loopback without TLS nothing travels."""


def set_up(config: PageConfig) -> None:
    """Configure Django for this process, once; make the home if there is none.

    InputError if a URL is none, or needs what is not installed.
    """
    import django
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    storage = _storage(config)
    open_home(config.home)
    settings.configure(**settings_for(config), **storage)
    try:
        django.setup()
    except ImproperlyConfigured as error:
        first, _, _ = str(error).partition("\n")
        raise InputError(
            f"the database cannot be used: {first}", hint="pip install 'fedpriv[postgresql]'"
        ) from error


def settings_for(config: PageConfig) -> dict[str, object]:
    """Django's settings but for `_storage`; the docstring of each module that they name says what it does."""
    return {
        "FEDPRIV_PAGE": config,
        "DEBUG": False,
        "SECRET_KEY": signing_key(config.home),
        "ALLOWED_HOSTS": [*LOOPBACK_NAMES, *config.names],
        "ROOT_URLCONF": "fedpriv.page.urls",
        "INSTALLED_APPS": [
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.staticfiles",
            "fedpriv.page",
        ],
        "MIDDLEWARE": [
            "django.middleware.security.SecurityMiddleware",
            "csp.middleware.CSPMiddleware",
            "whitenoise.middleware.WhiteNoiseMiddleware",
            "fedpriv.page.middleware.PrivateAnswers",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.locale.LocaleMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.auth.middleware.LoginRequiredMiddleware",
            "fedpriv.page.middleware.MeasuredBodies",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
        ],
        "TEMPLATES": [
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.template.context_processors.i18n",
                        "django.contrib.auth.context_processors.auth",
                        "fedpriv.page.context.of_the_page",
                    ]
                },
            }
        ],
        "USE_TZ": True,
        "TIME_ZONE": "UTC",
        "LANGUAGE_CODE": "en",
        "LANGUAGES": LANGUAGES,
        "LANGUAGE_COOKIE_SAMESITE": "Strict",
        "LANGUAGE_COOKIE_HTTPONLY": True,
        "LOCALE_PATHS": [str(HERE / "locale")],
        "STATIC_URL": "/static/",
        "STATIC_ROOT": str(HERE / "static"),
        "WHITENOISE_MAX_AGE": _STATIC_AGE_S,
        "LOGIN_URL": "login",
        "LOGIN_REDIRECT_URL": "upload",
        "LOGOUT_REDIRECT_URL": "login",
        "LOGGING": LOGGING,
        **_uploads(config),
        **_cookies_and_headers(config),
    }


def _storage(config: PageConfig) -> dict[str, object]:
    """Tables, sessions and the cache: in the home, or where the URLs say."""
    import dj_database_url

    if config.database is None:
        database: object = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(config.home / DATABASE_FILE),
            "CONN_MAX_AGE": _CONNECTION_AGE_S,
            "OPTIONS": {
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
            },
        }
    else:
        try:
            database = dj_database_url.parse(config.database, conn_max_age=_CONNECTION_AGE_S)
        except ValueError as error:  # its message may repeat the URL, and with it a password
            raise InputError("the database's URL is none", hint="postgresql://USER@HOST/NAME") from error
    if config.cache is None:
        cache: object = {
            "BACKEND": "django.core.cache.backends.db.DatabaseCache",
            "LOCATION": CACHE_TABLE,
            "OPTIONS": {"MAX_ENTRIES": 100_000},
        }
    else:
        cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": config.cache}
    sessions = "db" if config.cache is None else "cached_db"
    return {
        "DATABASES": {"default": database},
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "CACHES": {"default": cache},
        "SESSION_ENGINE": f"django.contrib.sessions.backends.{sessions}",
        "AUTH_PASSWORD_VALIDATORS": [
            {"NAME": f"django.contrib.auth.password_validation.{name}", "OPTIONS": options}
            for name, options in (
                ("UserAttributeSimilarityValidator", {}),
                ("MinimumLengthValidator", {"min_length": LEAST_PASSWORD_LENGTH}),
                ("CommonPasswordValidator", {}),
                ("NumericPasswordValidator", {}),
            )
        ],
    }


def _uploads(config: PageConfig) -> dict[str, object]:
    """Memory only: Django's own handler that writes larger files to a temporary folder is left out.

    `fedpriv.page.middleware.MeasuredBodies` refuses what would not fit before the body is read; if it did
    not, the remaining handler would drop the file.
    """
    return {
        "FILE_UPLOAD_HANDLERS": ["django.core.files.uploadhandler.MemoryFileUploadHandler"],
        "FILE_UPLOAD_MAX_MEMORY_SIZE": MOST_UPLOAD_BYTES,
        "DATA_UPLOAD_MAX_MEMORY_SIZE": MOST_FORM_BYTES,
        "DATA_UPLOAD_MAX_NUMBER_FIELDS": _MOST_FORM_FIELDS,
        "DATA_UPLOAD_MAX_NUMBER_FILES": config.limits.images_per_request,
    }


def _cookies_and_headers(config: PageConfig) -> dict[str, object]:
    values: dict[str, object] = {
        "SESSION_COOKIE_AGE": _WORKING_DAY_S,
        "SESSION_EXPIRE_AT_BROWSER_CLOSE": True,
        "SESSION_COOKIE_SAMESITE": "Strict",
        "CSRF_COOKIE_SAMESITE": "Strict",
        "CSRF_COOKIE_HTTPONLY": True,  # scripts take the token from the form
        "LANGUAGE_COOKIE_SAMESITE": "Strict",
        "LANGUAGE_COOKIE_HTTPONLY": True,
        "CSRF_FAILURE_VIEW": "fedpriv.page.responses.csrf_failed",
        "CONTENT_SECURITY_POLICY": _CONTENT_SECURITY_POLICY,
        "X_FRAME_OPTIONS": "DENY",
        "SECURE_REFERRER_POLICY": "same-origin",
    }
    if not config.tls:
        return {**values, "SILENCED_SYSTEM_CHECKS": list(_ABOUT_TLS)}
    values |= {
        "SESSION_COOKIE_NAME": "__Host-session",
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_NAME": "__Host-csrf",
        "CSRF_COOKIE_SECURE": True,
        "LANGUAGE_COOKIE_SECURE": True,
        "SECURE_SSL_REDIRECT": True,
        "SECURE_REDIRECT_EXEMPT": [r"^healthz$"],
        "SECURE_HSTS_SECONDS": _YEAR_S,
        "SECURE_HSTS_INCLUDE_SUBDOMAINS": True,
        "SECURE_HSTS_PRELOAD": True,
    }
    if config.behind_proxy:
        values["SECURE_PROXY_SSL_HEADER"] = ("HTTP_X_FORWARDED_PROTO", "https")
    return values
