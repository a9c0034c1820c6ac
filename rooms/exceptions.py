"""Why the domain says no.

    RoomError
    ├── CodeInvalid      the wished-for code has the wrong form
    ├── CodeTaken        the wished-for code is another room's
    ├── RoomNotFound
    ├── RoomClosed
    ├── RoomLocked
    ├── RoomFull         details: {"limit": int, "mode": "p2p" | "sfu"}
    ├── SfuUnavailable   no SFU answers, or none can serve the room
    ├── NotInRoom        the peer has left, or never joined
    ├── ResumeInvalid    no token of this room and user, or one that was used before
    ├── ResumeExpired    the membership has ended meanwhile
    ├── Removed          the membership was ended by somebody else
    ├── UserInactive     the user was deactivated or deleted
    └── Forbidden        a policy refused

``code`` is stable and is what clients act on. The text beside it is for people: it is marked for
translation, no catalogue is shipped, so it is English unless the host site brings one. A socket has
no language of its own: there it is in ``LANGUAGE_CODE``'s; in REST and on pages, in the request's.
"""

from typing import ClassVar

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


class RoomError(Exception):
    """Base of every refusal of the domain."""

    code: ClassVar[str] = "bad_request"
    message: ClassVar[str | Promise] = _("The request was refused.")

    def __init__(self, **details: str | int) -> None:
        super().__init__()
        self.details = details

    def __str__(self) -> str:
        return str(self.message)


class CodeInvalid(RoomError):
    message = _(
        "A room code has 3 to 32 letters, digits, hyphens or underscores, "
        "and begins and ends with a letter or a digit."
    )


class CodeTaken(RoomError):
    code = "code_taken"
    message = _("This room code is taken; choose another one.")


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
    message = _("This room is full; try again when somebody has left.")


class SfuUnavailable(RoomError):
    code = "sfu_unavailable"
    message = _("The media server for larger groups cannot be reached; try again later.")


class NotInRoom(RoomError):
    code = "not_in_room"
    message = _("Join a room first.")


class ResumeInvalid(RoomError):
    code = "resume_invalid"
    message = _("This resume token is not valid; join the room anew.")


class ResumeExpired(RoomError):
    code = "resume_expired"
    message = _("You were away for too long; join the room anew.")


class Removed(RoomError):
    code = "removed"
    message = _("You have been removed from this room.")


class UserInactive(RoomError):
    code = "user_inactive"
    message = _("This user account is not active.")


class Forbidden(RoomError):
    code = "forbidden"
    message = _("You are not allowed to do this.")
