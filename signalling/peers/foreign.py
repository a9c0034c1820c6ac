"""Messages of another build: they are counted and ignored, and close no socket.

During a rolling upgrade, sockets of two releases share a room and a channel layer, which may be
Channels' own. So the messages follow these rules:

- The name of a type is its version. The meaning of its fields never changes; an incompatible
  message gets a new name. A build ignores names that it does not know.
- Fields may be added. A build ignores fields that it does not know. A new field is ``NotRequired``
  and has a default, because earlier builds do not send it.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, get_args, get_origin, get_type_hints

from signalling import metrics

from .messages import Message


def ignore_unknown(message: Any) -> None:
    """Count a message of a type that this build does not know."""
    if not ignore_malformed(message):
        metrics.ignored.add("unknown_type", "Ignored a channel-layer message of an unknown type")


def ignore_malformed(message: Any) -> bool:
    """Count a message that lacks a field or has one of the wrong type; return whether it does.

    For the handler of an exception: relays need not pay for a check of each message.
    """
    if _is_well_formed(message):
        return False
    metrics.ignored.add("malformed", "Ignored a malformed channel-layer message")
    return True


def _is_well_formed(message: Any) -> bool:
    message_type = message.get("type")
    return isinstance(message_type, str) and all(
        isinstance(message.get(name), kind) for name, kind in _FIELDS.get(message_type, {}).items()
    )


def _fields(message_type: Any) -> tuple[str, dict[str, type]]:
    """Return the name of a message type, and its required fields with their classes."""
    hints = get_type_hints(message_type, include_extras=True)
    (name,) = get_args(hints["type"])
    return name, {
        field: str if get_origin(hint) is Literal else get_origin(hint) or hint
        for field, hint in hints.items()
        if get_origin(hint) is not NotRequired
    }


_FIELDS = dict(_fields(message_type) for message_type in get_args(Message))
