"""Frames that break a rule of RFC 6455: the exact close code, and nothing in the log."""

from __future__ import annotations

import pytest

from tests.hostile.attacker import Attacker
from tests.hostile.bystander import Bystander
from tests.integration.servers import Site
from tests.integration.wire import CLOSE, CONTINUATION, PING, client_frame

TEXT = b'{"event": "ping"}'
PROTOCOL_ERROR, INVALID_DATA = 1002, 1007

BROKEN = {
    "a reserved bit": (client_frame(TEXT, reserved=4), PROTOCOL_ERROR),
    "a reserved opcode": (client_frame(TEXT, opcode=3), PROTOCOL_ERROR),
    "no mask": (client_frame(TEXT, mask=None), PROTOCOL_ERROR),
    "a continuation of nothing": (client_frame(TEXT, opcode=CONTINUATION), PROTOCOL_ERROR),
    "a message within another": (client_frame(TEXT, final=False) * 2, PROTOCOL_ERROR),
    "a fragmented ping": (client_frame(TEXT, opcode=PING, final=False), PROTOCOL_ERROR),
    "a long ping": (client_frame(b"x" * 126, opcode=PING), PROTOCOL_ERROR),
    "half a close code": (client_frame(b"\x03", opcode=CLOSE), PROTOCOL_ERROR),
    "a reserved close code": (client_frame(b"\x03\xed", opcode=CLOSE), PROTOCOL_ERROR),
    "invalid UTF-8": (client_frame(b"\xff\xfe"), INVALID_DATA),
    "invalid UTF-8 in fragments": (
        client_frame(b"\xc3", final=False) + client_frame(b"\x28", opcode=CONTINUATION),
        INVALID_DATA,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_frame_closes_its_own_socket(site: Site, name: str) -> None:
    frames, code = BROKEN[name]
    async with Attacker(site) as mallory:
        await mallory.write(frames)
        assert await mallory.closed() == code


async def test_broken_frames_reach_nobody(site: Site, bystander: Bystander) -> None:
    with bystander.watched():
        for frames, _ in BROKEN.values():
            async with Attacker(site) as mallory:
                await mallory.write(frames)
                await mallory.closed()
