"""Health checks for orchestrators and load balancers: liveness and readiness."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from channels.layers import get_channel_layer
from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import Resolver404, resolve
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from rooms.logs import RareWarning, describe
from signalling import database

from . import process

_unavailable = RareWarning(logging.getLogger("signalling"), "Not ready, %s unavailable: %s")

TIMEOUT = 2.0  # seconds for the database and the channel layer
GROUP = "signalling.health"  # has no members
LIVE, READY = "health/live/", "health/ready/"

Probe = Callable[[HttpRequest], Coroutine[Any, Any, JsonResponse]]


def probe(view: Probe) -> Probe:
    """Decorate a view: no transaction of ``ATOMIC_REQUESTS``, no login, no cache."""
    view = login_not_required(require_safe(never_cache(view)))
    for alias in connections:
        view = transaction.non_atomic_requests(alias)(view)
    return view


def find_probe(path_info: str) -> Probe | None:
    """Return the view of a probe, wherever the site includes ``signalling.urls``."""
    if path_info.endswith((LIVE, READY)):
        with suppress(Resolver404):
            view = resolve(path_info).func
            return view if view in (live, ready) else None
    return None


@probe
async def live(request: HttpRequest) -> JsonResponse:
    """Return 200 while the process serves requests.

    Checks neither database nor channel layer: restarting this process would not repair them.
    """
    return JsonResponse({"live": True})


@probe
async def ready(request: HttpRequest) -> JsonResponse:
    """Return 200, or 503 while the process drains or cannot reach a store.

    ``checks`` in the JSON has a boolean for each: ``serving``, ``database``, ``channel_layer``.
    """
    checks = {
        "serving": not process.is_draining(),
        "database": await database.is_available(),
        "channel_layer": await _is_available("channel layer", _use_channel_layer()),
    }
    is_ready = all(checks.values())
    return JsonResponse({"ready": is_ready, "checks": checks}, status=200 if is_ready else 503)


async def _is_available(store: str, query: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT):
            await query
    except Exception as error:
        _unavailable.log(store, describe(error))
        return False
    return True


async def _use_channel_layer() -> None:
    layer = get_channel_layer()
    if hasattr(layer, "subscribed"):  # a process that can only send is not ready
        await layer.subscribed()
    if layer is not None:
        await layer.group_send(GROUP, {"type": "signalling.health"})
