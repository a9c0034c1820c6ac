"""Nobody is in a room that is not there: what is deleted is ended first, so that its people are told.

The announcements go out after the commit of the deletion.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from . import services
from .models import Room


@receiver(pre_delete, sender=Room, dispatch_uid="signalling_rooms.close_deleted_room")
def close_deleted_room(*, instance: Room, **kwargs: Any) -> None:
    services.close_room(instance)


@receiver(
    pre_delete,
    sender=settings.AUTH_USER_MODEL,
    dispatch_uid="signalling_rooms.remove_deleted_user",
)
def remove_deleted_user(*, instance: AbstractBaseUser, **kwargs: Any) -> None:
    services.remove_everywhere(instance)
