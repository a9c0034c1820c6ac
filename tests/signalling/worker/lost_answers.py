"""Transactions that are committed, and whose answer is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
from django.db import OperationalError


@contextmanager
def lost_answer(module: ModuleType, service: str) -> Iterator[None]:
    """Let a service do its work, and then fail as if the answer to its COMMIT had been lost."""
    perform = getattr(module, service)

    def commit_and_fail(**arguments: Any) -> Any:
        perform(**arguments)
        raise OperationalError("server closed the connection unexpectedly")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, service, commit_and_fail)
        yield
