"""The settings of a medical practice: an ordinary site to which calls were added.

The lines of django-signalling are marked; docs/embedding.md explains them.
"""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = os.environ.get("SECRET_KEY", "an-example-that-is-never-deployed-" + "s" * 20)
DEBUG = False
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]

INSTALLED_APPS = [
    "daphne",  # django-signalling: runserver serves ASGI
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "accounts",
    "appointments",
    "praxis.rooms",  # treatment rooms
    "rooms",  # django-signalling
    "signalling",  # django-signalling
]
MIDDLEWARE = [
    "signalling.middleware.ProbeMiddleware",  # django-signalling, for health checks
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "praxis.middleware.content_security_policy",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "praxis.urls"
ASGI_APPLICATION = "praxis.asgi.application"  # django-signalling
CHANNEL_LAYERS = {"default": {"BACKEND": "signalling.layers.LocalChannelLayer"}}  # and this
SIGNALLING = {"CAN_JOIN": "appointments.calls.can_join"}  # and this
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
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
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "db.sqlite3",
        "ATOMIC_REQUESTS": True,
        "TEST": {"NAME": BASE_DIR / "test.sqlite3"},  # for signalling.testing.plugin
    }
}
# This site keeps Django's default: requests that write at the same time may fail.
SILENCED_SYSTEM_CHECKS = ["signalling_rooms.E009"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "appointments"

LANGUAGE_CODE = "de"
TIME_ZONE = "Europe/Berlin"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "praxis.storage.ManifestStorage"},
}
