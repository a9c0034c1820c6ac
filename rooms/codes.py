"""Room codes: generate them and convert them to their stored form."""

import logging
import math
import re
import secrets
from collections import Counter
from dataclasses import dataclass
from functools import cache
from time import monotonic

from django.core.signals import setting_changed

from .conf import conf, hook
from .exceptions import CodeInvalid

# No 0/O or 1/I/L: people read codes aloud over the telephone.
ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
LENGTH = 10  # 31 ** 10 is about 2 ** 49.5 codes: too many to guess, as failed joins are throttled
MAX_LENGTH = 32
FORMAT_SAMPLES = 64  # enough to see every character of an alphabet
RETRY_SECONDS = 60  # after MAKE_CODE has failed
ENTROPY_SAMPLES = 1024  # enough to see that codes of 18 bits repeat

logger = logging.getLogger("rooms")

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


@dataclass(frozen=True)
class CodeFormat:
    """The format of the codes that ``MAKE_CODE`` makes, estimated from samples."""

    lengths: frozenset[int]
    alphabet: frozenset[str]
    bits: float
    """Upper estimate of their entropy: codes that look random may be made from fewer."""

    def fits(self, code: str) -> bool:
        """Return whether a code could have been generated."""
        return len(code) in self.lengths and self.alphabet.issuperset(code)


def sample(count: int) -> CodeFormat:
    """Return the format of the codes that ``MAKE_CODE`` makes. Raise what it raises."""
    codes = [new() for _ in range(count)]
    lengths = frozenset(map(len, codes))
    columns = [
        {code[position : position + 1] for code in codes} for position in range(max(lengths))
    ]
    bits = sum(math.log2(len(column)) for column in columns)
    repeated = sum(seen - 1 for seen in Counter(codes).values())
    if repeated:  # the birthday problem: among n codes of N, n² / 2N are expected to repeat
        bits = min(bits, math.log2(count**2 / (2 * repeated)))
    return CodeFormat(lengths, frozenset().union(*codes), bits)


def looks_generated(code: str) -> bool:
    """Return whether a code in its stored form could come from the site's ``MAKE_CODE``.

    ``CODE_PATTERN`` decides if the site has set it. See ``learn_format``.
    """
    if pattern := conf().code_pattern:
        return re.fullmatch(pattern, code) is not None
    form = learn_format()
    return form is None or form.fits(code)


def learn_format() -> CodeFormat | None:
    """Return the format of generated codes, ``None`` if ``MAKE_CODE`` fails.

    The first call of a process may call the function of the site ``FORMAT_SAMPLES`` times. So call it
    before a transaction that calls ``looks_generated``.
    """
    if conf().code_pattern:
        return None
    return _DEFAULT if conf().make_code == f"{__name__}.generate" else _samples().format()


_DEFAULT = CodeFormat(frozenset({LENGTH}), frozenset(ALPHABET), LENGTH * math.log2(len(ALPHABET)))


class _Samples:
    """The format of the codes that the function of the site makes."""

    def __init__(self) -> None:
        self._format: CodeFormat | None = None
        self._retry_at = float("-inf")

    def format(self) -> CodeFormat | None:
        """Return the format; ``None`` for a minute after the function has failed."""
        if self._format is None and monotonic() >= self._retry_at:
            try:
                self._format = sample(FORMAT_SAMPLES)
            except Exception as error:  # the function of the site: treat every code as generated
                self._retry_at = monotonic() + RETRY_SECONDS
                logger.warning(
                    "MAKE_CODE failed, cannot tell generated codes from chosen ones: %r", error
                )
        return self._format


@cache
def _samples() -> _Samples:
    return _Samples()


def _forget_format(*, setting: str, **kwargs: object) -> None:
    if setting == "SIGNALLING":
        _samples.cache_clear()


setting_changed.connect(_forget_format)
