"""The limit of file descriptors."""

from __future__ import annotations

import ast
import resource
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from signalling.servers import descriptors

SERVERS = Path(descriptors.__file__).parent
LIMIT = resource.RLIMIT_NOFILE


@pytest.fixture
def hard() -> Iterator[int]:
    """Lower the soft limit, as a shell or a service manager does."""
    soft, hard = resource.getrlimit(LIMIT)
    resource.setrlimit(LIMIT, (min(1024, hard), hard))
    yield hard
    resource.setrlimit(LIMIT, (soft, hard))


def test_the_soft_limit_is_raised_to_the_hard_one(hard: int) -> None:
    descriptors.raise_limit()
    assert resource.getrlimit(LIMIT) == (hard, hard)


def test_a_system_that_allows_less_keeps_its_limit(
    hard: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as system:  # undone before the limit is restored
        system.setattr(resource, "setrlimit", Mock(side_effect=ValueError))
        descriptors.raise_limit()
    assert resource.getrlimit(LIMIT) == (min(1024, hard), hard)


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_both_commands_raise_it(server: str) -> None:
    tree = ast.parse((SERVERS / f"{server}.py").read_text())
    main = [ast.unparse(node) for node in tree.body if isinstance(node, ast.If)][-1]
    assert "'__main__'" in main
    assert "descriptors.raise_limit()" in main
