"""Sent after the commit, so a receiver never acts on something that is rolled back.

- ``room_opened``, ``room_closed``: ``room``
- ``participant_removed``: ``participant``, besides its ``participant_left``, where somebody else ended it
- ``participant_joined``, ``participant_left``: ``participant`` (its ``reason`` says why it left)
- ``participants_lost``: ``left`` and ``away``, lists of participants whose worker died, or whose time to
  come back is over; besides the ``participant_left`` of each that has left

The sender is the model class. A receiver that raises is logged and does not disturb the call.
"""

from django.dispatch import Signal

room_opened = Signal()
room_closed = Signal()
participant_joined = Signal()
participant_left = Signal()
participant_removed = Signal()
participants_lost = Signal()
