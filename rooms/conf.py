"""The part of ``settings.SIGNALLING`` that the domain reads, typed and with defaults."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, TypeVar

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

HOOK = {"hook": True}
"""Marks a field as the import path of a function of the host site; ``checks`` looks at them."""


@dataclass(frozen=True, kw_only=True)
class RoomSettings:
    """Keys are written in capitals in ``settings.SIGNALLING``: ``can_join`` is ``"CAN_JOIN"``."""

    make_code: str = field(default="rooms.codes.generate", metadata=HOOK)
    """Import path of ``() -> str``, the maker of room codes."""
    can_create: str = field(default="rooms.policies.can_create", metadata=HOOK)
    """Import path of ``(user) -> bool``: may this user open a room?"""
    can_join: str = field(default="rooms.policies.can_join", metadata=HOOK)
    """Import path of ``(user, room) -> bool``: may this user join this room?"""
    user_info: str = field(default="rooms.policies.user_info", metadata=HOOK)
    """Import path of ``(user) -> dict``: what the other peers are told of a user."""
    p2p_limit: int = 10
    """Peers in a mesh, for new rooms; never more than 10."""
    total_limit: int = 50
    """Peers in a room that an SFU serves, for new rooms."""
    switch_seconds: float = 15.0
    """Seconds that the peers of a room have to reach the SFU before the switch is decided."""
    switch_quorum: float = 0.8
    """The part of them that must have reached it by then; with fewer the room stays a mesh."""
    switch_pause: float = 60.0
    """Seconds after a switch that has failed in which the room does not try again."""
    back_to_mesh: bool = False
    """Make a room a mesh again when it is small again."""
    back_to_mesh_peers: int = 6
    """So many peers or fewer are small; fewer than P2P_LIMIT, or it would switch to and fro."""
    back_to_mesh_seconds: float = 60.0
    """Seconds for which it must have been so small."""
    resume_window: float = 30.0
    """Seconds for which a resumable peer that has lost its socket keeps its seat."""
    lease_seconds: float = 10.0
    """Seconds after which a process that does not renew its lease is taken for dead."""
    lease_renewal: float = 3.0
    """Seconds between two renewals."""


Schema = TypeVar("Schema", bound=RoomSettings)


@cache
def load(schema: type[Schema]) -> Schema:
    """Return ``settings.SIGNALLING`` as an instance of ``schema``; leave other schemas' keys out.

    Read at the first use and not at import, so that ``override_settings`` works.
    """
    given: dict[str, Any] = getattr(settings, "SIGNALLING", {})
    known = {known.name for known in fields(schema)}
    return schema(**{key.lower(): value for key, value in given.items() if key.lower() in known})


def conf() -> RoomSettings:
    loaded: RoomSettings = load(RoomSettings)
    return loaded


def hook(path: str) -> Callable[..., Any]:
    """Return the function at an import path (``import_string`` caches nothing that changes)."""
    function: Callable[..., Any] = import_string(path)
    return function


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == "SIGNALLING":
        load.cache_clear()


setting_changed.connect(_forget)
