"""When the client of one socket has to authenticate: at first, and before its token expires."""

from __future__ import annotations

from datetime import UTC, datetime

from signalling import protocol
from signalling.auth.identify import identify_token
from signalling.auth.identity import Identity, TokenRefused
from signalling.conf import SignallingSettings
from signalling.protocol import ErrorCode, errors
from signalling.transport.timers import Timers

from .port import Peer
from .replies import Replies

WARN_AT = 0.8
"""The fraction of a token's lifetime after which the client is asked to renew it."""


class Authentication:
    """Closes a socket that does not authenticate in time.

    With ``TOKEN_EXPIRY`` ``"close"`` that is also the expiry of its token, and the leeway; a peer in
    a room gets a ``token:expiring`` before. There is one timer for it, which looks at the peer's
    current identity.
    """

    def __init__(
        self,
        settings: SignallingSettings,
        timers: Timers,
        replies: Replies,
        peer: Peer,
    ) -> None:
        self._timeout = settings.authentication_timeout
        self._closes = settings.token_expiry == "close"
        self._timers = timers
        self._replies = replies
        self._peer = peer
        self._warned: datetime | None = None

    def begin(self) -> None:
        """Start the timer of a socket that has been accepted."""
        if self._peer.identity is None:
            self._timers.start(self._timeout, self._require)
        else:
            self.check_expiry()

    async def identify(self, token: str, address: str | None) -> Identity:
        """Return the identity that a token proves. Raises as ``identify_token`` does."""
        # The token came in time; checking it may take longer.
        self._timers.cancel(self._require)
        try:
            identity = await identify_token(token, address)
        except Exception:  # the database may be unavailable: the client may try again
            if self._peer.identity is None:
                self._timers.start(self._timeout, self._require)
            raise
        if self._closes:  # once the handler has adopted it
            self._timers.start(0, self.check_expiry)
        return identity

    def check_expiry(self) -> None:
        """Warn, close or wait. To be called when the socket has an identity, and in a room."""
        identity, membership = self._peer.identity, self._peer.membership
        if not self._closes or identity is None or identity.expires_at is None:
            return
        now, expires_at, due = datetime.now(UTC), identity.expires_at, identity.ends_at
        assert due is not None
        if now >= due:
            self._replies.send_error(TokenRefused(ErrorCode.TOKEN_EXPIRED))
            return
        warn_at = expires_at - (1 - WARN_AT) * (expires_at - (identity.issued_at or now))
        if now < warn_at:
            due = warn_at
        elif membership and membership.is_seated and self._warned != expires_at:
            self._warned = expires_at
            warning = protocol.TokenExpiring(expires_at=expires_at.isoformat())
            self._replies.write(protocol.encode(warning))
        self._timers.start((due - now).total_seconds(), self.check_expiry)

    def _require(self) -> None:
        self._replies.send_error(errors.authentication_required())
