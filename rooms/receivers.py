"""Nobody is in a room that is not there: what is deleted is ended first, so that its people are told.

The announcements go out after the commit of the deletion.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import router
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from . import services
from .models import Participant, Room


@receiver(pre_delete, sender=Room, dispatch_uid="signalling_rooms.close_deleted_room")
def close_deleted_room(*, instance: Room, using: str, **kwargs: Any) -> None:
    if _is_ours(using):
        services.close_room(instance)


@receiver(
    pre_delete,
    sender=settings.AUTH_USER_MODEL,
    dispatch_uid="signalling_rooms.remove_deleted_user",
)
def remove_deleted_user(*, instance: AbstractBaseUser, using: str, **kwargs: Any) -> None:
    if _is_ours(using):
        services.remove_user(instance)


def _is_ours(using: str) -> bool:
    """A deletion in another database than the services write to ends nobody's membership here."""
    return using == router.db_for_write(Participant)
