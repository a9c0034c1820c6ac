"""Room codes: generate them and convert them to their stored form."""

import re
import secrets

from .conf import conf, hook
from .exceptions import CodeInvalid

# No 0/O or 1/I/L: people read codes aloud over the telephone.
ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
LENGTH = 10  # 31 ** 10 is about 2 ** 49.5 codes: too many to guess, as failed joins are throttled
MAX_LENGTH = 32

_FORM = re.compile(r"[A-Z0-9](?:[A-Z0-9_-]{1,30}[A-Z0-9])")


def generate() -> str:
    """Return a new random code, such as ``"K7PXM2QRTB"``."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def new() -> str:
    """Return a new code from the site's ``MAKE_CODE``, in its stored form."""
    return normalise(hook(conf().make_code)())


def fold(code: str) -> str:
    """Return the form in which a code is looked up: upper case, without surrounding whitespace.

    Text that is not ASCII is not a code and is returned unchanged: "straße" in upper case would
    be ASCII.
    """
    return code.strip().upper() if code.isascii() else code


def normalise(code: str) -> str:
    """Return the stored form of a code.

    A code has 3 to 32 ASCII letters, digits, ``-`` and ``_``, and begins and ends with a letter
    or a digit. Raise ``CodeInvalid`` for other text.
    """
    normal = fold(code)
    if not _FORM.fullmatch(normal):
        raise CodeInvalid
    return normal
