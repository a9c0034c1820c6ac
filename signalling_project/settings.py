"""Settings of the example site, secure by default.

All of them come from the environment or from a ``.env`` file. Values below are defaults.

SECRET_KEY         required; signs sessions, and the messages between processes
SECRET_KEY_FALLBACKS                    empty; earlier keys, separated by commas
JWT_SIGNING_KEY    required; signs access tokens; 32 characters or more, different from SECRET_KEY
DATABASE_URL       sqlite:///db.sqlite3; or postgres://user:password@host/name
DATABASE_POOL      8; maximum number of PostgreSQL connections per process
DATABASE_TIMEOUT   2000; milliseconds per PostgreSQL statement; 0 (no limit) for long migrations
REDIS_URL          empty; redis://host:6379/0 for the channel layer and the cache. Without Redis
                   the site must run in one process
CHANNEL_LAYER      signalling.layers.RedisChannelLayer; or channels_redis.core.RedisChannelLayer
REDIS_PREFIX       derived from SECRET_KEY and REDIS_URL; prefix of all names in Redis
ALLOWED_HOSTS      localhost,127.0.0.1,[::1]
CLIENT_URL         required unless DEBUG is on (then http://localhost:5173); comma-separated origins
                   of browser clients elsewhere; empty if there are none
DEBUG              off
API_SCHEMA         as DEBUG; serves the OpenAPI schema at /api/schema/
HTTPS              on; makes cookies Secure and redirects plain HTTP
HSTS_SECONDS       3600; applies if HTTPS is on
BEHIND_PROXY       off; if on, trusts X-Forwarded-Proto, and X-Forwarded-For from TRUSTED_PROXIES
TRUSTED_PROXIES    127.0.0.0/8,::1,unix; comma-separated networks of the proxies
ACCESS_TOKEN_MINUTES                    10
JWT_LEEWAY         30; seconds by which the times in a token may be wrong
JWT_ISSUER, JWT_AUDIENCE                empty; if set, tokens carry them and must carry them
THROTTLE_ANONYMOUS, THROTTLE_USER       30/min, 120/min; limits for REST requests
THROTTLE_TOKEN     300/min; limit for requests for access tokens from one address
SIGNALLING         {}; JSON with any key of the SIGNALLING setting
LOG_LEVEL          INFO
ENV_FILE           .env in the directory of manage.py
DEMO               off; scripts/demo_env.py turns it on for `make demo`, which requires it
"""

import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
env_file = Path(env.str("ENV_FILE", default=str(BASE_DIR / ".env")))
if env_file.exists() or "ENV_FILE" in env:
    env.read_env(str(env_file))


def secret(name: str) -> str:
    """Return a required secret. Raise ``ImproperlyConfigured``, with help, if it is too short."""
    value: str = env.str(name, default="")
    if len(value) < 32:
        raise ImproperlyConfigured(
            f"Set {name} to a secret of 32 characters or more, in the environment or in .env. "
            'To generate one: python -c "import secrets; print(secrets.token_urlsafe(48))"'
        )
    return value


SECRET_KEY = secret("SECRET_KEY")
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
JWT_SIGNING_KEY = secret("JWT_SIGNING_KEY")
if JWT_SIGNING_KEY == SECRET_KEY:
    raise ImproperlyConfigured(
        "JWT_SIGNING_KEY must be different from SECRET_KEY. Otherwise a leak of the key for "
        "access tokens would also allow signing sessions."
    )
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
DEMO = env.bool("DEMO", default=False)
BEHIND_PROXY = env.bool("BEHIND_PROXY", default=False)
TRUSTED_PROXIES = env.list("TRUSTED_PROXIES", default=["127.0.0.0/8", "::1", "unix"])
API_SCHEMA = env.bool("API_SCHEMA", default=DEBUG)


def client_urls() -> list[str]:
    """Return the origins of browser clients elsewhere. Raise ``ImproperlyConfigured``."""
    if not DEBUG and "CLIENT_URL" not in env:
        raise ImproperlyConfigured(
            "Set CLIENT_URL to the origins of your browser clients, separated by commas, such as "
            "https://app.example.org. If all clients are pages of this site, set it to an empty "
            "value: CLIENT_URL="
        )
    return [url.rstrip("/") for url in env.list("CLIENT_URL", default=["http://localhost:5173"])]


CLIENT_URLS = client_urls()

INSTALLED_APPS = [
    "daphne",  # first, so that runserver serves ASGI
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
    "rest_framework",
    "rest_framework_simplejwt",
    "drf_spectacular",
    "channels",
    "rooms",
    "signalling",
    "signalling_project",
]

