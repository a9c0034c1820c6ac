"""Names and ids that the wire protocol reserves, and the type of a request's id."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

SUBPROTOCOL = "signalling.v1"
BEARER_PREFIX = "bearer."

TOKEN_LENGTH = 16_384
"""The longest access token, in characters. Longer ones are refused unread."""

SFU_PUBLISH = "sfu:publish"
SFU_SUBSCRIBE = "sfu:subscribe"
SFU_PEERS = {SFU_PUBLISH, SFU_SUBSCRIBE}
"""Reserved peer ids of a peer's two connections to the SFU. No real peer id contains a colon."""

RequestId = Annotated[str, Meta(max_length=128)] | int | float
