"""Default values of model fields. Early migrations import them from ``rooms.models``."""

import secrets

from .conf import conf


def default_p2p_limit() -> int:
    """Return ``P2P_LIMIT``, the number of peers in the mesh of a new room."""
    return conf().p2p_limit


def default_total_limit() -> int:
    """Return ``TOTAL_LIMIT``, the number of peers in a new room when an SFU serves it."""
    return conf().total_limit


def new_peer_id() -> str:
    """Return the public ID of a new membership: ``peer_`` and 128 random bits, never reused."""
    return f"peer_{secrets.token_urlsafe(16)}"


def new_worker_id() -> str:
    """Return the ID of a new worker: 32 hexadecimal digits, one ID for each run of a process."""
    return secrets.token_hex(16)
