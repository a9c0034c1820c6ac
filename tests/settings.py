"""The example site as the tests run it: its own secrets, fast passwords, nothing from a ``.env``."""

import json
import os

os.environ.setdefault("ENV_FILE", os.devnull)
os.environ.setdefault("SECRET_KEY", "tests-only-" + "s" * 40)
os.environ.setdefault("JWT_SIGNING_KEY", "tests-only-" + "j" * 40)
os.environ.setdefault("HTTPS", "off")
os.environ.setdefault("CLIENT_URL", "http://localhost:5173")
os.environ.setdefault("API_SCHEMA", "on")
os.environ.setdefault("JWT_LEEWAY", "0")  # tests of an expiry do not wait for it

from signalling_project.settings import *  # noqa: F403

# Only `runserver` needs it, and it imports Twisted, even into uvicorn and `migrate`.
INSTALLED_APPS.remove("daphne")  # noqa: F405

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if "SIGNALLING" not in os.environ:  # tests without a server fill rooms with few users
    SIGNALLING["SEATS_PER_USER"] = 50  # noqa: F405

# A site of the integration tests may have another channel layer than the example site would choose.
if chosen := json.loads(os.environ.get("CHANNEL_LAYERS", "{}")):
    CHANNEL_LAYERS = chosen
