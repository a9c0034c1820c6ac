"""Rooms, their participants, and the worker processes that serve them.

Database constraints enforce the invariants. ``rooms.services`` has the functions that change rows.
"""

from __future__ import annotations

from datetime import datetime

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from . import choices, codes
from .defaults import default_p2p_limit, default_total_limit, new_peer_id, new_worker_id
from .fields import RoomCodeField
from .liveness import Liveness
from .primary import PrimaryQuerySet
from .querysets import ParticipantQuerySet, RoomQuerySet

MESH_MAX = 10  # every peer in a mesh sends its media to every other peer


class Room(models.Model):
    """A place where peers meet. Users join it by its code."""

    Mode = choices.Mode
    Topology = choices.Topology

    code = RoomCodeField(
        _("code"),
        max_length=codes.MAX_LENGTH,
        unique=True,
        default=codes.new,
        help_text=_("Letters, digits, hyphens and underscores. Not case-sensitive."),
    )
    name = models.CharField(_("name"), max_length=100, blank=True)
    host = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=pgettext_lazy("participant", "host"),
        on_delete=models.SET_NULL,
        related_name="hosted_rooms",
        null=True,
        blank=True,
        help_text=_("The user who created the room. The host can join while it is locked."),
    )
    is_active = models.BooleanField(
        _("active"), default=True, help_text=_("Users cannot join an inactive room.")
    )
    is_locked = models.BooleanField(
        _("locked"), default=False, help_text=_("Only the host can join a locked room.")
    )
    topology = models.CharField(
        _("topology"),
        max_length=4,
        choices=Topology,
        default=Topology.AUTO,
        db_default=Topology.AUTO,  # workers on the previous release insert rows without this column
        help_text=_("How media travels. Without an SFU, every room is a mesh."),
    )
    # The current mode; only ``transitions`` writes it. Each change of mode increments the version.
    mode = models.CharField(_("mode"), max_length=3, choices=Mode, default=Mode.P2P, editable=False)
    mode_version = models.PositiveIntegerField(
        _("mode version"), default=0, db_default=0, editable=False
    )
    # Counts the changes of the roster; only ``rosters`` writes it.
    roster_version = models.PositiveBigIntegerField(default=0, db_default=0, editable=False)
    sfu = models.CharField(
        _("SFU"), max_length=32, blank=True, default="", db_default="", editable=False
    )
    switching_until = models.DateTimeField(_("switching until"), null=True, editable=False)
    no_sfu_before = models.DateTimeField(null=True, editable=False)  # after a failed switch
    small_since = models.DateTimeField(null=True, editable=False)  # small enough for a mesh
    p2p_limit = models.PositiveSmallIntegerField(
        _("mesh limit"),
        default=default_p2p_limit,
        validators=[MinValueValidator(1), MaxValueValidator(MESH_MAX)],
        help_text=_("Maximum number of peers in a mesh, at most 10."),
    )
    total_limit = models.PositiveSmallIntegerField(
        _("total limit"),
        default=default_total_limit,
        validators=[MinValueValidator(1)],
        help_text=_("Maximum number of peers when an SFU serves the room."),
    )
    created_at = models.DateTimeField(_("created at"), default=timezone.now, editable=False)

    objects = RoomQuerySet["Room"].as_manager()

    live_count: int
    """Number of peers now in the room; not a column, only set by ``with_live_counts``."""
    now: datetime
    """When the row was read, by the clock of the database; only set by ``with_now``."""

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
                violation_error_message=_("The mesh limit must be between 1 and 10."),
            ),
            models.CheckConstraint(
                name="signalling_room_total_limit",
                condition=Q(total_limit__gte=F("p2p_limit")),
                violation_error_message=_("The total limit must be at least the mesh limit."),
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.code})" if self.name else self.code

    @property
    def public_id(self) -> str:
        """The room's ``roomId`` on the wire: ``room_`` and the code in lower case."""
        return f"room_{self.code.lower()}"

    @property
    def limit(self) -> int:
        """The maximum number of peers in the current mode."""
        return self.p2p_limit if self.mode == self.Mode.P2P else self.total_limit

    @property
    def is_switching(self) -> bool:
        """Whether peers are connecting to the SFU while the mesh is still in use."""
        return self.switching_until is not None


