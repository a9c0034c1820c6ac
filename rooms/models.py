"""Rooms and the people in them. The constraints carry the invariants; see ``services`` for the verbs."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from . import codes
from .conf import conf
from .fields import RoomCodeField
from .querysets import ParticipantQuerySet, RoomQuerySet

MESH_MAX = 10  # the seed's limit: in a mesh everybody sends to everybody


def default_p2p_limit() -> int:
    return conf().p2p_limit


def default_total_limit() -> int:
    return conf().total_limit


def new_peer_id() -> str:
    """Return the public id of one membership: random, 128 bits, never used again."""
    return f"peer_{secrets.token_urlsafe(16)}"


def new_worker_id() -> str:
    """Return the id of one run of one process."""
    return secrets.token_hex(16)


class Room(models.Model):
    """A place where peers meet. Its code is the key to its door."""

    class Mode(models.TextChoices):
        P2P = "p2p", _("mesh")
        SFU = "sfu", _("SFU")

    class Topology(models.TextChoices):
        AUTO = "auto", _("mesh, and through an SFU when it is full")
        MESH = "mesh", _("always a mesh")
        SFU = "sfu", _("through an SFU from the first peer on")

    code = RoomCodeField(
        _("code"),
        max_length=codes.MAX_LENGTH,
        unique=True,
        default=codes.new,
        help_text=_("Letters, digits, - and _; upper and lower case are the same."),
    )
    name = models.CharField(_("name"), max_length=100, blank=True)
    host = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("host"),
        on_delete=models.SET_NULL,
        related_name="hosted_rooms",
        null=True,
        blank=True,
        help_text=_("The creator; may always enter."),
    )
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("A room that is not active lets nobody in.")
    )
    is_locked = models.BooleanField(
        _("locked"), default=False, help_text=_("A locked room lets only its host in.")
    )
    topology = models.CharField(
        _("topology"),
        max_length=4,
        choices=Topology,
        default=Topology.AUTO,
        db_default=Topology.AUTO,  # so that workers of before may go on while others are brought up
        help_text=_("How media travels. Without an SFU every room is a mesh."),
    )
    # How it travels now; written by ``modes`` alone. The version grows with each change of the mode.
    mode = models.CharField(_("mode"), max_length=3, choices=Mode, default=Mode.P2P, editable=False)
    mode_version = models.PositiveIntegerField(
        _("mode version"), default=0, db_default=0, editable=False
    )
    sfu = models.CharField(
        _("SFU"), max_length=32, blank=True, default="", db_default="", editable=False
    )
    switching_until = models.DateTimeField(_("switching until"), null=True, editable=False)
    no_sfu_before = models.DateTimeField(null=True, editable=False)  # the last switch has failed
    small_since = models.DateTimeField(null=True, editable=False)  # for so long a mesh would do
    p2p_limit = models.PositiveSmallIntegerField(
        _("mesh limit"),
        default=default_p2p_limit,
        validators=[MinValueValidator(1), MaxValueValidator(MESH_MAX)],
        help_text=_("Most peers at once when they connect to each other directly; at most 10."),
    )
    total_limit = models.PositiveSmallIntegerField(
        _("total limit"),
        default=default_total_limit,
        validators=[MinValueValidator(1)],
        help_text=_("Most peers at once when an SFU serves the room."),
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)

    objects = RoomQuerySet.as_manager()

    live_count: int
    """The peers in the room now, on rooms from ``with_live_counts``; no column."""

    class Meta:
        verbose_name = _("room")
        verbose_name_plural = _("rooms")
        ordering = ("-created_at", "-pk")
        indexes = (
            models.Index(name="signalling_sfu_rooms", fields=["sfu"], condition=Q(mode="sfu")),
        )
        constraints = (
            models.CheckConstraint(
                name="signalling_room_p2p_limit",
                condition=Q(p2p_limit__gte=1, p2p_limit__lte=MESH_MAX),
                violation_error_message=_("A mesh has 1 to 10 peers."),
            ),
            models.CheckConstraint(
                name="signalling_room_total_limit",
                condition=Q(total_limit__gte=F("p2p_limit")),
                violation_error_message=_("The total limit is at least the mesh limit."),
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.code})" if self.name else self.code

    @property
    def public_id(self) -> str:
        """The wire's ``roomId``."""
        return f"room_{self.code.lower()}"

    @property
    def limit(self) -> int:
        """How many peers may be in the room at once, in its present mode."""
        return self.p2p_limit if self.mode == self.Mode.P2P else self.total_limit

    @property
    def is_switching(self) -> bool:
        """The way to the SFU is being made, beside the mesh."""
        return self.switching_until is not None


