"""One provocation for each error code. Returns the client whose next frame is the error."""

from __future__ import annotations

import secrets
from datetime import timedelta

from rest_framework_simplejwt.tokens import AccessToken

from signalling.protocol import CloseCode, ErrorCode
from signalling.testing import SignallingCommunicator, access_token
from tests.integration import hooks
from tests.integration.provocations.stage import (
    Stage,
    alice_is_removed,
    bob_stops_reading,
    provokes_error,
)

OFFER = {"type": "offer", "sdp": "v=0\r\n"}


@provokes_error(ErrorCode.BAD_JSON)
async def a_frame_that_is_not_json(stage: Stage) -> SignallingCommunicator:
    alice = await stage.has(stage.site.client())
    await alice.send_raw('{"event":')
    return alice


@provokes_error(ErrorCode.BAD_REQUEST)
async def a_number_for_a_room_code(stage: Stage) -> SignallingCommunicator:
    return await stage.connect_alice("join:room", {"roomCode": 5})


@provokes_error(ErrorCode.UNKNOWN_EVENT)
async def an_event_that_does_not_exist(stage: Stage) -> SignallingCommunicator:
    return await stage.connect_alice("join:everything")


@provokes_error(ErrorCode.MESSAGE_TOO_LARGE)
async def an_sdp_of_more_than_48_kib(stage: Stage) -> SignallingCommunicator:
    offer = {"type": "offer", "sdp": "x" * (48 * 1024 + 1)}
    return await stage.connect_alice("webrtc:offer", {"targetPeerId": "x", "offer": offer})


@provokes_error(ErrorCode.AUTHENTICATION_REQUIRED)
async def a_ping_without_authentication(stage: Stage) -> SignallingCommunicator:
    stranger = await stage.has(stage.site.anonymous_client())
    await stranger.send("ping")
    return stranger


@provokes_error(ErrorCode.TOKEN_INVALID)
async def a_forged_token(stage: Stage) -> SignallingCommunicator:
    return await stage.has(stage.site.client(token=stage.site.token("alice")[:-2] + "xx"))


@provokes_error(ErrorCode.TOKEN_EXPIRED)
async def an_expired_token(stage: Stage) -> SignallingCommunicator:
    token = AccessToken.for_user(stage.site.user("alice"))
    token.set_exp(lifetime=-timedelta(days=1))
    return await stage.has(stage.site.client(token=str(token)))


@provokes_error(ErrorCode.TOKEN_REVOKED)
async def a_token_from_before_the_new_password(stage: Stage) -> SignallingCommunicator:
    user = stage.site.database.user()
    token = access_token(user)
    user.set_password("another")
    stage.site.database.save(user)
    return await stage.has(stage.site.client(token=token))


@provokes_error(ErrorCode.USER_INACTIVE)
async def a_token_of_an_inactive_user(stage: Stage) -> SignallingCommunicator:
    user = stage.site.database.user(is_active=False)
    return await stage.has(stage.site.client(token=access_token(user)))


@provokes_error(ErrorCode.TOKEN_SUBJECT_MISMATCH)
async def another_users_token(stage: Stage) -> SignallingCommunicator:
    return await stage.connect_alice("authenticate", {"token": stage.site.token("bob")})


@provokes_error(ErrorCode.ROOM_NOT_FOUND)
async def a_wrong_code(stage: Stage) -> SignallingCommunicator:
    return await stage.connect_alice("join:room", {"roomCode": "NOSUCH"})


@provokes_error(ErrorCode.ROOM_FULL)
async def a_full_room(stage: Stage) -> SignallingCommunicator:
    room = stage.site.room(p2p_limit=1)
    await (await stage.has(stage.site.client("bob"))).join(room)
    return await stage.connect_alice("join:room", {"roomCode": room})


@provokes_error(ErrorCode.TOO_MANY_DEVICES)
async def a_second_socket_where_users_have_one_seat(stage: Stage) -> SignallingCommunicator:
    room = stage.strict.room()
    await (await stage.has(stage.strict.client("alice"))).join(room)
    alice = await stage.has(stage.strict.client("alice"))
    await alice.send("join:room", {"roomCode": room})
    return alice


@provokes_error(ErrorCode.EVICTED)
async def a_host_that_joins_its_full_room(stage: Stage) -> SignallingCommunicator:
    room = stage.site.room(p2p_limit=1, host=stage.site.user("bob"))
    alice, bob = await stage.has(stage.site.client()), await stage.has(stage.site.client("bob"))
    await alice.join(room)
    await bob.join(room)
    return alice


