"""What the other peers of a room learn about a user: the result of ``USER_INFO``, and its default."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import EmailField
from django.utils import timezone
from django.utils.crypto import salted_hmac

from . import names
from .conf import conf, hook

if TYPE_CHECKING:
    from django.contrib.auth.models import AbstractBaseUser

INTEGERS = range(-(2**63), 2**64)
"""Those that the encoder of events accepts."""

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


class Encoder(DjangoJSONEncoder):
    """Django's encoder. Times have an offset, also those of sites without ``USE_TZ``."""

    def default(self, o: Any) -> Any:
        if isinstance(o, datetime) and timezone.is_naive(o):
            o = timezone.make_aware(o, timezone.get_default_timezone())
        return super().default(o)


def describe(user: AbstractBaseUser) -> dict[str, Any]:
    """Return the data of ``USER_INFO`` about a user, as every frame and the database contain it.

    Lazy texts, dates, UUIDs, decimals and the like become strings, as in ``DjangoJSONEncoder``.
    Raise ``TypeError`` or ``ValueError`` for what is not JSON: the function of the site has a bug.
    """
    info = hook(conf().user_info)(user)
    if not isinstance(info, dict):
        raise TypeError(f"SIGNALLING['USER_INFO'] must return a dict, not {type(info).__name__}")
    text = json.dumps(info, cls=Encoder, ensure_ascii=False, allow_nan=False)
    text.encode()  # raises for half of a surrogate pair
    plain: dict[str, Any] = names.clean_info(json.loads(text, parse_int=_integer))
    return plain


def label(info: dict[str, Any]) -> str:
    """Return the name by which a user is shown."""
    return str(info.get("displayName") or info.get("username") or "")


def default(user: AbstractBaseUser) -> dict[str, Any]:
    """Return the user name. It never contains an email address.

    A user that signs in with one has a code as its user name, because full names are not unique, and
    the full or short name as its display name.
    """
    login = _text(user, "get_username")
    if login and not signs_in_with_email(type(user)) and not _EMAIL.fullmatch(login):
        return {"username": login}
    info = {"username": code_name(user)}
    for method in ("get_full_name", "get_short_name"):
        # Models without names often return the email address.
        if (name := _text(user, method)) and not _EMAIL.search(name):
            return {**info, "displayName": name}
    return info


def code_name(user: AbstractBaseUser) -> str:
    """Return a name that is always the same for a user, and says nothing about it."""
    code = salted_hmac("rooms.user_info", str(user.pk), algorithm="sha256").hexdigest()
    return f"User {code[:8]}"


def signs_in_with_email(model: Any) -> bool:
    """Return whether ``USERNAME_FIELD`` of a user model is its email address."""
    name = getattr(model, "USERNAME_FIELD", "")
    try:
        field = model._meta.get_field(name)
    except (AttributeError, FieldDoesNotExist):
        return False
    return isinstance(field, EmailField) or name == getattr(model, "EMAIL_FIELD", "email")


def _text(user: AbstractBaseUser, method: str) -> str:
    """Return the result of a method of the user; empty if the model does not have it."""
    try:
        return str(getattr(user, method)() or "").strip()
    except (AttributeError, NotImplementedError):
        return ""


def _integer(digits: str) -> int:
    number = int(digits)
    if number not in INTEGERS:
        raise ValueError(f"SIGNALLING['USER_INFO'] contains an integer of {len(digits)} digits")
    return number
