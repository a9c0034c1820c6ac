"""ASGI middleware that fits a socket into its site: where it is mounted, and what surrounds it."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from .database import surroundings

Scope = dict[str, Any]


class ScriptNameMiddleware:
    """Lets a ``URLRouter`` match the path below the one at which the site is mounted.

    ``URLRouter`` requires ``root_path`` at the beginning of the path, and ignores
    ``FORCE_SCRIPT_NAME``. Here both are optional, as in Django: proxies may have removed them, and
    servers differ in whether ``path`` contains ``root_path``.
    """

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> Any:
        mounted_at = (settings.FORCE_SCRIPT_NAME or scope.get("root_path", "")).rstrip("/")
        if mounted_at and "path_remaining" not in scope:  # otherwise a router has begun
            path = scope["path"]
            is_below = path.startswith(f"{mounted_at}/")
            scope = {**scope, "path_remaining": path.removeprefix(mounted_at) if is_below else path}
        return await self.application(scope, receive, send)


class ContextMiddleware:
    """Surrounds the database calls of a socket by ``SIGNALLING["CONTEXT"]``, from its handshake on."""

    def __init__(self, application: Any) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> Any:
        with surroundings.use(surroundings.of(scope)):
            return await self.application(scope, receive, send)
