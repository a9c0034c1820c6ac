"""WebSocket on bare TCP connections (RFC 6455): the opening handshake and the frames."""

from __future__ import annotations

from collections.abc import Iterator

from tests.integration.servers import Site

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
ZEROS = bytes(4)


def client_frame(
    payload: bytes,
    *,
    opcode: int = TEXT,
    final: bool = True,
    reserved: int = 0,
    mask: bytes | None = ZEROS,
    size: int | None = None,
) -> bytes:
    """Return a frame of a client (RFC 6455, 5.2).

    ``reserved``: the three reserved bits. ``mask``: four bytes, ``None`` for a frame without a mask.
    ``size``: the length in the header, if it is not the length of ``payload``.
    """
    size = len(payload) if size is None else size
    bit = 0 if mask is None else 0x80
    if size < 126:
        length = bytes([bit | size])
    elif size < 0x1_0000:
        length = bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([bit | 127]) + size.to_bytes(8, "big")
    if mask:
        payload = masked(payload, mask)
    first = (0x80 if final else 0) | reserved << 4 | opcode
    return bytes([first]) + length + (mask or b"") + payload


def masked(payload: bytes, mask: bytes) -> bytes:
    if mask == ZEROS:
        return payload
    count = len(payload)
    keys = (mask * (count // 4 + 1))[:count]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")).to_bytes(count, "big")


def server_frames(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Remove the complete frames from ``buffer``; yield the opcode and the payload of each."""
    while len(buffer) >= 2:
        size, start = buffer[1], 2
        if size >= 126:
            start += 2 if size == 126 else 8
            size = int.from_bytes(buffer[2:start], "big")
        if len(buffer) < start + size:
            return
        opcode, payload = buffer[0] & 0x0F, bytes(buffer[start : start + size])
        del buffer[: start + size]
        yield opcode, payload


def handshake(site: Site, token: str | None = None, *headers: str, target: str = "") -> bytes:
    """Return the opening handshake of a client for the first worker.

    ``headers``: more lines. ``target``: another path, with its query.
    """
    lines = [
        f"GET {target or '/ws/signalling/'} HTTP/1.1",
        f"Host: {site.worker.address}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *([f"Authorization: Bearer {token}"] if token is not None else []),
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
