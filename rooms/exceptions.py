"""Errors that the domain raises when it refuses a request.

    RoomError
    ├── CodeInvalid      the requested code is malformed
    ├── DisplayNameInvalid
    ├── CodeTaken        another room has the requested code
    ├── TooManyRooms     the user hosts too many open rooms; details: {"limit": int}
    ├── RoomNotFound
    ├── RoomClosed
    ├── RoomLocked
    ├── RoomFull         details: {"limit": int, "mode": "p2p" | "sfu"}
    ├── TooManyDevices   the user holds too many seats of the room; details: {"limit": int}
    ├── SfuUnavailable   no SFU is healthy, or none can serve the room
    ├── NotInRoom        the peer has left or never joined
    ├── ResumeInvalid    the token is not of this room and user, or was used before
    ├── ResumeExpired    the membership has ended
    ├── Removed          the participant was removed from the room
    ├── Evicted          the participant had to give its seat to the host
    ├── UserInactive     the user was deactivated or deleted
    ├── RateLimited      too many failures; details: {"retry_after": seconds}
    └── Forbidden        a policy refused the request

Clients act on ``code``, which is stable. The message is for people, and translated.
Sockets use ``LANGUAGE_CODE``, the REST API and pages use the language of the request.
"""

from typing import ClassVar

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class RoomError(Exception):
    """Base class of the errors that clients receive."""

    code: ClassVar[str] = "bad_request"
    message: ClassVar[str | Promise] = _("The request was refused.")

    def __init__(self, **details: str | int) -> None:
        super().__init__()
        self.details = details

    def __str__(self) -> str:
        return str(self.message)


class CodeInvalid(RoomError):
    message = _(
        "A room code must have 3 to 32 letters, digits, hyphens or underscores, "
        "and must begin and end with a letter or a digit."
    )


class DisplayNameInvalid(RoomError):
    message = _(
        "A display name must have at most 64 characters, all of them visible: no control or format "
        "characters, and no piles of combining marks."
    )


class CodeTaken(RoomError):
    code = "code_taken"
    message = _("This room code is taken; choose another one.")


class TooManyRooms(RoomError):
    code = "too_many_rooms"
    message = _("You have too many open rooms; ask an administrator of this site to close some.")


class RoomNotFound(RoomError):
    code = "room_not_found"
    message = _("There is no room with this code; check the code or create the room.")


class RoomClosed(RoomError):
    code = "room_closed"
    message = _("This room has been closed.")


class RoomLocked(RoomError):
    code = "room_locked"
    message = _("This room is locked; ask its host to let you in.")


class RoomFull(RoomError):
    code = "room_full"
    message = _("This room is full; try again when a participant has left.")


class TooManyDevices(RoomError):
    code = "too_many_devices"
    message = _("You have joined this room on too many devices; leave it on one of them first.")


class SfuUnavailable(RoomError):
    code = "sfu_unavailable"
    message = _("The media server for larger groups is unavailable; try again later.")


class NotInRoom(RoomError):
    code = "not_in_room"
    message = _("Join a room first.")


class ResumeInvalid(RoomError):
    code = "resume_invalid"
    message = _("This resume token is not valid; join the room again.")


class ResumeExpired(RoomError):
    code = "resume_expired"
    message = _("You were disconnected for too long; join the room again.")


class Removed(RoomError):
    code = "removed"
    message = _("You have been removed from this room.")


class Evicted(RoomError):
    code = "evicted"
    message = _("The room is full, and the host needed your seat; join again when one is free.")


class UserInactive(RoomError):
    code = "user_inactive"
    message = _("This user account is not active.")


class RateLimited(RoomError):
    code = "rate_limited"
    message = _("Too many failed attempts; try again later.")


class Forbidden(RoomError):
    code = "forbidden"
    message = _("You are not allowed to do this.")


class SfuRequired(Exception):
    """The room requires an SFU. Find a healthy one and call ``services.join`` again with it."""
