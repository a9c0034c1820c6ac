from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.fixtures import Logs, watched


@pytest.fixture(autouse=True)
def logs() -> Iterator[Logs]:
    """Fail a test during which a server logged a traceback that the test does not expect."""
    logs = Logs()
    yield logs
    logs.check(watched)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    """Add what the servers logged to the report of a test that failed."""
    report = yield
    if report.failed:
        for process in watched:
            report.sections.append(
                (f"log of {process.name} {process.log.name}", process.output()[-8000:])
            )
    return report
