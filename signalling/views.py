"""The pages: plain Django views that render what the modules in static/signalling bring to life."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from django import forms
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.templatetags.static import static
from django.views.decorators.http import require_GET, require_http_methods

from rooms import codes, services
from rooms.exceptions import RoomError
from rooms.models import Room

PERMISSIONS_POLICY = "camera=(self), microphone=(self), display-capture=(self)"
View = TypeVar("View", bound=Callable[..., HttpResponseBase])


def secured(view: View) -> View:
    """Let a page load what is ours alone, and let it and nobody it embeds use the devices."""

    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(*args, **kwargs)
        response.headers.setdefault("Content-Security-Policy", _content_security_policy())
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return response

    return cast(View, wrapper)


def _content_security_policy() -> str:
    own = f"'self'{_static_origin()}"
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {own}",
            f"style-src {own}",
            f"img-src {own}",
            "connect-src 'self'",  # CSP 3, 6.7.2.8: ws(s): of the same host and port is 'self' too
            "form-action 'self'",
            "base-uri 'none'",
        )
    )


def _static_origin() -> str:
    parts = urlsplit(static("signalling/page/call.js"))
    return f" {parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""


class NewRoomForm(forms.Form):
    """What a user may choose of a new room; whether the code can be had is the domain's to say."""

    name = forms.CharField(label="Name (optional)", max_length=100, required=False)
    wished_code = forms.CharField(
        label="Code (optional)", max_length=codes.MAX_LENGTH, required=False
    )


class CodeForm(forms.Form):
    """A code that somebody was told."""

    code = forms.CharField(max_length=codes.MAX_LENGTH)

    def clean_code(self) -> str:
        try:
            return codes.normalise(self.cleaned_data["code"])
        except RoomError as refusal:
            raise forms.ValidationError(str(refusal), code=refusal.code) from refusal


@secured
@require_http_methods(["GET", "POST"])
def home(request: HttpRequest) -> HttpResponse:
    """Sign in; or my rooms, a form that opens one, and a form for a code (``?code=``)."""
    if not request.user.is_authenticated:
        return render(request, "signalling/home.html", {"form": AuthenticationForm(request)})
    new_room = NewRoomForm(request.POST or None)
    if new_room.is_valid() and (code := _open_room(new_room, request.user)):
        return redirect("signalling:call", code=code)
    code_form = CodeForm(request.GET if "code" in request.GET else None)
    if code_form.is_valid():
        return redirect("signalling:call", code=code_form.cleaned_data["code"])
    rooms = Room.objects.hosted_by(request.user)
    return render(
        request,
        "signalling/home.html",
        {"rooms": rooms.with_live_counts(), "new_room": new_room, "code_form": code_form},
        status=400 if new_room.errors or code_form.errors else 200,
    )


def _open_room(form: NewRoomForm, host: AbstractBaseUser) -> str | None:
    wished = form.cleaned_data
    try:
        room = services.open_room(
            host=host, name=wished["name"], code=wished["wished_code"] or None
        )
    except RoomError as refusal:
        about_code = refusal.code in {"code_taken", "bad_request"}
        form.add_error("wished_code" if about_code else None, str(refusal))
        return None
    return room.code


@secured
@login_required
@require_GET
def call(request: HttpRequest, code: str) -> HttpResponse:
    """The call page, the same for every code: only the socket knows who may join."""
    return render(request, "signalling/call.html", {"code": code.upper()})
