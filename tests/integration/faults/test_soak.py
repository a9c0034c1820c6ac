"""A minute of random faults; ``make soak`` runs more. See docs/reliability.md, "Random faults"."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from pytest_django.plugin import DjangoDbBlocker

from tests.faults.schedule import steps
from tests.faults.soak import soak, summary
from tests.integration.processes import require

SEED = 108002
STEPS = 6
WITHIN = 30.0
"""Seconds in which everything must agree after each step, also on a busy machine."""


@pytest.mark.timeout(STEPS * (WITHIN + 40))
async def test_a_minute_of_random_faults(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    for program, package in {"faketime": "faketime", "redis-server": "redis-server"}.items():
        require(program, package)
    with django_db_blocker.unblock():
        schedule = islice(steps(SEED), STEPS)
        run = await soak(SEED, schedule, seconds=float("inf"), within=WITHIN, keep=tmp_path)
    assert run.relays > 100, "the load was not put on"
    assert not run.violations, f"{summary(run)}\n{run.violations}"
