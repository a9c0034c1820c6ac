from __future__ import annotations

from datetime import datetime
from typing import Any

from django.contrib import admin, messages
from django.contrib.auth import get_permission_codename, get_user_model
from django.db.models import Count, F, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext, pgettext_lazy

from . import services
from .clock import local
from .models import Participant, Room, Worker


class OccupancyFilter(admin.SimpleListFilter):
    """Filter by the annotated number of peers, without a query of its own."""

    title = _("occupancy")
    parameter_name = "occupancy"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("empty", pgettext_lazy("room", "empty")),
            ("in_use", _("in use")),
            ("full", _("full (mesh)")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "empty":
                return queryset.filter(live_count=0)
            case "in_use":
                return queryset.filter(live_count__gt=0)
            case "full":
                return queryset.filter(live_count__gte=F("p2p_limit"), mode=Room.Mode.P2P)
        return queryset


class LiveFilter(admin.SimpleListFilter):
    title = _("status")
    parameter_name = "live"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("yes", _("in the room")),
            ("away", _("in the room, connection lost")),
            ("no", _("has left")),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "yes":
                return queryset.filter(left_at=None)
            case "away":
                return queryset.filter(left_at=None, away_until__isnull=False)
            case "no":
                return queryset.filter(left_at__isnull=False)
        return queryset


@admin.register(Room)
class RoomAdmin(admin.ModelAdmin):
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
    list_filter = ("is_active", "is_locked", "mode", "topology", OccupancyFilter, "created_at")
    list_select_related = ("host",)
    search_fields = ("code", "name")
    raw_id_fields = ("host",)  # works without an admin for the site's user model
    readonly_fields = ("mode", "sfu", "created_at")
    date_hierarchy = "created_at"
    actions = ("close_rooms", "lock_rooms", "unlock_rooms")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Room]:
        return Room.objects.with_live_counts()

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return (*self.search_fields, f"host__{get_user_model().USERNAME_FIELD}")

    def get_readonly_fields(self, request: HttpRequest, obj: Room | None = None) -> tuple[str, ...]:
        # Peers of an open room address it by its code, so the code cannot change.
        return (*self.readonly_fields, "code") if obj else self.readonly_fields

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"host": request.user.pk, **super().get_changeform_initial_data(request)}

    @admin.display(description=_("participants"), ordering="live_count")
    def people(self, room: Room) -> str:
        return f"{room.live_count} / {room.limit}"

    def save_model(self, request: HttpRequest, obj: Room, form: Any, change: bool) -> None:
        """Save the room. Unticking "active" closes it, as the action does."""
        if change and "is_active" in form.changed_data and not obj.is_active:
            services.close_room(obj)
        if change:  # do not overwrite other columns, such as the mode: they may have changed
            obj.save(update_fields=form.changed_data)
        else:
            super().save_model(request, obj, form, change)

    @admin.action(
        description=_("Close selected rooms and disconnect their participants"),
        permissions=["change"],
    )
    def close_rooms(self, request: HttpRequest, queryset: QuerySet[Room]) -> None:
        for room in queryset:
            services.close_room(room)
        self._report(request, len(queryset))

    @admin.action(
        description=_("Lock selected rooms: only the host can join"), permissions=["change"]
    )
    def lock_rooms(self, request: HttpRequest, queryset: QuerySet[Room]) -> None:
        self._set_locked(request, queryset, True)

    @admin.action(description=_("Unlock selected rooms"), permissions=["change"])
    def unlock_rooms(self, request: HttpRequest, queryset: QuerySet[Room]) -> None:
        self._set_locked(request, queryset, False)

    def _set_locked(self, request: HttpRequest, queryset: QuerySet[Room], locked: bool) -> None:
        self._report(request, sum(services.set_locked(room, locked) for room in queryset))

    def _report(self, request: HttpRequest, count: int) -> None:
        text = ngettext("%(count)d room changed.", "%(count)d rooms changed.", count)
        messages.success(request, text % {"count": count})


@admin.register(Participant)
class ParticipantAdmin(admin.ModelAdmin):
    """Memberships, past and present. Only the server writes them, so they are read-only here, but
    an administrator can remove participants."""

    list_display = (
        "user", "display_name", "room", "role", "seat", "live", "joined_at", "left_at", "reason",
    )  # fmt: skip
    list_filter = (LiveFilter, "role", "reason", "joined_at")
    list_select_related = ("user", "room")
    search_fields = ("peer_id", "room__code", "room__name")
    date_hierarchy = "joined_at"
    actions = ("end_memberships",)
    fields = (
        "peer_id", "room", "user", "display_name", "role", "seat", "media", "sfu_state",
        "joined_at", "away", "left_at", "reason", "worker",
    )  # fmt: skip
    readonly_fields = fields

    def get_search_fields(self, request: HttpRequest) -> tuple[str, ...]:
        return (*self.search_fields, f"user__{get_user_model().USERNAME_FIELD}")

    @admin.action(
        description=_("Remove selected participants from their rooms"), permissions=["end"]
    )
    def end_memberships(self, request: HttpRequest, queryset: QuerySet[Participant]) -> None:
        count = sum(services.remove_participant(participant) for participant in queryset)
        text = ngettext("%(count)d membership ended.", "%(count)d memberships ended.", count)
        messages.success(request, text % {"count": count})

    @admin.display(description=_("display name"))
    def display_name(self, participant: Participant) -> str:
        """Return the name that the peer chose. ``user`` says which user that is."""
        return str(participant.user_info.get("displayName", ""))

    @admin.display(description=_("away until"))
    def away(self, participant: Participant) -> datetime | None:
        return local(participant.away_until) if participant.away_until else None

    @admin.display(description=_("in the room"), boolean=True, ordering="left_at")
    def live(self, participant: Participant) -> bool:
        return participant.is_live

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Participant | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Participant | None = None) -> bool:
        """Allow deletion only on the pages of rooms and users, which delete participants too."""
        page = request.resolver_match
        own = f"{self.opts.app_label}_{self.opts.model_name}_"
        if page is None or page.url_name is None or page.url_name.startswith(own):
            return False
        return super().has_delete_permission(request, obj)

    def has_end_permission(self, request: HttpRequest) -> bool:
        codename = get_permission_codename("change", self.opts)
        return request.user.has_perm(f"{self.opts.app_label}.{codename}")


@admin.register(Worker)
class WorkerAdmin(admin.ModelAdmin):
    """Worker processes and their leases. Only the workers write them."""

    list_display = ("name", "started_at", "lease", "people")
    fields = readonly_fields = ("name", "started_at", "lease")

    @admin.display(description=_("lease expires at"), ordering="expires_at")
    def lease(self, worker: Worker) -> datetime:
        return local(worker.expires_at)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Worker]:
        live = Q(participants__left_at=None)
        workers: QuerySet[Worker] = super().get_queryset(request)
        return workers.annotate(live_count=Count("participants", filter=live))

    @admin.display(description=_("participants"), ordering="live_count")
    def people(self, worker: Any) -> int:
        count: int = worker.live_count
        return count

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Worker | None = None) -> bool:
        return False
