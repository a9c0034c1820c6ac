"""An authentication backend that throttles the guessing of passwords.

In ``AUTHENTICATION_BACKENDS`` it replaces ``ModelBackend``. All sign-ins then share it: pages, the
admin, ``POST /api/token/``, and whatever else calls ``django.contrib.auth.authenticate``.
"""

from __future__ import annotations

import unicodedata
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeGuard

from asgiref.sync import sync_to_async
from django.contrib.auth import get_user_model
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.hashers import make_password, verify_password
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.utils.translation import gettext, gettext_lazy, ngettext_lazy
from django.views.decorators.debug import sensitive_variables

from rooms.addresses import UNKNOWN, request_address
from rooms.exceptions import RateLimited
from rooms.failures import Throttle

from . import hashing

if TYPE_CHECKING:
    from rest_framework.request import Request

BUSY_SECONDS = 5

throttle = Throttle("password")
_was_refused: ContextVar[bool] = ContextVar("_was_refused", default=False)
"""Whether the last attempt was refused unread. Django reports it as a failure nevertheless."""


class ThrottledModelBackend(ModelBackend):
    """``ModelBackend`` that slows down guesses, and hashes where calls are not disturbed.

    Failures count strictly for a user name from one address, and leniently for each user name and
    each address (``rooms.failures``). So an attacker elsewhere cannot lock out the owner of an
    account, and a guess that is right during a delay is refused like a wrong one.
    """

    @sensitive_variables("password")
    def authenticate(
        self,
        request: HttpRequest | Request | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the user, or ``None`` if name or password are wrong.

        After too many failures, and while too many sign-ins wait, raise an exception that reaches the
        user: ``Throttled`` (429 with
        ``Retry-After``) for a request of Django REST framework, and ``ValidationError`` for other
        requests, which forms show. Without a request raise ``PermissionDenied``, which
        ``django.contrib.auth.authenticate`` turns into ``None``.
        """
        _was_refused.set(False)
        if username is None:
            username = kwargs.get(get_user_model().USERNAME_FIELD)
        if username is None or password is None:
            return None
        address = UNKNOWN if request is None else request_address(request)
        keys = _keys(username, address)
        try:
            throttle.peek(*keys)  # so that a guesser that is delayed takes no place in the queue
            with hashing.slot(address):
                throttle.check(*keys)
                return self._authenticate(username, password, keys[-1])
        except RateLimited as refusal:
            error = _too_many_failures(request, int(refusal.details["retry_after"]))
        except hashing.TooManySignIns:
            error = _too_many_sign_ins(request)
        if isinstance(getattr(request, "_request", request), ASGIRequest):
            hashing.delay_refusal()  # in a thread of its own, which under WSGI is a worker
        _was_refused.set(True)
        raise error

    @sensitive_variables()
    async def aauthenticate(self, request: HttpRequest | None, *args: Any, **kwargs: Any) -> Any:
        # ModelBackend's own method would hash in the thread of the caller, without a throttle.
        return await sync_to_async(self.authenticate)(request, *args, **kwargs)

    @sensitive_variables("password")
    def _authenticate(
        self, username: str, password: str, address_key: str
    ) -> AbstractBaseUser | None:
        is_flood = throttle.is_exceeded(address_key)
        try:
            user = get_user_model()._default_manager.get_by_natural_key(username)
        except get_user_model().DoesNotExist:  # takes the same time as for a known name
            if is_flood:  # otherwise each invented name would cost a hash
                hashing.pretend()
            else:
                hashing.run(make_password, password)
            return None
        is_right = _check_password(user, password)
        return user if is_right and self.user_can_authenticate(user) else None


@sensitive_variables()
def _check_password(user: AbstractBaseUser, password: str) -> bool:
    if type(user).check_password is not AbstractBaseUser.check_password:  # the site's own rule
        return user.check_password(password)
    is_right, must_update = hashing.run(verify_password, password, user.password)
    if is_right and must_update:  # once per user, after the site has changed its hashers
        return user.check_password(password)
    return is_right


def _keys(username: str, address: str) -> tuple[str, str, str]:
    # A database may treat several spellings as one name.
    name = unicodedata.normalize("NFKC", username).strip().casefold()
    return f"{address} {name}", f"name:{name}", f"address:{address}"


def _too_many_failures(request: HttpRequest | Request | None, seconds: int) -> Exception:
    if _is_rest(request):
        return _throttled(seconds)
    message = ngettext_lazy(
        "Too many failed attempts. Try again in %(seconds)d second.",
        "Too many failed attempts. Try again in %(seconds)d seconds.",
        "seconds",
    )
    return _refusal(request, message, seconds)


def _too_many_sign_ins(request: HttpRequest | Request | None) -> Exception:
    if _is_rest(request):
        return _throttled(BUSY_SECONDS, gettext("Too many users are signing in at the moment."))
    message = gettext_lazy(
        "Too many users are signing in at the moment. Try again in %(seconds)d seconds."
    )
    return _refusal(request, message, BUSY_SECONDS)


def _is_rest(request: HttpRequest | Request | None) -> TypeGuard[Request]:
    """Return whether Django REST framework, which is optional, has wrapped the request."""
    return hasattr(request, "_request")


def _throttled(seconds: int, detail: str | None = None) -> Exception:
    from rest_framework.exceptions import Throttled

    return Throttled(seconds, detail)


def _refusal(request: HttpRequest | None, message: Any, seconds: int) -> Exception:
    if request is None:
        return PermissionDenied(message % {"seconds": seconds})
    return ValidationError(message, code=RateLimited.code, params={"seconds": seconds})


def _count(*, credentials: dict[str, Any], request: Any = None, **kwargs: Any) -> None:
    """Count a sign-in that all backends have refused."""
    if _was_refused.get():
        _was_refused.set(False)
        return
    username = credentials.get("username") or credentials.get(get_user_model().USERNAME_FIELD)
    if username is not None:
        address = UNKNOWN if request is None else request_address(request)
        throttle.failed(*_keys(str(username), address))


user_login_failed.connect(_count, dispatch_uid="signalling.auth.backends")
