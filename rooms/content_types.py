"""Which charsets a request may name.

Django and Django REST framework decode bodies, queries and forms with the charset of the request's
``Content-Type``, before they know who sends it. They accept every codec of Python, and some take
quadratic time: 320 KB of ``charset=punycode`` take two seconds of a thread.
"""

from __future__ import annotations

import re

CHARSETS = ("utf-8", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252")
"""The charsets that are decoded. All take linear time."""
MOST_CHARACTERS = 256
"""The longest ``Content-Type``: Python's parser of its parameters takes quadratic time."""
CHARSET = re.compile("charset", re.IGNORECASE)
ALLOWED = re.compile(
    rf"""charset [ \t]* = [ \t]* ("?) (?: {"|".join(CHARSETS)}) \1 [ \t]* (?: ; | \Z )""",
    re.VERBOSE | re.IGNORECASE,
)


def is_allowed(content_type: str) -> bool:
    """Return whether the body of a request with this ``Content-Type`` may be decoded.

    Join repeated headers with commas, as Django does. Every "charset" must begin one of
    ``CHARSETS``, wherever it is: parsers disagree about repeated, quoted and encoded parameters
    (``charset*=``, RFC 2231).
    """
    return len(content_type) <= MOST_CHARACTERS and all(
        ALLOWED.match(content_type, found.start()) for found in CHARSET.finditer(content_type)
    )