MIDDLEWARE = [
    "signalling.middleware.CharsetMiddleware",
    "signalling.middleware.ProbeMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "signalling.middleware.SessionRotationMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "signalling_project.urls"
ASGI_APPLICATION = "signalling_project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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

# --- Stores ---------------------------------------------------------------------------------

DATABASES = {"default": env.db("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # WAL: readers do not block the writer. IMMEDIATE: a second writer waits and does not fail.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    # Detect an unavailable database within seconds, so that a join fails with `unavailable`.
    statement_timeout = env.int("DATABASE_TIMEOUT", default=2000)
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"]["OPTIONS"] = {
        "pool": {
            "min_size": 1,
            "max_size": env.int("DATABASE_POOL", default=8),
            "timeout": 2,
            # The pool doubles its delay after each attempt. After it has given up, the next request
            # makes it try again at once.
            "reconnect_timeout": 2,
        },
        "connect_timeout": 2,
        "tcp_user_timeout": 3000,
        # A call that waits for a lock gives its thread back, and tries again.
        "options": f"-c statement_timeout={statement_timeout} -c lock_timeout=500",
        **DATABASES["default"].get("OPTIONS", {}),  # from the query string of DATABASE_URL
    }

REDIS_URL = env.str("REDIS_URL", default="")
REDIS_PREFIX = env.str("REDIS_PREFIX", default="") or None  # None: the layer derives one
CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
    "default": {
        # Several processes reach each other through Redis. Separate several hosts by commas.
        "BACKEND": env.str("CHANNEL_LAYER", default="signalling.layers.RedisChannelLayer"),
        "CONFIG": {"hosts": REDIS_URL.split(","), "prefix": REDIS_PREFIX},
    }
    if REDIS_URL
    else {"BACKEND": "signalling.layers.LocalChannelLayer"}
}
if REDIS_URL:
    from signalling.layers.namespaces import default_prefix  # needs the extra "redis"

    keys = [SECRET_KEY, *SECRET_KEY_FALLBACKS]
    prefix = REDIS_PREFIX or default_prefix(keys[-1])  # the oldest: used during its replacement
    if CHANNEL_LAYERS["default"]["BACKEND"].startswith("channels_redis."):  # ours does it by itself
        CHANNEL_LAYERS["default"]["CONFIG"] |= {"prefix": prefix, "symmetric_encryption_keys": keys}
    # REST throttles count in the cache, so all processes must share it.
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL.split(",")[0],
            "KEY_PREFIX": prefix,  # several sites may use one Redis
            "OPTIONS": {"socket_timeout": 3},
        }
    }

# --- Identity -------------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AUTHENTICATION_BACKENDS = ["signalling.auth.backends.ThrottledModelBackend"]
LOGIN_URL = "signalling_login:login"
LOGIN_REDIRECT_URL = "signalling:home"
LOGOUT_REDIRECT_URL = "signalling:home"

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rooms.api.authentication.Authentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "EXCEPTION_HANDLER": "rooms.api.outages.exception_handler",
    "DEFAULT_THROTTLE_CLASSES": [
        "rooms.api.throttling.AnonRateThrottle",
        "rooms.api.throttling.UserRateThrottle",
    ],
    # A school may share an address, and wrong passwords have a throttle of their own.
    "DEFAULT_THROTTLE_RATES": {
        "anon": env.str("THROTTLE_ANONYMOUS", default="30/min"),
        "token": env.str("THROTTLE_TOKEN", default="300/min"),
        "user": env.str("THROTTLE_USER", default="120/min"),
    },
    # For throttles of other packages; the two above use SIGNALLING["TRUSTED_PROXIES"].
    "NUM_PROXIES": 1 if BEHIND_PROXY else 0,
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
}
SPECTACULAR_SETTINGS = {"TITLE": "django-signalling", "VERSION": "1", "SERVE_INCLUDE_SCHEMA": False}

SIMPLE_JWT = {
    "SIGNING_KEY": JWT_SIGNING_KEY,
    "TOKEN_REFRESH_SERIALIZER": "rooms.api.authentication.RefreshSerializer",
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=env.int("ACCESS_TOKEN_MINUTES", default=10)),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=1),
    "LEEWAY": env.int("JWT_LEEWAY", default=30),  # the clocks of servers differ
    "UPDATE_LAST_LOGIN": True,
    "CHECK_REVOKE_TOKEN": True,  # changing a password revokes the user's tokens
    "ISSUER": env.str("JWT_ISSUER", default="") or None,
    "AUDIENCE": env.str("JWT_AUDIENCE", default="") or None,
}

SIGNALLING = {
    "ALLOWED_ORIGINS": CLIENT_URLS,
    **({"TRUSTED_PROXIES": TRUSTED_PROXIES} if BEHIND_PROXY else {}),
    **env.json("SIGNALLING", default={}),
}

# --- Browsers -------------------------------------------------------------------------------

CORS_ALLOWED_ORIGINS = CLIENT_URLS
CORS_ALLOW_CREDENTIALS = True
CORS_URLS_REGEX = r"^/api/"

HTTPS = env.bool("HTTPS", default=True)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", default=3600) if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = False
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
X_FRAME_OPTIONS = "DENY"

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Before `collectstatic` has run, serve static files from the packages.
WHITENOISE_USE_FINDERS = not STATIC_ROOT.exists()
warnings.filterwarnings("ignore", message="No directory at", category=UserWarning)  # STATIC_ROOT

# --- Other ----------------------------------------------------------------------------------

LANGUAGE_CODE = "en-gb"
LANGUAGES = [("en-gb", "English"), ("de", "Deutsch")]
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "rooms": {"handlers": ["console"], "level": LOG_LEVEL, "propagate": False},
        "signalling": {"handlers": ["console"], "level": LOG_LEVEL, "propagate": False},
        "django": {"handlers": ["console"], "level": "WARNING", "propagate": False},
    },
}
