"""Everything that Django decides, as a function of the page's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fedpriv.page.config import DATABASE_FILE, LOOPBACK_NAMES, signing_key

if TYPE_CHECKING:
    from fedpriv.page.config import PageConfig

HERE = Path(__file__).parent
LANGUAGES = (("en", "English"), ("ro", "Română"))

_WORKING_DAY_S = 8 * 3600
_YEAR_S = 365 * 24 * 3600

_CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:", "blob:"],  # blob: the preview, data: an activation map
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
    }
}


def set_up(config: PageConfig) -> None:
    """Configure Django for this process; once."""
    import django
    from django.conf import settings

    settings.configure(**settings_for(config))
    django.setup()


def settings_for(config: PageConfig) -> dict[str, object]:
    """Django's settings; the docstring of each module that they name says what it is for."""
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
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.locale.LocaleMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.auth.middleware.LoginRequiredMiddleware",
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
        "DATABASES": {
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(config.home / DATABASE_FILE)}
        },
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "USE_TZ": True,
        "LANGUAGE_CODE": "en",
        "LANGUAGES": LANGUAGES,
        "LOCALE_PATHS": [str(HERE / "locale")],
        "STATIC_URL": "/static/",
        "STATIC_ROOT": str(HERE / "static"),
        "LOGIN_URL": "login",
        "LOGIN_REDIRECT_URL": "upload",
        "LOGOUT_REDIRECT_URL": "login",
        "CONTENT_SECURITY_POLICY": _CONTENT_SECURITY_POLICY,
        "SESSION_COOKIE_AGE": _WORKING_DAY_S,
        "SESSION_EXPIRE_AT_BROWSER_CLOSE": True,
        "SESSION_COOKIE_SAMESITE": "Strict",
        "CSRF_COOKIE_SAMESITE": "Strict",
        "CSRF_COOKIE_HTTPONLY": False,  # scripts on the page send it back as a header
        "X_FRAME_OPTIONS": "DENY",
        "SECURE_REFERRER_POLICY": "same-origin",
    }
