"""Closes the sockets of this process whose identity no longer holds: by push, and by sweep.

A push is a message that ``pushes`` sends to every worker when something about a user changes. A
sweep, at each heartbeat, finds the changes that sent no signal. Both only name users. What became
of them is read from the database a moment later, by ``auth.revocation``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

from channels.layers import get_channel_layer

from signalling.auth import revocation
from signalling.auth.identity import Identity, user_key
from signalling.auth.sessions import SessionCredential
from signalling.database import run_in_background_thread
from signalling.protocol import ErrorCode, ProtocolError
from signalling.transport.subscription import ChannelSubscription
from signalling.transport.tasks import spawn

from .pushes import GROUP

logger = logging.getLogger("signalling")

PAUSE_SECONDS = 0.25
"""How long a check waits for other changes."""
RECHECK_SECONDS = 1.5
"""How long a session waits for a second check. A view that changes the password saves its own
session after the user, and the middleware sends its new key after the response."""
CHUNK = 50
"""Identities per database call: the heartbeat shares the thread."""
MAX_SUSPECTS = 1000
"""With more users than this to check at a time, all are checked."""


class IdentityHolder(Protocol):
    """A socket or a detached peer, as far as its identity is concerned."""

    @property
    def identity(self) -> Identity | None: ...

    @property
    def room_code(self) -> str | None:
        """The code of the room that it is in."""

    def revoke(self, error: ProtocolError) -> None:
        """End the membership, and close the socket with ``error``."""


class Revocations:
    """The identities of one worker. ``run`` receives pushes; the worker calls ``sweep``."""

    def __init__(
        self, holders: Callable[[], Iterable[IdentityHolder]], retry_seconds: float
    ) -> None:
        self._holders = holders
        self._retry_seconds = retry_seconds
        self._suspects: set[str] = set()
        self._are_all_suspect = False
        self._identities: dict[int, Identity] = {}
        self._known: dict[Any, int] = {}
        self._is_checking = False
        self._subscription: ChannelSubscription | None = None
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # --- Push ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Receive pushes while there are sockets, until cancelled.

        The sweep works without the channel layer.
        """
        try:
            while True:
                try:
                    await self._subscribe()
                except Exception as error:
                    logger.debug("Channel layer unavailable, no pushed revocations: %r", error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._retry_seconds):
                        await self._changed.wait()
                self._changed.clear()
        finally:
            with suppress(Exception):  # the layer is unavailable
                await self._unsubscribe()

    def holders_changed(self) -> None:
        """Subscribe for the first socket, and unsubscribe after the last one."""
        self._changed.set()

    async def _subscribe(self) -> None:
        if not any(True for _ in self._holders()):
            await self._unsubscribe()
            return
        if self._subscription is None:
            subscription = ChannelSubscription(get_channel_layer(), self.deliver)
            await subscription.open()
            self._subscription = subscription
        # Repeated: Redis may have lost the members of a stock layer's group.
        await self._subscription.layer.group_add(GROUP, self._subscription.name)

    async def _unsubscribe(self) -> None:
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            try:  # stock layers keep the group of a channel that is closed
                await subscription.layer.group_discard(GROUP, subscription.name)
            finally:
                await subscription.close()

    def deliver(self, received: Any) -> None:
        """Handle a message of the channel layer."""
        match received:
            case {"type": "signalling.identity", "users": list(users)}:
                self._follow_session(received)
                self.recheck(*map(str, users))
            case {"type": "channel.missed"}:
                self.recheck()

    def recheck(self, *users: str) -> None:
        """Check the identities of these users in a moment; all identities if there are none."""
        if not users or len(self._suspects) + len(users) > MAX_SUSPECTS:
            self._are_all_suspect = True
        else:
            self._suspects.update(users)
        if not self._is_checking:
            self._is_checking = True
            spawn(self._check_suspects(), self._tasks)

    def _follow_session(self, message: Any) -> None:
        users = {*map(str, message["users"])}
        for holder in self._holders():
            if holder.identity is None or (users and holder.identity.user_key not in users):
                continue
            credential = holder.identity.credential
            if isinstance(credential, SessionCredential):
                credential.is_signed_out |= credential.digest == message.get("signed_out")
                if message.get("rotated"):
                    credential.follow(*message["rotated"])

    # --- Sweep --------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Find users and sessions that have changed. Raises ``DATABASE_UNAVAILABLE``."""
        found = [holder.identity for holder in self._holders() if holder.identity]
        identities, known = {id(one): one for one in found}, dict[Any, int]()
        for key, one in identities.items():
            pk = one.user.pk
            if key in self._identities:
                known[pk] = self._known[pk]
                continue
            mark = revocation.fingerprint(one.user)
            if known.setdefault(pk, self._known.get(pk, mark)) != mark:  # read before a change
                self.recheck(user_key(pk))
        self._identities, self._known = identities, known
        if not identities:
            return
        changed = await run_in_background_thread(revocation.find_changed)(self._known)
        for pk, now in changed.items():
            self._known[pk] = now or 0
            self.recheck(user_key(pk))
        for pk in await run_in_background_thread(revocation.find_lost)(found):
            self.recheck(user_key(pk))

    # --- Check --------------------------------------------------------------------------------

    async def _check_suspects(self) -> None:
        while self._suspects or self._are_all_suspect:
            await asyncio.sleep(PAUSE_SECONDS)
            suspects, self._suspects = self._suspects, set()
            are_all, self._are_all_suspect = self._are_all_suspect, False
            held = [
                holder
                for holder in self._holders()
                if holder.identity and (are_all or holder.identity.user_key in suspects)
            ]
            try:
                for start in range(0, len(held), CHUNK):
                    await self._check(held[start : start + CHUNK])
            except Exception as error:
                logger.warning("Could not check identities, trying again: %r", error)
                self._suspects |= suspects
                self._are_all_suspect |= are_all
                await asyncio.sleep(self._retry_seconds)
        self._is_checking = False

    async def _check(self, held: list[IdentityHolder], *, is_last: bool = False) -> None:
        checked = [(holder, holder.identity) for holder in held if holder.identity]
        found = await run_in_background_thread(revocation.check_all)(
            [(identity, holder.room_code) for holder, identity in checked]
        )
        again = set()
        for (holder, identity), error in zip(checked, found, strict=True):
            if error is None or holder.identity is not identity:
                continue
            if not is_last and _may_recover(identity, error):
                again.add(identity.credential)
            else:
                holder.revoke(error)
        if again:
            spawn(self._check_again(again), self._tasks)

    async def _check_again(self, credentials: set[Any]) -> None:
        await asyncio.sleep(RECHECK_SECONDS)
        held = [
            holder
            for holder in self._holders()  # a peer may have lost its socket by now
            if holder.identity and holder.identity.credential in credentials
        ]
        try:
            if held:
                await self._check(held, is_last=True)
        except Exception as error:
            logger.warning("Could not check identities, trying again: %r", error)
            self.recheck(*{holder.identity.user_key for holder in held if holder.identity})


def _may_recover(identity: Identity, error: ProtocolError) -> bool:
    """Return whether a view may be about to save the session, or its new key may be on its way."""
    credential = identity.credential
    return (
        isinstance(credential, SessionCredential)
        and not credential.is_signed_out
        and error.code == ErrorCode.TOKEN_REVOKED
    )
