"""Choices of model fields, with labels for the admin."""

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class Mode(models.TextChoices):
    """How the media of a room travels now."""

    P2P = "p2p", _("mesh")
    SFU = "sfu", _("SFU")


class Topology(models.TextChoices):
    """How the media of a room may travel."""

    AUTO = "auto", _("mesh, and an SFU when the mesh is full")
    MESH = "mesh", _("always a mesh")
    SFU = "sfu", _("SFU from the first peer")


class Role(models.TextChoices):
    """The role of a participant in its room."""

    HOST = "host", pgettext_lazy("participant", "host")
    MEMBER = "member", pgettext_lazy("participant", "member")


class SfuState(models.TextChoices):
    """The state of a participant's connections to the SFU, as the participant reports it."""

    RECEIVING = "receiving", _("receiving")
    FAILED = "failed", _("failed")


class LeaveReason(models.TextChoices):
    """Why a membership ended."""

    LEFT = "left", pgettext_lazy("participant", "left")
    DISCONNECTED = "disconnected", _("disconnected")
    REMOVED = "removed", _("removed")
    EVICTED = "evicted", _("gave the seat to the host")
    ROOM_CLOSED = "room_closed", _("room closed")
    SERVER_LOST = "server_lost", _("server lost")
