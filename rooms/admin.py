from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from . import services
from .models import Participant, Room

if TYPE_CHECKING:  # generic for the type checker alone
    RoomModelAdmin = admin.ModelAdmin[Room]
    ParticipantModelAdmin = admin.ModelAdmin[Participant]
else:
    RoomModelAdmin = ParticipantModelAdmin = admin.ModelAdmin


class OccupancyFilter(admin.SimpleListFilter):
    """Empty, in use or full: filters on the annotated count, so it costs no query of its own."""

    title = _("occupancy")
    parameter_name = "occupancy"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("empty", _("empty")), ("in_use", _("in use")), ("full", _("full (mesh)"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "empty":
                return queryset.filter(live_count=0)
            case "in_use":
                return queryset.filter(live_count__gt=0)
            case "full":
                return queryset.filter(live_count__gte=F("p2p_limit"))
        return queryset


class LiveFilter(admin.SimpleListFilter):
    title = _("presence")
    parameter_name = "live"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("in the room")), ("no", _("has left"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None:
            return queryset
        return queryset.filter(left_at__isnull=self.value() == "yes")


@admin.register(Room)
class RoomAdmin(RoomModelAdmin):
    list_display = (
        "code",
        "name",
        "host",
        "people",
        "mode",
        "is_active",
        "is_locked",
        "created_at",
    )
    list_filter = ("is_active", "is_locked", "mode", OccupancyFilter, "created_at")
    list_select_related = ("host",)
    search_fields = ("code", "name", "host__username")
    autocomplete_fields = ("host",)
    readonly_fields = ("mode", "created_at")
    date_hierarchy = "created_at"
    actions = ("close_rooms", "lock_rooms", "unlock_rooms")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Room]:
        return super().get_queryset(request).with_live_counts()  # type: ignore[attr-defined, no-any-return]

    def get_readonly_fields(self, request: HttpRequest, obj: Room | None = None) -> tuple[str, ...]:
        # The people in a room reach each other under its code, so a room keeps it.
        return (*self.readonly_fields, "code") if obj else self.readonly_fields

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"host": request.user.pk, **super().get_changeform_initial_data(request)}

    @admin.display(description=_("people"), ordering="live_count")
    def people(self, room: Any) -> str:
        return f"{room.live_count} / {room.limit}"

    def save_model(self, request: HttpRequest, obj: Room, form: Any, change: bool) -> None:
        """Taking the tick off "active" closes the room as the action does: its people are told."""
        closes = change and "is_active" in form.changed_data and not obj.is_active
        if closes:
            obj.is_active = True
        super().save_model(request, obj, form, change)
        if closes:
            services.close_room(obj)

    @admin.action(
        description=_("Close: send everybody home and let nobody in"), permissions=["change"]
    )
    def close_rooms(self, request: HttpRequest, queryset: QuerySet[Room]) -> None:
        for room in queryset:
            services.close_room(room)
        self._report(request, len(queryset))

    @admin.action(description=_("Lock: let in nobody but the host"), permissions=["change"])
    def lock_rooms(self, request: HttpRequest, queryset: QuerySet[Room]) -> None:
        self._set_locked(request, queryset, True)

    @admin.action(description=_("Unlock"), permissions=["change"])
    def unlock_rooms(self, request: HttpRequest, queryset: QuerySet[Room]) -> None:
        self._set_locked(request, queryset, False)

    def _set_locked(self, request: HttpRequest, queryset: QuerySet[Room], locked: bool) -> None:
        # The annotation of the list cannot be updated through, hence the fresh queryset.
        chosen = Room.objects.filter(pk__in=[room.pk for room in queryset])
        self._report(request, chosen.update(is_locked=locked))

    def _report(self, request: HttpRequest, count: int) -> None:
        text = ngettext("%(count)d room changed.", "%(count)d rooms changed.", count)
        messages.success(request, text % {"count": count})


@admin.register(Participant)
class ParticipantAdmin(ParticipantModelAdmin):
    """A record of who was where: written by the server alone, so read only here."""

    list_display = ("user", "room", "role", "seat", "live", "joined_at", "left_at", "reason")
    list_filter = (LiveFilter, "role", "reason", "joined_at")
    list_select_related = ("user", "room")
    search_fields = ("peer_id", "user__username", "room__code", "room__name")
    date_hierarchy = "joined_at"
    fields = (
        "peer_id", "room", "user", "role", "seat", "media", "joined_at", "left_at", "reason",
    )  # fmt: skip
    readonly_fields = fields

    @admin.display(description=_("in the room"), boolean=True, ordering="left_at")
    def live(self, participant: Participant) -> bool:
        return participant.is_live

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Participant | None = None) -> bool:
        return False
