from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from rooms.exceptions import CodeInvalid
from rooms.models import Room

pytestmark = pytest.mark.django_db


def test_a_code_is_stored_in_upper_case() -> None:
    room = Room(code=" tea-time ")
    room.save()
    assert room.code == "TEA-TIME"
    room.refresh_from_db()
    assert room.code == "TEA-TIME"


@pytest.mark.parametrize("asked", ["tea", "TEA", "Tea", " tea "])
def test_a_code_is_looked_up_in_any_case(asked: str) -> None:
    room = Room.objects.create(code="TEA")
    assert Room.objects.get(code=asked) == room
    assert Room.objects.get(code__in=[asked]) == room


def test_a_part_of_a_code_is_looked_up_in_any_case() -> None:
    Room.objects.create(code="TEA")
    assert Room.objects.filter(code__contains="ea").exists()


def test_cleaning_normalises_a_code() -> None:
    room = Room(code="tea")
    room.full_clean()
    assert room.code == "TEA"


@pytest.mark.parametrize("code", ["", "ab", "no way", "-tea-", "té-té", None, 12])
def test_cleaning_rejects_a_malformed_code(code: str) -> None:
    with pytest.raises(ValidationError) as error:
        Room(code=code).full_clean()
    assert list(error.value.message_dict) == ["code"]


def test_codes_that_differ_only_in_case_are_equal() -> None:
    Room.objects.create(code="TEA")
    with pytest.raises(ValidationError, match="already exists"):
        Room(code="tea").full_clean()


@pytest.mark.parametrize("code", ["no way", "", "straße", "-tea"])
def test_no_method_saves_a_malformed_code(code: str) -> None:
    room = Room.objects.create(code="TEA")
    with pytest.raises(CodeInvalid):
        Room.objects.create(code=code)
    with pytest.raises(CodeInvalid):
        Room.objects.bulk_create([Room(code=code)])
    with pytest.raises(CodeInvalid):
        Room.objects.update(code=code)
    room.code = code
    with pytest.raises(CodeInvalid):
        Room.objects.bulk_update([room], ["code"])


def test_update_normalises_a_code() -> None:
    Room.objects.create(code="TEA")
    Room.objects.update(code=" milk ")
    assert Room.objects.get().code == "MILK"


def test_a_lookup_with_non_ascii_text_finds_nothing() -> None:
    Room.objects.create(code="STRASSE")
    assert not Room.objects.filter(code="straße").exists()