@provokes_error(ErrorCode.ROOM_LOCKED)
async def a_locked_room(stage: Stage) -> SignallingCommunicator:
    return await stage.connect_alice("join:room", {"roomCode": stage.site.room(is_locked=True)})


@provokes_error(ErrorCode.ROOM_CLOSED)
async def a_closed_room(stage: Stage) -> SignallingCommunicator:
    return await stage.connect_alice("join:room", {"roomCode": stage.site.room(is_active=False)})


@provokes_error(ErrorCode.ALREADY_JOINED)
async def a_second_join(stage: Stage) -> SignallingCommunicator:
    room = stage.site.room()
    alice = await stage.has(stage.site.client())
    await alice.join(room)
    await alice.send("join:room", {"roomCode": room})
    return alice


@provokes_error(ErrorCode.NOT_IN_ROOM)
async def a_leave_without_a_join(stage: Stage) -> SignallingCommunicator:
    return await stage.connect_alice("leave:room")


@provokes_error(ErrorCode.PEER_NOT_FOUND)
async def an_offer_to_an_unknown_peer(stage: Stage) -> SignallingCommunicator:
    alice, _ = await stage.connect_pair(stage.site)
    await alice.send("webrtc:offer", {"targetPeerId": "peer_nobody", "offer": OFFER})
    return alice


@provokes_error(ErrorCode.PEER_BUSY)
async def a_peer_that_reads_too_slowly(stage: Stage) -> SignallingCommunicator:
    bob = await bob_stops_reading(stage)
    assert await bob.receive_close(within=10) == CloseCode.TOO_SLOW
    while bob.unread[0]["event"] == "webrtc:answer":
        await bob.receive("webrtc:answer")
    return bob


@provokes_error(ErrorCode.REMOVED)
async def a_peer_that_is_removed(stage: Stage) -> SignallingCommunicator:
    return await alice_is_removed(stage)


@provokes_error(ErrorCode.RESUME_INVALID)
async def a_resume_with_an_unknown_token(stage: Stage) -> SignallingCommunicator:
    data = {"roomCode": stage.site.room(), "resumable": True, "resumeToken": "x"}
    return await stage.connect_alice("join:room", data)


@provokes_error(ErrorCode.RESUME_EXPIRED)
async def a_resume_after_a_leave(stage: Stage) -> SignallingCommunicator:
    alice, room = await stage.has(stage.site.client("alice")), stage.site.room()
    token = (await alice.join(room, resumable=True))["resumeToken"]
    await alice.leave()
    return await stage.connect_alice(
        "join:room", {"roomCode": room, "resumable": True, "resumeToken": token}
    )


@provokes_error(ErrorCode.FORBIDDEN)
async def a_policy_that_forbids(stage: Stage) -> SignallingCommunicator:
    # A chosen code: strangers cannot tell a room with a generated one from none.
    room = stage.site.room(name=hooks.FORBIDDEN, code=f"TEAM-{secrets.token_hex(4)}")
    return await stage.connect_alice("join:room", {"roomCode": room})


@provokes_error(ErrorCode.RATE_LIMITED)
async def a_second_offer_within_a_second(stage: Stage) -> SignallingCommunicator:
    alice = await stage.has(stage.strict.client())
    for _ in range(2):
        await alice.send("webrtc:offer", {"targetPeerId": "x", "offer": OFFER})
    await alice.receive_error("not_in_room")
    return alice


@provokes_error(ErrorCode.SFU_UNAVAILABLE)
async def an_sfu_that_the_site_does_not_have(stage: Stage) -> SignallingCommunicator:
    room = stage.site.room(host=stage.site.user("alice"))
    alice = await stage.has(stage.site.client("alice"))
    await alice.join(room)
    await alice.send("room:mode", {"mode": "sfu"})
    return alice


@provokes_error(ErrorCode.UNAVAILABLE)
async def a_join_while_the_database_is_unavailable(stage: Stage) -> SignallingCommunicator:
    room = stage.fragile.room()
    alice = await stage.has(stage.fragile.client())
    stage.stop_postgresql()
    await alice.send("join:room", {"roomCode": room})
    return alice


@provokes_error(ErrorCode.INTERNAL)
async def a_policy_that_is_broken(stage: Stage) -> SignallingCommunicator:
    stage.logs.expect("this hook is broken on purpose")
    return await stage.connect_alice("join:room", {"roomCode": stage.site.room(name=hooks.BROKEN)})
