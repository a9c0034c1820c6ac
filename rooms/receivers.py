"""End memberships when their room or user is deleted, so that connected peers are notified.

The signals are sent after the deletion has been committed.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from . import primary, services
from .models import Room


@receiver(pre_delete, sender=Room, dispatch_uid="signalling_rooms.close_deleted_room")
def close_deleted_room(*, instance: Room, using: str, **kwargs: Any) -> None:
    if _is_written_by_services(using):
        services.close_room(instance)


@receiver(
    pre_delete,
    sender=settings.AUTH_USER_MODEL,
    dispatch_uid="signalling_rooms.remove_deleted_user",
)
def remove_deleted_user(*, instance: AbstractBaseUser, using: str, **kwargs: Any) -> None:
    if _is_written_by_services(using):
        services.remove_user(instance)


def _is_written_by_services(using: str) -> bool:
    """Return whether ``using`` is the database that the services write to."""
    return using == primary.alias()
