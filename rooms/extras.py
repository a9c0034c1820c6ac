"""The optional packages: the extras of this distribution."""

from functools import cache
from importlib.util import find_spec

from django.core.exceptions import ImproperlyConfigured


@cache
def is_installed(module: str) -> bool:
    """Return whether a module can be imported, without importing it."""
    try:
        return find_spec(module) is not None
    except ImportError:  # a finder of the site refuses it
        return False


def command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f'pip install "django-signalling[{extra}]"'


def require(module: str, extra: str, user: str) -> None:
    """Raise ``ImproperlyConfigured``, with the remedy, unless a module is installed.

    ``user``: what needs it, as the subject of a sentence.
    """
    if not is_installed(module):
        raise ImproperlyConfigured(f"{user} needs {module}: {command(extra)}")
