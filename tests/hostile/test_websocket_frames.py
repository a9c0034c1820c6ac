"""Violations of RFC 6455, messages that are too large or never end, and floods of control frames."""

from __future__ import annotations

import asyncio

import pytest

from tests.hostile.attacker import Attacker
from tests.hostile.bystander import Bystander
from tests.hostile.exchange import exchange
from tests.integration.servers import Site
from tests.integration.traffic import memory
from tests.integration.wire import CLOSE, CONTINUATION, PING, PONG, client_frame, server_frames

MB = 1024 * 1024
EMPTY = client_frame(b"", opcode=CONTINUATION, final=False)
START = client_frame(b"", final=False)
END = client_frame(b"", opcode=CONTINUATION)


def close(code: int, reason: bytes = b"") -> bytes:
    return client_frame(code.to_bytes(2, "big") + reason, opcode=CLOSE)


VIOLATIONS = {
    **{f"close {code}": (close(code), 1002) for code in (0, 999, 1005, 1006, 1015, 2999, 5000)},
    "close of one byte": (client_frame(b"x", opcode=CLOSE), 1002),
    "close with a reason that is not UTF-8": (close(1000, b"\xff"), 1007),
    "close, fragmented": (client_frame(b"", opcode=CLOSE, final=False), 1002),
    "ping of 126 bytes": (client_frame(b"x" * 126, opcode=PING), 1002),
    "text without a mask": (client_frame(b"{}", mask=None), 1002),
    "reserved bit": (client_frame(b"{}", reserved=4), 1002),
    "reserved opcode": (client_frame(b"{}", opcode=3), 1002),
    "continuation of nothing": (client_frame(b"{}", opcode=CONTINUATION), 1002),
    "text within a message": (START + client_frame(b"{}"), 1002),
    "text that is not UTF-8": (client_frame(b"\xff"), 1007),
    "65,537 bytes": (client_frame(b"x" * 65_537), 1009),
    "65,537 bytes in two frames": (
        client_frame(b"x" * 65_536, final=False) + client_frame(b"x", opcode=CONTINUATION),
        1009,
    ),
    "a length of 2^62": (client_frame(b"x" * 100_000, size=2**62), 1009),
    "1 MiB, still being sent": (client_frame(b"x" * MB), 1009),
}


async def test_every_violation_has_its_close_code(site: Site) -> None:
    """The client receives it: the connection is not reset."""
    answers = await asyncio.gather(
        *(exchange(site, data, is_socket=True) for data, _ in VIOLATIONS.values())
    )
    got = {
        name: (answer.close_code, answer.ended, answer.was_reset)
        for name, answer in zip(VIOLATIONS, answers, strict=True)
    }
    assert got == {name: (code, True, False) for name, (_, code) in VIOLATIONS.items()}


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
async def test_a_valid_close_is_answered(site: Site, code: int) -> None:
    answer = await exchange(site, close(code), is_socket=True)
    assert answer.close_code in (1000, code)


async def test_a_message_in_too_many_fragments(site: Site) -> None:
    fine = START + EMPTY * 126 + client_frame(b"{}", opcode=CONTINUATION)
    answer = await exchange(site, fine, is_socket=True, within=0.4)
    assert b"authentication_required" in answer.data  # the message was read
    for message in (START + EMPTY * 128, START + EMPTY * 127 + END):
        answer = await exchange(site, message, is_socket=True)
        assert (answer.close_code, answer.was_reset) == (1009, False)


async def test_three_million_empty_fragments(site: Site, bystander: Bystander) -> None:
    before = memory(site.worker)
    async with Attacker(site) as mallory:
        with bystander.watched():
            await mallory.write(START)
            for _ in range(300):
                await mallory.write(EMPTY * 10_000)
            assert await mallory.closed() == 1009
    assert memory(site.worker) - before < 2 * MB


@pytest.mark.parametrize("opcode", [PING, PONG])
async def test_a_flood_of_control_frames(site: Site, bystander: Bystander, opcode: int) -> None:
    before = memory(site.worker)
    async with Attacker(site) as mallory:
        with bystander.watched():
            for _ in range(50):
                await mallory.write(client_frame(b"", opcode=opcode) * 5_000)
            assert await mallory.closed() == 1008
    assert memory(site.worker) - before < 2 * MB


async def test_a_client_may_send_some_pings(site: Site) -> None:
    pings = b"".join(client_frame(bytes([n]), opcode=PING) for n in range(90))
    answer = await exchange(site, pings, close(1000), is_socket=True)
    pongs = [frame for frame in server_frames(bytearray(answer.data)) if frame[0] == PONG]
    assert [payload for _, payload in pongs] == [bytes([n]) for n in range(90)]
    assert answer.close_code == 1000
