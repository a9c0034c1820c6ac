"""Sites with several databases: everything that decides is read from the one that is written to."""

from __future__ import annotations

from collections.abc import Iterator
from time import monotonic

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.backends.db import SessionStore
from django.db import connections, router, transaction
from pytest_django import Settings

from rooms import leases, primary, reconciling, resuming, services, switching
from rooms.models import Participant, Room
from tests.conftest import Enter
from tests.rooms.replicas import add_primary, remove_primary, stale, use_replica

pytestmark = pytest.mark.django_db(databases=["default", "primary"])


@pytest.fixture(scope="module", autouse=True)
def databases(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    add_primary(tmp_path_factory.mktemp("primary"))
    yield
    remove_primary()


@pytest.fixture
def replica(settings: Settings) -> None:
    use_replica(settings)


@pytest.fixture
def people(replica: None) -> tuple[User, User]:
    return User.objects.create_user("alice"), User.objects.create_user("bob")


def test_a_replica_that_is_behind_decides_nothing(people: tuple[User, User], enter: Enter) -> None:
    alice, bob = people
    worker = leases.register_worker()
    room = services.open_room(host=alice, code="TEA")
    first = enter(alice, room, resumable=True, worker_id=worker)
    second = enter(bob, room)
    assert [first.participant.seat, second.participant.seat] == [1, 2]
    assert services.find_room("TEA", bob).live_count == 2
    assert len(services.list_participants("TEA")) == 2
    assert services.update_participant(second.participant.peer_id, display_name="Bob")
    assert len(reconciling.read_rosters(["TEA"])["TEA"].participants) == 2
    assert len(reconciling.read_rows_of_worker(worker)) == 1
    assert [room.live_count for room in reconciling.read_rooms(["TEA"])] == [2]
    assert resuming.mark_away(first.participant.peer_id, epoch=0, lost_at=monotonic())
    resumed = resuming.resume(
        code="TEA",
        user=alice,
        token=str(first.resume_token),
        channel_name="other",
        worker_id=worker,
    )
    assert [other.peer_id for other in resumed.others] == [second.participant.peer_id]
    assert leases.renew(worker)
    assert leases.retire(worker) == 1
    assert switching.find_orphans([second.participant.peer_id]) == {}
    assert services.leave(second.participant.peer_id)
    services.close_room(room)
    assert stale == []


def test_relations_and_the_objects_of_others_are_read_there_within_a_transaction(
    people: tuple[User, User], enter: Enter
) -> None:
    alice, _ = people
    room = services.open_room(host=alice, code="TEA")
    enter(alice, room)
    with primary.atomic():
        found = Participant.objects.get()
        assert found.room.host == alice
        assert not alice.has_perm("signalling_rooms.view_room")
        assert list(Permission.objects.filter(user=alice)) == []
        assert SessionStore("unknown").load() == {}
    assert stale == []
    assert not User.objects.exists()  # the site's own routers decide elsewhere
    assert stale == ["User"]


def test_transactions_and_signals_are_those_of_the_primary(people: tuple[User, User]) -> None:
    with primary.atomic():
        assert connections["primary"].in_atomic_block
        Room.objects.create(code="TEA")
        transaction.set_rollback(True, using="primary")
    assert not Room.objects.exists()


def test_a_router_that_names_no_database_for_writes_keeps_its_reads(
    replica: None, settings: Settings
) -> None:
    class Legacy:
        def db_for_read(self, model: type, **hints: object) -> str:
            return "legacy"

    router.routers = [Legacy()]
    with primary.reads():
        assert router.db_for_read(User) == "legacy"


def test_a_deleted_user_leaves_the_rooms_of_the_primary(
    people: tuple[User, User], enter: Enter
) -> None:
    _, bob = people
    room = services.open_room(host=None, code="TEA")
    enter(bob, room)
    bob.delete()
    assert not Participant.objects.live().exists()


def test_sites_with_one_database_have_no_further_router() -> None:
    with primary.atomic():
        assert router.routers == []
