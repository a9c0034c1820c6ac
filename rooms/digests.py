"""The digest by which a secret is stored or named."""

from __future__ import annotations

import hashlib


def digest(secret: str) -> str:
    """Return the SHA-256 digest of a resume token or a session key, in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()
