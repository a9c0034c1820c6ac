"""REST: open a room, or look whether a code is one. Thin over ``services``."""

from typing import Any, cast

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from rooms import services
from rooms.exceptions import CodeTaken, Forbidden, RoomError, RoomNotFound
from rooms.models import Room

from .serializers import ErrorSerializer, RoomRequestSerializer, RoomSerializer

STATUS = {
    CodeTaken: status.HTTP_409_CONFLICT,
    Forbidden: status.HTTP_403_FORBIDDEN,
    RoomNotFound: status.HTTP_404_NOT_FOUND,
}


class RefusalMixin(APIView):
    """Answer a ``RoomError`` with its code, as the socket does."""

    permission_classes = (IsAuthenticated,)

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, RoomError):
            code = STATUS.get(type(exc), status.HTTP_400_BAD_REQUEST)
            return Response({"code": exc.code, "detail": str(exc)}, status=code)
        return super().handle_exception(exc)


class RoomListView(RefusalMixin, ListAPIView[Room]):
    """``GET``: the rooms I host, newest first. ``POST``: open a room."""

    serializer_class = RoomSerializer

    def get_queryset(self) -> QuerySet[Any]:
        # A counting query drops the order of the model.
        mine = Room.objects.filter(host=self.request.user.pk).with_live_counts()
        return mine.order_by("-created_at", "-pk")

    @extend_schema(
        request=RoomRequestSerializer,
        responses={201: RoomSerializer, 403: ErrorSerializer, 409: ErrorSerializer},
    )
    def post(self, request: Request) -> Response:
        wish = RoomRequestSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        user = cast(AbstractBaseUser, request.user)  # IsAuthenticated lets no other in
        room = services.open_room(host=user, **wish.validated_data)
        return Response(RoomSerializer(room).data, status=status.HTTP_201_CREATED)


class RoomDetailView(RefusalMixin):
    """``GET``: the room with this code, in upper or lower case."""

    @extend_schema(responses={200: RoomSerializer, 404: ErrorSerializer})
    def get(self, request: Request, code: str) -> Response:
        return Response(RoomSerializer(services.find_room(code)).data)
