"""A display name can neither hide who a peer is nor pass for another user."""

from __future__ import annotations

import pytest

from signalling.testing import RequestRefused
from tests.integration.servers import Site

HIDDEN = ["u\u200b08", "\u202e80u", "u08\u0301\u0302\u0303\u0304\u0305", "\u3164", "u08\U000e0041"]
ALIKE = ["u08", "U08", "\uff5508", "u\u041e8", "Mallory (u08)"]


async def test_names_that_hide_something_are_refused(site: Site, address: str) -> None:
    room = site.room()
    async with site.client("u08") as victim, site.client("u09", address=address) as mallory:
        await victim.join(room)
        await mallory.join(room)
        await victim.receive("peer:joined")
        for name in HIDDEN:
            with pytest.raises(RequestRefused, match="bad_request") as refused:
                await mallory.request("peer:update", {"displayName": name})
            assert refused.value.details["path"] == "$.data.displayName"
        await victim.receive_nothing()
        await mallory.receive_nothing()


async def test_names_that_imitate_a_user_share_a_key_with_it(site: Site, address: str) -> None:
    room = site.room()
    async with site.client("u08") as victim, site.client("u09", address=address) as mallory:
        own = set((await victim.join(room))["nameKeys"])
        (known,) = (await mallory.join(room))["peers"]
        assert set(known["nameKeys"]) == own
        assert not own & set((await victim.receive("peer:joined"))["nameKeys"])
        for name in ALIKE:
            await mallory.request("peer:update", {"displayName": name})
            updated = await victim.receive("peer:updated")
            assert (updated["peerId"], updated["displayName"]) == (mallory.peer_id, name)
            assert own & {key.removeprefix("(") for key in updated["nameKeys"]}, name
        async with site.client("u10") as later:
            peers = {
                peer["userInfo"]["username"]: peer for peer in (await later.join(room))["peers"]
            }
        assert own & {key.removeprefix("(") for key in peers["u09"]["nameKeys"]}
