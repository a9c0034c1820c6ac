"""Values of the code as something that can be hashed, and back."""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Any

SKIPPED = {"identity", "link", "user"}
"""The fields of a ``Membership`` that concern no other peer."""


def freeze(value: Any) -> Any:
    """Return a dataclass, a collection or a simple value as tuples."""
    if dataclasses.is_dataclass(value):
        fields = [field.name for field in dataclasses.fields(value) if field.name not in SKIPPED]
        return ("class", type(value), *((name, freeze(getattr(value, name))) for name in fields))
    match value:
        case dict():
            return ("dict", *((key, freeze(item)) for key, item in value.items()))
        case set() | frozenset():
            return ("set", *sorted(value))
        case tuple():
            return value
        case list() | deque():
            return ("list", *value)
    return value


def thaw(value: Any) -> Any:
    """Return the value that ``freeze`` was called with."""
    match value:
        case ("class", kind, *fields):
            made = object.__new__(kind)
            made.__dict__ |= {name: thaw(item) for name, item in fields}
            return made
        case ("dict", *items):
            return {key: thaw(item) for key, item in items}
        case ("set", *items):
            return set(items)
        case ("list", *items):
            return list(items)
    return value
