"""Sent after the commit, so a receiver never acts on something that is rolled back.

- ``room_opened``, ``room_closed``: ``room``
- ``participant_removed``: ``participant``, besides its ``participant_left``, where somebody else ended it
- ``participant_joined``, ``participant_left``: ``participant`` (its ``reason`` says why it left)
- ``room_mode_changed``: ``room`` as it is now, ``reason`` (``transitions.Reason``) and ``surplus``, the
  participants that were one too many for a mesh and have left
- ``participants_lost``: ``left`` and ``away``, lists of participants whose worker died, or whose time to
  come back is over; besides the ``participant_left`` of each that has left

The sender is the model class. A receiver that raises is logged and does not disturb the call.
"""

from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.dispatch import Signal

room_opened = Signal()
room_closed = Signal()
room_mode_changed = Signal()
participant_joined = Signal()
participant_left = Signal()
participant_removed = Signal()
participants_lost = Signal()


def after_commit(signal: Signal, sender: type[Model], **arguments: Any) -> None:
    """Send a signal once the transaction has been committed."""
    transaction.on_commit(partial(signal.send_robust, sender, **arguments))
