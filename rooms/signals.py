"""Signals of the domain. The sender is the model class.

============================ ==================================================================
``room_opened``              ``room``
``room_closed``              ``room``
``room_mode_changed``        ``room``; ``reason``, a value of ``transitions.Reason``; ``surplus``,
                             a list of the participants that had to leave because the mesh has
                             no seat for them
``participant_joined``       ``participant``
``participant_left``         ``participant``, with its ``reason``
``participant_removed``      ``participant``, with its ``reason``; sent in addition to
                             ``participant_left`` if the participant was removed, or had to give
                             up its seat
``participants_lost``        ``left`` and ``away``, lists of the participants whose worker died
                             or whose resume window ended; sent in addition to
                             ``participant_left`` for each participant in ``left``
============================ ==================================================================

Signals are sent after the commit, so receivers never act on changes that are rolled back. If a
receiver raises an exception, Django logs it and the call continues.
"""

from functools import partial
from typing import Any

from django.db import transaction
from django.db.models import Model
from django.dispatch import Signal

from . import primary

room_opened = Signal()
room_closed = Signal()
room_mode_changed = Signal()
participant_joined = Signal()
participant_left = Signal()
participant_removed = Signal()
participants_lost = Signal()


def send_on_commit(signal: Signal, sender: type[Model], **arguments: Any) -> None:
    """Send a signal after the current transaction has been committed."""
    send = partial(signal.send_robust, sender, **arguments)
    transaction.on_commit(send, using=primary.alias())
