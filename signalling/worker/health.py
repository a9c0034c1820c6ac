"""What an orchestrator asks: is this process alive, and should it be sent anybody?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from channels.layers import get_channel_layer
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache

from signalling.database import run_in_background_thread

from . import process

logger = logging.getLogger("signalling")

TIMEOUT = 2.0  # seconds for a store to answer
GROUP = "signalling.health"  # of which nobody is a member


@never_cache
async def live(request: HttpRequest) -> JsonResponse:
    """200 as long as the process serves at all. Asks no store: its restart would mend none."""
    return JsonResponse({"live": True})


@never_cache
async def ready(request: HttpRequest) -> JsonResponse:
    """200, or 503 while the process drains or cannot reach a store; ``checks`` says which."""
    checks = {
        "serving": not process.is_draining(),
        "database": await _answers("database", run_in_background_thread(_ask_database)()),
        "channel_layer": await _answers("channel layer", _ask_channel_layer()),
    }
    is_ready = all(checks.values())
    return JsonResponse({"ready": is_ready, "checks": checks}, status=200 if is_ready else 503)


async def _answers(store: str, asking: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(TIMEOUT):
            await asking
    except Exception as error:
        logger.warning("not ready, the %s does not answer: %r", store, error)
        return False
    return True


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def _ask_channel_layer() -> None:
    layer = get_channel_layer()
    if layer is not None:
        await layer.group_send(GROUP, {"type": "signalling.health"})
