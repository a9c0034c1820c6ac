"""The example site, serving its static files from the result of `collectstatic`."""

import os
from pathlib import Path

from tests.settings import *  # noqa: F403

STATIC_ROOT = Path(os.environ["STATIC_ROOT"])
WHITENOISE_USE_FINDERS = False
WHITENOISE_KEEP_ONLY_HASHED_FILES = os.environ["KEEP_ONLY_HASHED_FILES"] == "on"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": os.environ["STATIC_STORAGE"]},
}
