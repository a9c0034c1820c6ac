"""The response to requests during an outage of the database."""

from __future__ import annotations

from typing import Any

from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import exception_handler as handle_others
from rest_framework.views import set_rollback

from rooms import outages


def unavailable() -> Response:
    """Return 503 with the code ``unavailable`` and ``Retry-After``."""
    set_rollback()
    return Response(
        {"code": "unavailable", "detail": str(outages.MESSAGE)},
        status=status.HTTP_503_SERVICE_UNAVAILABLE,
        headers={"Retry-After": str(outages.RETRY_AFTER)},
    )


def exception_handler(error: Exception, context: dict[str, Any]) -> Response | None:
    """Handle exceptions as Django REST framework does, and an outage with ``unavailable``.

    For ``REST_FRAMEWORK["EXCEPTION_HANDLER"]``, so that it applies to other views, such as those for
    tokens.
    """
    if outages.is_refusal(error):
        return unavailable()
    return handle_others(error, context)