class Worker(models.Model):
    """A serving process and its lease: until when other processes consider it alive.

    The process renews the lease with one statement per interval, however many sockets it has.
    All times come from the clock of the database server. See ``rooms.leases``.
    """

    id = models.CharField(primary_key=True, max_length=32, default=new_worker_id, editable=False)
    name = models.CharField(_("name"), max_length=200, help_text=_("Host name and process ID."))
    started_at = models.DateTimeField(_("started at"), default=timezone.now, editable=False)
    expires_at = models.DateTimeField(_("lease expires at"), editable=False)
    is_dead = models.BooleanField(default=False, db_default=False, editable=False)

    objects = PrimaryQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        ordering = ("started_at",)

    def __str__(self) -> str:
        return self.name


class Participant(Liveness, models.Model):
    """A membership: one device of one user in one room, from its join to its leave.

    A live participant holds a *seat*. The table guarantees that every live participant has a
    seat from 1, that participants that have left have none, and that no two live participants of
    a room share a seat. ``services.join`` assigns no seat above the room's limit. Together they
    enforce the limit: if two transactions take the same seat, the database rejects the second.

    A *resumable* peer that has lost its socket is *away*: it is live and keeps its seat until
    ``away_until``. ``epoch`` counts its sockets; requests of earlier sockets change nothing.
    See ``rooms.resuming``.
    """

    Role = choices.Role
    SfuState = choices.SfuState
    Reason = choices.LeaveReason

    peer_id = models.CharField(
        _("peer ID"), max_length=40, unique=True, default=new_peer_id, editable=False
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
    # SHA-256 of the current resume token and of the previous one, in case a reply was lost.
    resume_hash = models.CharField(max_length=64, blank=True, db_index=True, editable=False)
    previous_resume_hash = models.CharField(max_length=64, blank=True, editable=False)
    resume_rotated_at = models.DateTimeField(null=True, editable=False)
    has_gap = models.BooleanField(default=False, editable=False)
    held = models.JSONField(null=True, editable=False)  # frames that a retired worker held for it
    user_info = models.JSONField(
        _("user info"), default=dict, encoder=DjangoJSONEncoder, editable=False
    )
    media = models.JSONField(_("media"), default=dict, editable=False)
    # The SFU state that the peer last reported, and the mode version of that report.
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
    # The mode version in which the SFU last had a media connection with the peer.
    sfu_carried_version = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    # Identifies its connections at the SFU, so that it can resume on another worker.
    sfu_claim = models.JSONField(null=True, editable=False)
    joined_at = models.DateTimeField(_("joined at"), default=timezone.now, editable=False)
    left_at = models.DateTimeField(_("left at"), null=True, editable=False)
    reason = models.CharField(
        _("reason"), max_length=12, choices=Reason, blank=True, editable=False
    )

    objects = ParticipantQuerySet["Participant"].as_manager()

    roster_version = 0
    """The roster's version after the change that a signal reports; not a column."""

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
            models.Index(
                name="signalling_live_of_worker",
                fields=["worker"],
                condition=Q(left_at__isnull=True),
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
                # NOT NULL is explicit: a CHECK that evaluates to NULL, as NULL >= 1 does, passes.
                condition=Q(left_at__isnull=True, seat__isnull=False, seat__gte=1)
                | Q(left_at__isnull=False, seat__isnull=True),
            ),
        )

    def __str__(self) -> str:
        who = self.user_info.get("username", self.user_id)
        return _("%(user)s in %(room)s") % {"user": who, "room": self.room_id}

    def receives_through_sfu(self, version: int) -> bool:
        """Return whether the peer reported that it receives media in this mode version."""
        return self.sfu_version == version and self.sfu_state == self.SfuState.RECEIVING
