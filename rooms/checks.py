"""System checks of the domain: errors ``signalling_rooms.E…``, warnings ``signalling_rooms.W…``."""

import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as CheckWarning
from django.utils.module_loading import import_string

from . import addresses, codes, user_info, visibility
from .conf import RoomSettings, conf

SAFE_BITS = 50


@register()
def check_hooks(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Require every hook in ``SIGNALLING`` to be the import path of a callable."""
    hooks = [field.name for field in fields(RoomSettings) if field.metadata.get("hook")]
    return [
        Error(
            f"SIGNALLING[{name.upper()!r}] {problem}",
            hint="Set it to the import path of a function, such as 'myproject.calls.can_join'.",
            id="signalling_rooms.E001",
        )
        for name in hooks
        if (problem := find_hook_problem(getattr(conf(), name)))
    ]


def find_hook_problem(path: object) -> str | None:
    """Return what is wrong with the import path of a function, ``None`` if nothing is."""
    if not isinstance(path, str):
        return f"is {path!r}, which is not an import path."
    try:
        found = import_string(path)
    except ImportError as error:
        return f"cannot be imported: {error}"
    return None if callable(found) else f"is {path!r}, which is not callable."


@register()
def check_user_info(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn if users have no public name: the default never shows email addresses."""
    users, is_default = get_user_model(), conf().user_info == RoomSettings.user_info
    if not is_default or not user_info.signs_in_with_email(users):
        return []
    return [
        CheckWarning(
            f"Users sign in with {users.__name__}.{users.USERNAME_FIELD}, which is an email address. "
            "The default USER_INFO does not show it to the other peers.",
            hint="They see the full or short name, or a name such as 'User 3f9a2c71'. Set "
            "SIGNALLING['USER_INFO'] to a function that returns a public name.",
            id="signalling_rooms.W008",
        )
    ]


@register()
def check_limits(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Require limits for new rooms that the database constraints accept."""
    limits = conf().p2p_limit, conf().total_limit
    if all(isinstance(limit, int) for limit in limits) and 1 <= limits[0] <= min(10, limits[1]):
        return []
    return [
        Error(
            f"SIGNALLING['P2P_LIMIT'] is {limits[0]!r} and ['TOTAL_LIMIT'] is {limits[1]!r}.",
            hint="P2P_LIMIT must be an integer from 1 to 10, and TOTAL_LIMIT at least P2P_LIMIT.",
            id="signalling_rooms.E002",
        )
    ]


@register()
def check_seats(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Require a number of seats per user with which users can join."""
    seats = conf().seats_per_user
    if isinstance(seats, int) and seats >= 1:
        return []
    return [
        Error(
            f"SIGNALLING['SEATS_PER_USER'] is {seats!r}.",
            hint="It must be an integer of at least 1, such as 3.",
            id="signalling_rooms.E005",
        )
    ]


@register()
def check_leases(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Require a lease that survives late renewals."""
    lease, renewal = conf().lease_seconds, conf().lease_renewal
    if (
        all(isinstance(time, (int, float)) for time in (lease, renewal))
        and 0 < 3 * renewal <= lease
    ):
        return []
    return [
        Error(
            f"SIGNALLING['LEASE_SECONDS'] is {lease!r} and ['LEASE_RENEWAL'] is {renewal!r}.",
            hint="LEASE_RENEWAL must be at most a third of LEASE_SECONDS, such as 1.5 and 6.",
            id="signalling_rooms.E003",
        )
    ]


@register()
def check_switch(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Require a valid quorum, and warn about limits that make rooms switch back and forth."""
    problems: list[CheckMessage] = []
    quorum, small, full = conf().switch_quorum, conf().back_to_mesh_peers, conf().p2p_limit
    if not isinstance(quorum, (int, float)) or not 0 < quorum <= 1:
        problems.append(
            Error(
                f"SIGNALLING['SWITCH_QUORUM'] is {quorum!r}.",
                hint="It must be a fraction of the peers in a room, such as 0.8.",
                id="signalling_rooms.E004",
            )
        )
    are_numbers = all(
        isinstance(limit, int) for limit in (small, full)
    )  # otherwise signalling.E002
    if conf().back_to_mesh and are_numbers and small >= full:
        problems.append(
            CheckWarning(
                f"Rooms return to a mesh at {small} peers, but a mesh is full at {full} peers.",
                hint="Set BACK_TO_MESH_PEERS to less than P2P_LIMIT, or rooms will flap.",
                id="signalling_rooms.W002",
            )
        )
    return problems


@register()
def check_visibility(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Require a known value of ``HIDE_ROOMS``."""
    if conf().hide_rooms in visibility.POLICIES:
        return []
    return [
        Error(
            f"SIGNALLING['HIDE_ROOMS'] is {conf().hide_rooms!r}.",
            hint=f"It must be one of {', '.join(map(repr, visibility.POLICIES))}.",
            id="signalling_rooms.E006",
        )
    ]


@register()
def check_code_pattern(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Require a regular expression in ``CODE_PATTERN``."""
    try:
        re.compile(conf().code_pattern)
    except (re.error, TypeError) as error:
        return [
            Error(
                f"SIGNALLING['CODE_PATTERN'] is {conf().code_pattern!r}: {error}.",
                hint=r"Use a regular expression for the codes of MAKE_CODE, such as r'\d{9}'.",
                id="signalling_rooms.E008",
            )
        ]
    return []


@register()
def check_proxies(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Require networks in ``TRUSTED_PROXIES``, and warn if they contain every address."""
    problems: list[CheckMessage] = []
    if not isinstance(conf().trusted_proxies, (list, tuple)):  # signalling.E002
        return problems
    for entry in conf().trusted_proxies:
        try:
            found = addresses.networks((entry,))
        except (ValueError, TypeError) as error:
            problems.append(
                Error(
                    f"SIGNALLING['TRUSTED_PROXIES'] contains {entry!r}: {error}.",
                    hint="List networks such as '10.0.0.0/8', addresses, or 'unix' for a socket.",
                    id="signalling_rooms.E007",
                )
            )
        else:
            if any(network.prefixlen == 0 for network in found):
                problems.append(
                    CheckWarning(
                        "SIGNALLING['TRUSTED_PROXIES'] contains every address.",
                        hint="Any client can then choose its address. List only your proxies.",
                        id="signalling_rooms.W003",
                    )
                )
    return problems


@register()
def check_failure_limits(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn if an address has fewer failures than each of its users."""
    own, shared = conf().failure_limit, conf().shared_failure_limit
    if not isinstance(own, int) or not isinstance(shared, int) or own <= shared:  # signalling.E002
        return []
    return [
        CheckWarning(
            f"SIGNALLING['SHARED_FAILURE_LIMIT'] is {shared}, less than ['FAILURE_LIMIT'], {own}.",
            hint="Set it to several times FAILURE_LIMIT, or one user delays the others of its address.",
            id="signalling_rooms.W007",
        )
    ]


@register(Tags.security, deploy=True)
def check_codes(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warn about codes that are short enough to be guessed (``check --deploy``)."""
    try:
        bits = round(codes.sample(codes.ENTROPY_SAMPLES).bits)
    except Exception:  # the function of the site; ``check_hooks`` reports if it is missing
        return []
    if bits >= SAFE_BITS:
        return []
    return [
        CheckWarning(
            f"The codes of SIGNALLING['MAKE_CODE'] have only about {bits} bits, so the throttle of "
            "wrong codes is the only defence against guessing.",
            hint=f"Make codes of {SAFE_BITS} random bits or more, or check users in CAN_JOIN.",
            id="signalling_rooms.W004",
        )
    ]


def has_one_process() -> bool:
    """Return whether the channel layer only connects the sockets of one process."""
    layer = str(getattr(settings, "CHANNEL_LAYERS", {}).get("default", {}).get("BACKEND", ""))
    return layer.endswith(("InMemoryChannelLayer", "LocalChannelLayer"))


@register(Tags.security, deploy=True)
def check_failure_cache(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn if each of several processes counts failures alone (``check --deploy``)."""
    backend = str(settings.CACHES.get("default", {}).get("BACKEND", ""))
    is_shared = not backend.endswith((".LocMemCache", ".DummyCache"))
    if is_shared or has_one_process():
        return []
    return [
        CheckWarning(
            f"Wrong codes, tokens and passwords are counted in each process alone ({backend}).",
            hint="Use a default cache that your processes share, such as Redis.",
            id="signalling_rooms.W005",
        )
    ]


@register(Tags.security, deploy=True)
def check_cache_timeout(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn about a Redis that blocks threads if it does not respond (``check --deploy``)."""
    cache = settings.CACHES.get("default", {})
    is_redis = str(cache.get("BACKEND", "")).endswith("RedisCache")
    given = f"{cache.get('LOCATION', '')} {cache.get('OPTIONS', {})}".lower()
    if not is_redis or "socket_timeout" in given:
        return []
    return [
        CheckWarning(
            "The default cache waits for ever for a Redis that accepts connections and does not respond.",
            hint='Set "OPTIONS": {"socket_timeout": 3} in CACHES["default"].',
            id="signalling_rooms.W006",
        )
    ]
