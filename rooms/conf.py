"""The keys of ``settings.SIGNALLING`` that the domain reads, with types and defaults."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

HOOK = {"hook": True}
"""Metadata of a field that is the import path of a function of the site; ``checks`` tests it."""


@dataclass(frozen=True, kw_only=True)
class RoomSettings:
    """Keys are in upper case in ``settings.SIGNALLING``: ``can_join`` is ``"CAN_JOIN"``."""

    make_code: str = field(default="rooms.codes.generate", metadata=HOOK)
    """Import path of ``() -> str``: generates room codes."""
    code_pattern: str = ""
    """Regular expression for the codes that ``make_code`` makes, in upper case; see ``rooms.codes``."""
    can_create: str = field(default="rooms.policies.can_create", metadata=HOOK)
    """Import path of ``(user) -> bool``: whether the user may open a room."""
    can_join: str = field(default="rooms.policies.can_join", metadata=HOOK)
    """Import path of ``(user, room) -> bool``: whether the user may join the room."""
    can_stay: str = field(default="rooms.policies.can_stay", metadata=HOOK)
    """Import path of ``(user, room) -> bool``: whether the user may go on being in the room."""
    is_host: str = field(default="rooms.policies.is_host", metadata=HOOK)
    """Import path of ``(user, room) -> bool``: whether the user is a host of the room."""
    user_info: str = field(default="rooms.policies.user_info", metadata=HOOK)
    """Import path of ``(user) -> dict``: data about a user that is sent to the other peers."""
    hide_rooms: str = "generated"
    """Rooms that a user who may not know of them cannot tell from rooms that do not exist.

    ``"generated"``: rooms with a generated code; ``"all"``; ``"none"``. See ``rooms.visibility``.
    """
    failure_limit: int = 10
    """Wrong codes of a user, or wrong passwords for a name from one address, before delays begin."""
    shared_failure_limit: int = 100
    """Failures of an address or for a user name before one failure there causes a delay."""
    failure_window: float = 1800.0
    """Seconds during which failures are counted."""
    trusted_proxies: list[str] = field(default_factory=list)
    """Networks of proxies whose ``X-Forwarded-For`` counts, or ``"unix"``: see ``rooms.addresses``."""
    open_rooms: int = 100
    """Maximum number of open rooms of one host; see ``services.open_room``."""
    p2p_limit: int = 10
    """Maximum number of peers in a mesh, for new rooms; at most 10."""
    total_limit: int = 50
    """Maximum number of peers when an SFU serves the room, for new rooms."""
    seats_per_user: int = 3
    """Maximum number of peers of one user in a room."""
    switch_seconds: float = 15.0
    """Seconds that the peers of a room have to connect to the SFU before a switch is decided."""
    switch_quorum: float = 0.8
    """Fraction of the peers that must have connected by then; with fewer, the room stays a mesh."""
    switch_pause: float = 60.0
    """Seconds after a failed switch during which the room does not switch again."""
    back_to_mesh: bool = False
    """Whether a room becomes a mesh again when it is small."""
    back_to_mesh_peers: int = 6
    """Rooms with at most this many peers are small. Less than P2P_LIMIT, to prevent flapping."""
    back_to_mesh_seconds: float = 60.0
    """Seconds for which the room must have been small."""
    resume_window: float = 30.0
    """Seconds for which a resumable peer keeps its seat after it has lost its socket."""
    lease_seconds: float = 6.0
    """Seconds after which the lease of a process expires unless the process renews it."""
    lease_renewal: float = 1.5
    """Seconds between two renewals of a lease."""


Schema = TypeVar("Schema", bound=RoomSettings)


@cache
def load(schema: type[Schema]) -> Schema:
    """Return ``settings.SIGNALLING`` as an instance of ``schema``; ignore keys of other schemas.

    Settings are read at the first call and not at import, so that ``override_settings`` works.
    """
    given: dict[str, Any] = getattr(settings, "SIGNALLING", {})
    if not isinstance(given, dict):
        raise ImproperlyConfigured(f"SIGNALLING must be a dict, not {given!r}.")
    known = {known.name for known in fields(schema)}
    return schema(**{key.lower(): value for key, value in given.items() if key.lower() in known})


def conf() -> RoomSettings:
    """Return the settings of the domain."""
    loaded: RoomSettings = load(RoomSettings)
    return loaded


def hook(path: str) -> Callable[..., Any]:
    """Return the function at an import path. Raise ``ImportError``."""
    function: Callable[..., Any] = import_string(path)
    return function


def _clear_cache(*, setting: str, **kwargs: object) -> None:
    if setting == "SIGNALLING":
        load.cache_clear()


setting_changed.connect(_clear_cache)
