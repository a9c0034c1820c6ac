"""The pages of the call site. Their behaviour is in static/signalling/page/."""

from typing import cast

from django import forms
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import AbstractBaseUser
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_http_methods, require_safe

from rooms import codes, guessing, services
from rooms.addresses import request_address
from rooms.exceptions import RateLimited, RoomError
from rooms.models import Room

from .page_headers import secured

LISTED_ROOMS = 50
"""Rooms on the home page."""


class NewRoomForm(forms.Form):
    """The options of a new room. ``rooms.services`` validates the code."""

    name = forms.CharField(label=_("Name (optional)"), max_length=100, required=False)
    new_code = forms.CharField(
        label=_("Code (optional)"), max_length=codes.MAX_LENGTH, required=False
    )


class CodeForm(forms.Form):
    """The code of a room to join."""

    code = forms.CharField(max_length=codes.MAX_LENGTH)

    def clean_code(self) -> str:
        try:
            return codes.normalise(self.cleaned_data["code"])
        except RoomError as error:
            raise forms.ValidationError(str(error), code=error.code) from error


@secured
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def home(request: HttpRequest) -> HttpResponse:
    """Render the user's rooms, with forms to create and to join one."""
    user = cast(AbstractBaseUser, request.user)
    new_room = NewRoomForm(request.POST or None)
    if new_room.is_valid() and (code := _open_room(new_room, request)):
        return redirect("signalling:call", code=code)
    code_form = CodeForm(request.GET if "code" in request.GET else None)
    if code_form.is_valid():
        return redirect("signalling:call", code=code_form.cleaned_data["code"])
    rooms = Room.objects.hosted_by(user).with_live_counts()[: LISTED_ROOMS + 1]
    has_more = len(rooms) > LISTED_ROOMS
    response = render(
        request,
        "signalling/home.html",
        {
            "rooms": rooms[:LISTED_ROOMS],
            "has_more": has_more,
            "may_create": services.may_create(user),
            "new_room": new_room,
            "code_form": code_form,
        },
        status=400 if new_room.errors or code_form.errors else 200,
    )
    return too_many_requests(response, new_room)


def too_many_requests(response: HttpResponse, form: forms.Form) -> HttpResponse:
    """Set status 429 and ``Retry-After`` if the form was refused because of earlier failures."""
    for error in form.non_field_errors().as_data():
        if error.code == RateLimited.code:
            response.status_code = 429
            response.headers["Retry-After"] = str((error.params or {})["seconds"])
    return response


class LoginView(auth_views.LoginView):
    """Django's ``LoginView``; its response to throttled attempts has status 429."""

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        return too_many_requests(super().form_invalid(form), form)


def _open_room(form: NewRoomForm, request: HttpRequest) -> str | None:
    host = cast(AbstractBaseUser, request.user)
    name, code = form.cleaned_data["name"], form.cleaned_data["new_code"] or None
    try:
        services.check_may_create(host)
        with guessing.throttle_chosen_code(code, user=host, address=request_address(request)):
            room = services.open_room(host=host, name=name, code=code)
    except RateLimited as error:
        params = {"seconds": error.details["retry_after"]}
        form.add_error(None, forms.ValidationError(str(error), error.code, params))
        return None
    except RoomError as error:
        about_code = error.code in {"code_taken", "bad_request"}
        form.add_error("new_code" if about_code else None, str(error))
        return None
    return room.code


@secured
@login_required
@require_safe
def call(request: HttpRequest, code: str) -> HttpResponse:
    """Render the call page. The socket decides who may join, and reports it if the room is missing.

    ``?next=`` in the URL: the page of this site that users return to when they leave the call.
    """
    context = {
        "code": code.upper(),
        "title": _room_name(request, code) or _("Room %(code)s") % {"code": code.upper()},
        "return_url": _return_url(request),
    }
    return render(request, "signalling/call.html", context)


def _room_name(request: HttpRequest, code: str) -> str:
    """Return the name of a room that the user may know of; otherwise an empty string.

    It is a guess at the code: a wrong one counts, and during a delay no name is returned.
    """
    user = cast(AbstractBaseUser, request.user)
    try:
        room = guessing.guess(
            services.find_room, code=code, user=user, address=request_address(request)
        )
    except RoomError:
        return ""
    return room.name


def _return_url(request: HttpRequest) -> str:
    """Return ``?next=`` if it leads to this site; otherwise an empty string."""
    url = request.GET.get("next", "")
    is_safe = url_has_allowed_host_and_scheme(
        url, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return url if is_safe else ""
