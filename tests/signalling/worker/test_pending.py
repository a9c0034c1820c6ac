"""Writes that wait for the database: bounded, in order, and not held up by one of them."""

from __future__ import annotations

import pytest

from signalling.database import DatabaseUnavailable, RowLocked
from signalling.worker import pending
from signalling.worker.pending import PendingWrites


class Write:
    def __init__(self, written: list[int], number: int, error: Exception | None = None) -> None:
        self.written, self.number, self.error = written, number, error

    async def __call__(self) -> None:
        if self.error is not None:
            raise self.error
        self.written.append(self.number)


async def test_the_oldest_write_is_dropped_if_too_many_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pending, "MOST", 3)
    writes, written = PendingWrites(), list[int]()
    for number in range(10):
        writes.add(Write(written, number))
    assert len(writes) == 3
    await writes.flush()
    assert (written, len(writes)) == ([7, 8, 9], 0)
    assert len(caplog.records) == 1


async def test_a_locked_row_holds_up_no_other_write() -> None:
    writes, written = PendingWrites(), list[int]()
    locked = Write(written, 0, RowLocked())
    for write in (locked, Write(written, 1, ValueError()), Write(written, 2)):
        writes.add(write)
    await writes.flush()
    assert (written, len(writes)) == ([2], 1)
    locked.error = None
    await writes.flush()
    assert (written, len(writes)) == ([2, 0], 0)


async def test_an_outage_keeps_the_writes_in_their_order() -> None:
    writes, written = PendingWrites(), list[int]()
    first = Write(written, 1, DatabaseUnavailable())
    writes.add(first)
    writes.add(Write(written, 2))
    with pytest.raises(DatabaseUnavailable):
        await writes.flush()
    first.error = None
    await writes.flush()
    assert written == [1, 2]


async def test_a_flush_leaves_time_for_the_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pending, "FLUSH_SECONDS", -1)
    writes, written = PendingWrites(), list[int]()
    writes.add(Write(written, 1))
    await writes.flush()
    assert len(writes) == 1