class Worker(models.Model):
    """A serving process, and its lease: how long the others take it for alive.

    It is renewed by the process itself, in one statement an interval however many sockets it has; times
    are the database's, so that no two clocks need to agree. See ``rooms.leases``.
    """

    id = models.CharField(primary_key=True, max_length=32, default=new_worker_id, editable=False)
    name = models.CharField(_("name"), max_length=200, help_text=_("Host and process id."))
    started_at = models.DateTimeField(_("started at"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("lease until"), editable=False)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        ordering = ("started_at",)

    def __str__(self) -> str:
        return self.name


class Participant(models.Model):
    """One membership: one device of one user in one room, from its join to its leave.

    While it is live it holds a *seat*. The table's part: a live participant has a seat of 1 or more,
    one who has left has none, and no two live participants of a room have the same. The part of
    ``services.join``: it hands out no seat above the room's limit. Together they are "at most 10",
    whatever two transactions read at once: the second to take a seat is refused by the database.

    A *resumable* peer that has lost its socket is *away*: live, with its seat, until ``away_until``.
    ``epoch`` counts its sockets; what an earlier one asks for changes nothing. See ``rooms.resuming``.
    """

    class Role(models.TextChoices):
        HOST = "host", _("host")
        MEMBER = "member", _("member")

    class SfuState(models.TextChoices):
        RECEIVING = "receiving", _("receiving")
        FAILED = "failed", _("failed")

    class Reason(models.TextChoices):
        LEFT = "left", _("left")
        DISCONNECTED = "disconnected", _("disconnected")
        REMOVED = "removed", _("removed")
        ROOM_CLOSED = "room_closed", _("room closed")
        SERVER_LOST = "server_lost", _("server lost")

    peer_id = models.CharField(
        _("peer id"), max_length=40, unique=True, default=new_peer_id, editable=False
    )
    room = models.ForeignKey(
        Room, verbose_name=_("room"), on_delete=models.CASCADE, related_name="participants"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("user"),
        on_delete=models.CASCADE,
        related_name="room_participations",
    )
    role = models.CharField(_("role"), max_length=6, choices=Role, default=Role.MEMBER)
    seat = models.PositiveSmallIntegerField(_("seat"), null=True, editable=False)
    channel_name = models.CharField(_("channel"), max_length=120, editable=False)
    worker = models.ForeignKey(
        Worker,
        verbose_name=_("worker"),
        on_delete=models.SET_NULL,
        related_name="participants",
        null=True,
        editable=False,
    )
    epoch = models.PositiveIntegerField(_("epoch"), default=0, editable=False)
    away_until = models.DateTimeField(_("away until"), null=True, editable=False)
    # SHA-256 of the token that brings it back, and of the one before, in case the last reply was lost
    resume_hash = models.CharField(max_length=64, blank=True, db_index=True, editable=False)
    previous_resume_hash = models.CharField(max_length=64, blank=True, editable=False)
    resume_rotated_at = models.DateTimeField(null=True, editable=False)
    has_gap = models.BooleanField(default=False, editable=False)
    held = models.JSONField(null=True, editable=False)  # what a worker that ended left for it
    user_info = models.JSONField(
        _("user info"), default=dict, encoder=DjangoJSONEncoder, editable=False
    )
    media = models.JSONField(_("media"), default=dict, editable=False)
    # what it has said of its connections to the SFU, and in which version of the room's mode
    sfu_state = models.CharField(
        _("SFU state"),
        max_length=9,
        choices=SfuState,
        blank=True,
        default="",
        db_default="",
        editable=False,
    )
    sfu_version = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    # where the SFU keeps its connections, for whichever worker it resumes on
    sfu_claim = models.JSONField(null=True, editable=False)
    joined_at = models.DateTimeField(_("joined at"), default=timezone.now, editable=False)
    left_at = models.DateTimeField(_("left at"), null=True, editable=False)
    reason = models.CharField(
        _("reason"), max_length=12, choices=Reason, blank=True, editable=False
    )

    objects = ParticipantQuerySet.as_manager()

    class Meta:
        verbose_name = _("participant")
        verbose_name_plural = _("participants")
        ordering = ("-joined_at", "-pk")
        indexes = (
            models.Index(
                name="signalling_away_until",
                fields=["away_until"],
                condition=Q(left_at__isnull=True, away_until__isnull=False),
            ),
        )
        constraints = (
            models.UniqueConstraint(
                name="signalling_one_peer_per_seat",
                fields=("room", "seat"),
                condition=Q(left_at__isnull=True),
            ),
            models.CheckConstraint(
                name="signalling_live_peer_has_seat",
                # NOT NULL is said too: a CHECK that comes to NULL, as NULL >= 1 does, lets a row pass.
                condition=Q(left_at__isnull=True, seat__isnull=False, seat__gte=1)
                | Q(left_at__isnull=False, seat__isnull=True),
            ),
        )

    def __str__(self) -> str:
        return f"{self.user_info.get('username', self.user_id)} in {self.room_id}"

    @property
    def is_live(self) -> bool:
        return self.left_at is None

    @property
    def is_away(self) -> bool:
        return self.is_live and self.away_until is not None

    def receives_through_sfu(self, version: int) -> bool:
        """Tell whether it has said so, of this version of its room's mode."""
        return self.sfu_version == version and self.sfu_state == self.SfuState.RECEIVING
