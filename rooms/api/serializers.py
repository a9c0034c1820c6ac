from rest_framework import serializers

from rooms.models import Room


class RoomSerializer(serializers.ModelSerializer[Room]):
    """A room as a client sees it before it joins; ``participants`` is the number of peers now."""

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
    """What a client may choose when it opens a room. Both may be left out."""

    name = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
    code = serializers.CharField(
        required=False,
        allow_null=True,
        allow_blank=True,
        default=None,
        help_text="Its form is the domain's to judge; without one a code is made.",
    )
    topology = serializers.ChoiceField(
        choices=Room.Topology.choices, required=False, default=Room.Topology.AUTO
    )


class ErrorSerializer(serializers.Serializer[None]):
    """Every refusal: a stable ``code``, and a ``detail`` for people."""

    code = serializers.CharField()
    detail = serializers.CharField()
