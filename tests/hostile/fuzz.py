"""Frames that no client sends: built from the types of the events, and mutated.

Strings that start with ``@`` are placeholders for what is known when the frames are sent: ids,
codes and tokens. So a part of the frames is accepted and reaches the handlers.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from signalling.protocol import CLIENT_EVENTS, Authenticate, Relay
from tests.integration.wire import BINARY, CLOSE, CONTINUATION, PING, TEXT, client_frame

MUTATIONS = 5
"""How many mutations of each generated frame are sent after it."""
NAMES = ("@target", "@other", "@own", "@room", "@token", "@stranger")
JOIN = b'{"event": "join:room", "data": {"roomCode": "@room"}}'
FRAGMENTS = (
    *(
        b"[" * 20,
        b'{"a":' * 20,
        b"\\",
        b'\\"',
        b"\\ud800",
        b"\\u0000",
        b"\x00",
        b"\xff",
        b'"',
        b",",
    ),
    *(b"1e999", b"-0", b"9" * 400, b"NaN", b"null", b"true", b"{}", b"[]", b"\xe2\x80\xae"),
    *(b'"event":"ping",', b'"id":1,', b'"fromPeerId":"@target",', b'"data":null,', b"@room"),
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(NAMES),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def values(type_: inspect.Type) -> st.SearchStrategy[Any]:
    """Return a strategy for the values of a field, most of them valid."""
    match type_:
        case inspect.StrType():
            return st.sampled_from(NAMES) | st.text(max_size=(type_.max_length or 40) + 1)
        case inspect.IntType():
            return st.integers(-1, 2**31) | st.integers()
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.LiteralType():
            return st.sampled_from(type_.values)
        case inspect.UnionType():
            return st.one_of([values(each) for each in type_.types])
        case inspect.StructType():
            return payloads(type_)
        case inspect.Metadata():
            return values(type_.type)
        case inspect.CustomType():  # UNSET
            return st.none()
        case _:
            raise NotImplementedError(type_)


def payloads(type_: inspect.StructType) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy for the objects of a type; some have missing, wrong or additional parts."""
    fields = {
        field.encode_name: values(field.type)
        for field in type_.fields
        if not _is_payload(type_.cls, field)
    }
    if issubclass(type_.cls, Relay):
        payload = type_.cls.payload_type
        fields[type_.cls.payload_name] = values(inspect.type_info(payload))
    required = {field.encode_name for field in type_.fields if field.required}
    optional = {name: each for name, each in fields.items() if name not in required}
    valid = st.fixed_dictionaries(
        {name: fields[name] for name in fields if name in required}, optional=optional
    )
    noisy = st.dictionaries(st.sampled_from([*fields, "fromPeerId", ""]), json_values, max_size=2)
    return st.one_of(valid, valid, valid, st.builds(lambda a, b: {**a, **b}, valid, noisy))


def _is_payload(cls: type, field: inspect.Field) -> bool:
    return issubclass(cls, Relay) and field.name == cls.payload_name


ids = st.integers() | st.text(max_size=8) | st.floats(allow_nan=False)
data = {
    event: payloads(type_)
    for event, cls in CLIENT_EVENTS.items()
    if isinstance(type_ := inspect.type_info(cls), inspect.StructType)
}
frames = st.one_of(
    [
        st.fixed_dictionaries({"event": st.just(event), "data": each}, optional={"id": ids})
        for event, each in data.items()
        if event != Authenticate.event  # an invalid token ends the connection
    ]
    + [
        st.fixed_dictionaries(
            {"event": st.sampled_from([*CLIENT_EVENTS, "no:such"]) | json_values},
            optional={"data": json_values, "id": json_values},
        )
    ]
)


@dataclass(frozen=True)
class Batch:
    """The frames of one connection. ``identity``: how it authenticates."""

    identity: str
    texts: list[bytes]
    tail: bytes
    """Bytes that are no valid WebSocket frames; after them nothing can be sent."""


@st.composite
def batches(draw: st.DrawFn, size: int) -> Batch:
    """Return a strategy for batches of ``size`` frames."""
    count = size // (1 + MUTATIONS)
    generated = draw(st.lists(frames, min_size=count, max_size=count))
    rng = random.Random(draw(st.integers(0, 2**64)))
    texts = []
    for frame in generated:
        text = json.dumps(frame, ensure_ascii=rng.random() < 0.5).encode(errors="surrogatepass")
        texts += [text, *(mutated(text, rng) for _ in range(MUTATIONS))]
    if draw(st.booleans()):
        texts.insert(0, JOIN)
    if rng.random() < 0.1:
        frame = {"event": Authenticate.event, "data": draw(data[Authenticate.event])}
        texts.insert(rng.randrange(len(texts)), json.dumps(frame).encode())
    identity = draw(st.sampled_from(["header"] * 8 + ["frame", "none"]))
    return Batch(identity, texts, broken_frames(rng))


def mutated(text: bytes, rng: random.Random) -> bytes:
    """Return ``text`` with one to three random changes."""
    changed = bytearray(text)
    for _ in range(rng.randint(1, 3)):
        at, end = sorted(rng.randrange(len(changed) + 1) for _ in range(2))
        match rng.randrange(6):
            case 0 if changed:
                changed[min(at, len(changed) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at : min(end, at + 20)]
            case 2:
                changed[at:at] = rng.choice(FRAGMENTS)
            case 3:
                changed[at:end] = changed[at:end] * 2
            case 4:
                del changed[at:]
            case _:
                changed[at : at + 3] = rng.randbytes(3)
    return bytes(changed)


def message(text: bytes) -> bytes:
    """Return the frame of a message; binary if it is not UTF-8, which would end the connection."""
    try:
        text.decode()
    except UnicodeDecodeError:
        return client_frame(text, opcode=BINARY)
    return client_frame(text)


def broken_frames(rng: random.Random) -> bytes:
    """Return bytes that break a rule of RFC 6455."""
    ping = b'{"event": "ping"}'
    match rng.randrange(12):
        case 0:
            return client_frame(ping, reserved=rng.randint(1, 7))
        case 1:
            return client_frame(ping, opcode=rng.choice([3, 4, 5, 6, 7, 11, 12, 13, 14, 15]))
        case 2:
            return client_frame(ping, mask=None)
        case 3:
            return client_frame(ping, opcode=CONTINUATION)
        case 4:
            return client_frame(ping, final=False) * 2
        case 5:
            return client_frame(ping, opcode=PING, final=False)
        case 6:
            return client_frame(b"x" * 126, opcode=rng.choice([PING, CLOSE]))
        case 7:
            return client_frame(ping, size=rng.choice([2**63, 2**64 - 1, 2**40, 65_537]))
        case 8:
            code = rng.choice([0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_535])
            return client_frame(code.to_bytes(2, "big") + b"bye", opcode=CLOSE)
        case 9:
            return client_frame(b"\xff\xfe" + ping, opcode=TEXT)
        case 10:
            return rng.randbytes(rng.randint(1, 200))
        case _:
            return bytes(client_frame(mutated(ping, rng), mask=rng.randbytes(4)))[
                rng.randrange(6) :
            ]
