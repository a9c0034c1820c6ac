"""The REST API: list, open and find rooms. A thin layer over ``services``."""

from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime
from django.utils.timezone import is_aware
from rest_framework import status
from rest_framework.authentication import SessionAuthentication
from rest_framework.exceptions import NotFound
from rest_framework.generics import ListAPIView
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from rooms import guessing, outages, services
from rooms.addresses import request_address
from rooms.exceptions import (
    CodeTaken,
    Forbidden,
    RateLimited,
    RoomClosed,
    RoomError,
    RoomNotFound,
    TooManyRooms,
)
from rooms.models import Room

from .authentication import Authentication
from .outages import unavailable
from .schema import extend_schema
from .serializers import ErrorSerializer, RoomRequestSerializer, RoomSerializer

STATUS = {
    CodeTaken: status.HTTP_409_CONFLICT,
    TooManyRooms: status.HTTP_409_CONFLICT,
    Forbidden: status.HTTP_403_FORBIDDEN,
    RoomNotFound: status.HTTP_404_NOT_FOUND,
    RoomClosed: status.HTTP_410_GONE,
    RateLimited: status.HTTP_429_TOO_MANY_REQUESTS,
}


class RoomErrorMixin(APIView):
    """Respond to a ``RoomError`` with its code, as the WebSocket consumer does.

    Respond with 503 while the database is unavailable, without waiting for it if that is known.

    Clients authenticate as for sockets, whatever the site has in ``REST_FRAMEWORK``.
    """

    authentication_classes = (Authentication, SessionAuthentication)
    permission_classes = (IsAuthenticated,)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        outages.check()
        super().initial(request, *args, **kwargs)

    def handle_exception(self, exc: Exception) -> Response:
        if outages.is_refusal(exc):
            return unavailable()
        if isinstance(exc, RoomError):
            code = STATUS.get(type(exc), status.HTTP_400_BAD_REQUEST)
            wait = exc.details.get("retry_after")
            headers = {"Retry-After": str(wait)} if wait is not None else None
            return Response({"code": exc.code, "detail": str(exc)}, status=code, headers=headers)
        return super().handle_exception(exc)


class RoomPagination(CursorPagination):
    """Pages that need no count and stay stable while rooms are opened."""

    page_size = 50
    ordering = ("-created_at", "-pk")

    def decode_cursor(self, request: Request) -> Cursor | None:
        """Return the cursor in the query. Raise ``NotFound`` unless its position is a time."""
        cursor = super().decode_cursor(request)
        if cursor and cursor.position is not None and not _is_position(str(cursor.position)):
            raise NotFound(self.invalid_cursor_message)
        return cursor


class RoomListView(RoomErrorMixin, ListAPIView[Room]):
    """``GET``: list the open rooms that the user hosts, newest first. ``POST``: open a room."""

    serializer_class = RoomSerializer
    pagination_class = RoomPagination

    def get_queryset(self) -> QuerySet[Room]:
        return Room.objects.hosted_by(self.request.user).with_live_counts()

    @extend_schema(
        request=RoomRequestSerializer,
        responses={
            201: RoomSerializer,
            403: ErrorSerializer,
            409: ErrorSerializer,
            429: ErrorSerializer,
        },
    )
    def post(self, request: Request) -> Response:
        serializer = RoomRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        user, options = _user(request), serializer.validated_data
        services.check_may_create(user)
        with guessing.throttle_chosen_code(
            options["code"], user=user, address=request_address(request)
        ):
            room = services.open_room(host=user, **options)
        return Response(RoomSerializer(room).data, status=status.HTTP_201_CREATED)


class RoomDetailView(RoomErrorMixin):
    """``GET``: return the open room with this code, regardless of case."""

    @extend_schema(
        responses={
            200: RoomSerializer,
            403: ErrorSerializer,
            404: ErrorSerializer,
            410: ErrorSerializer,
            429: ErrorSerializer,
        }
    )
    def get(self, request: Request, code: str) -> Response:
        room = guessing.guess(
            services.find_room, code=code, user=_user(request), address=request_address(request)
        )
        return Response(RoomSerializer(room).data)


def _is_position(text: str) -> bool:
    """Return whether a text is a time, as ``CursorPagination`` writes ``created_at``."""
    try:
        time = parse_datetime(text)
    except ValueError:
        return False
    # The first and the last year leave room for the conversion to another time zone.
    return time is not None and is_aware(time) == settings.USE_TZ and 1 < time.year < 9999


def _user(request: Request) -> AbstractBaseUser:
    return cast(AbstractBaseUser, request.user)  # because of IsAuthenticated
