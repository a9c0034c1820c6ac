"""Functions of a site for ``SIGNALLING["AUTHENTICATE"]``. A token is a user name."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from django.contrib.auth.models import AnonymousUser, User

may_return = threading.Event()
"""What ``hang`` waits for."""
threads: list[str] = []
"""The threads in which ``by_name`` was called."""
begun: list[str] = []
"""The tokens with which ``hang`` was called."""


def by_name(token: str) -> User | None:
    threads.append(threading.current_thread().name)
    return User.objects.filter(username=token).first()


async def by_name_async(token: str) -> User | None:
    return await User.objects.filter(username=token).afirst()


class ByName:
    async def __call__(self, token: str) -> User | None:
        return await by_name_async(token)


by_name_object = ByName()


def hang(token: str) -> User | None:
    begun.append(token)
    may_return.wait()
    return by_name(token)


async def hang_async(token: str) -> None:
    await asyncio.Event().wait()


def disconnect(token: str) -> None:
    raise ConnectionError("the key server is unavailable")


def explode(token: str) -> None:
    raise LookupError("a bug")


def anonymous(token: str) -> Any:
    return AnonymousUser()
