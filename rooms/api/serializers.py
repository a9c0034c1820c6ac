from rest_framework import serializers

from rooms.models import Room


class RoomSerializer(serializers.ModelSerializer[Room]):
    """A room as clients see it before they join. ``participants``: the number of peers now."""

    roomId = serializers.CharField(source="public_id", read_only=True)  # noqa: N815
    participants = serializers.IntegerField(source="live_count", read_only=True, default=0)
    limit = serializers.IntegerField(read_only=True)
    isLocked = serializers.BooleanField(source="is_locked", read_only=True)  # noqa: N815

    class Meta:
        model = Room
        fields = (
            "code", "roomId", "name", "topology", "mode", "participants", "limit", "isLocked",
        )  # fmt: skip
        read_only_fields = fields


class RoomRequestSerializer(serializers.Serializer[None]):
    """The body of a request to open a room. All fields are optional."""

    name = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
    code = serializers.CharField(
        required=False,
        allow_null=True,
        allow_blank=True,
        default=None,
        help_text="3 to 32 letters, digits, - and _. The server generates a code if it is empty.",
    )
    topology = serializers.ChoiceField(
        choices=Room.Topology.choices, required=False, default=Room.Topology.AUTO
    )


class ErrorSerializer(serializers.Serializer[None]):
    """An error response: a stable ``code`` for programs and a ``detail`` for people."""

    code = serializers.CharField()
    detail = serializers.CharField()
