"""Room codes: how they are made, and the one form in which they are kept."""

import re
import secrets

from .conf import conf, hook
from .exceptions import CodeInvalid

# No 0/O, 1/I/L: a code must survive being read out over a telephone.
ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
LENGTH = 10  # 31 ** 10 is about 2 ** 49.5: guessing is hopeless behind the throttle of failed joins
MAX_LENGTH = 32

_FORM = re.compile(r"[A-Z0-9](?:[A-Z0-9_-]{1,30}[A-Z0-9])")


def generate() -> str:
    """Return a new random code, such as ``"K7PXM2QRTB"``."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def new() -> str:
    """Return a new code as the site makes them (``MAKE_CODE``), in its stored form."""
    return normalise(hook(conf().make_code)())


def fold(code: str) -> str:
    """Return how a code is looked up: codes are case-insensitive and kept in upper case.

    Text beyond ASCII is no code, and stays as it is: the capitals of "straße" would be ASCII.
    """
    return code.strip().upper() if code.isascii() else code


def normalise(code: str) -> str:
    """Return the stored form of a code.

    Raises ``CodeInvalid`` for anything but 3 to 32 ASCII letters, digits, ``-`` and ``_`` that
    begins and ends with a letter or a digit.
    """
    normal = fold(code)
    if not _FORM.fullmatch(normal):
        raise CodeInvalid
    return normal
