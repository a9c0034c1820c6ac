"""Health checks for orchestrators and load balancers: liveness and readiness."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from channels.layers import get_channel_layer
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

from signalling import database

from . import process

logger = logging.getLogger("signalling")

TIMEOUT = 2.0  # seconds for the database and the channel layer
GROUP = "signalling.health"  # has no members


@never_cache
async def live(request: HttpRequest) -> JsonResponse:
    """Return 200 while the process serves requests.

    Checks neither database nor channel layer: restarting this process would not repair them.
    """
    return JsonResponse({"live": True})


@never_cache
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
        logger.warning("Not ready, %s unavailable: %r", store, error)
        return False
    return True


async def _use_channel_layer() -> None:
    layer = get_channel_layer()
    if hasattr(layer, "subscribed"):  # a process that can only send is not ready
        await layer.subscribed()
    if layer is not None:
        await layer.group_send(GROUP, {"type": "signalling.health"})
