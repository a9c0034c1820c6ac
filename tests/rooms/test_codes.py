from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from rooms import codes, resuming, services
from rooms.exceptions import CodeInvalid, RoomNotFound
from rooms.models import Room
from tests.rooms import hooks

WORD = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def test_a_generated_code_has_the_right_length_and_alphabet() -> None:
    for _ in range(200):
        code = codes.generate()
        assert len(code) == codes.LENGTH
        assert set(code) <= set(codes.ALPHABET)
        assert codes.normalise(code) == code


def test_a_new_code_comes_from_the_sites_own_function(settings: Settings) -> None:
    assert len(codes.new()) == codes.LENGTH
    settings.SIGNALLING = {"MAKE_CODE": "tests.rooms.hooks.tea"}
    assert codes.new() == "TEA"
    assert Room().code.upper() == "TEA"  # as in the admin form for a new room


def test_the_alphabet_has_no_ambiguous_characters() -> None:
    assert not set(codes.ALPHABET) & set("01ILO")
    assert len(set(codes.ALPHABET)) == len(codes.ALPHABET) == 31


def test_generated_codes_differ() -> None:
    assert len({codes.generate() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("given_code", "normal"),
    [
        ("abc123", "ABC123"),
        ("ABC123", "ABC123"),
        ("  abc123\n", "ABC123"),
        ("tea-time_2", "TEA-TIME_2"),
        ("abc", "ABC"),
        ("a" * 32, "A" * 32),
    ],
)
def test_a_code_is_normalised(given_code: str, normal: str) -> None:
    assert codes.normalise(given_code) == normal


@pytest.mark.parametrize(
    "code",
    [
        "",
        "   ",
        "ab",
        "a" * 33,
        "-abc",
        "abc-",
        "_abc",
        "abc_",
        "a b c",
        "abc\x00",
        "abc!",
        "a/b/c",
        "straße",  # in upper case it would be ASCII
        "\u017f" * 4,  # likewise, letter by letter
        "абв",
        "١٢٣",
    ],
)
def test_a_malformed_code_is_rejected(code: str) -> None:
    with pytest.raises(CodeInvalid):
        codes.normalise(code)


@given(st.text(max_size=40) | st.text(alphabet=WORD + WORD.lower() + "-_", max_size=40))
def test_normalising_is_idempotent_and_ignores_case(code: str) -> None:
    try:
        normal = codes.normalise(code)
    except CodeInvalid:
        return
    assert codes.normalise(normal) == normal
    assert codes.normalise(code.lower()) == normal
    assert 3 <= len(normal) <= codes.MAX_LENGTH
    assert set(normal) <= set(WORD + "-_")
    assert normal[0] in WORD
    assert normal[-1] in WORD


# --- The format of generated codes --------------------------------------------------------------


def test_generated_codes_look_generated_and_names_do_not() -> None:
    assert all(codes.looks_generated(codes.new()) for _ in range(100))
    for name in ("TEA-TIME", "ABC123", "STANDUP", "K7PXM2QRT", "K7PXM2QRTBX", "K7PXM2QRT0"):
        assert not codes.looks_generated(name), name


def test_the_format_follows_the_sites_own_function(settings: Settings) -> None:
    settings.SIGNALLING = {"MAKE_CODE": "tests.rooms.hooks.pin"}
    assert codes.looks_generated("1234")
    assert not codes.looks_generated("K7PXM2QRTB")


@pytest.mark.parametrize("entry", ["join", "resume"])
def test_the_format_is_learnt_from_few_codes_before_the_transaction(
    bob: User, settings: Settings, entry: str
) -> None:
    settings.SIGNALLING = {"MAKE_CODE": "tests.rooms.hooks.recorded_pin"}
    hooks.made.clear()
    arguments: dict[str, Any] = {"code": "1234", "user": bob, "channel_name": "c"}
    entries: dict[str, Callable[[], object]] = {
        "join": partial(services.join, **arguments, peer_id="p"),
        "resume": partial(resuming.resume, **arguments, token="x", worker_id=None),
    }
    with pytest.raises(RoomNotFound):
        entries[entry]()
    assert hooks.made == [len(connection.savepoint_ids)] * 64


def test_the_default_function_is_not_called_for_its_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "generate", lambda: pytest.fail("called"))
    assert codes.looks_generated("K7PXM2QRTB")
    assert not codes.looks_generated("TEA-TIME")
    form = codes.learn_format()
    assert form is not None
    assert form.bits == pytest.approx(10 * math.log2(31))


def test_a_site_may_declare_the_format(settings: Settings) -> None:
    settings.SIGNALLING = {"MAKE_CODE": "tests.rooms.hooks.explode", "CODE_PATTERN": r"\d{4}"}
    assert codes.looks_generated("1234")
    assert not codes.looks_generated("12345")
    assert not codes.looks_generated("TEA-TIME")


def test_every_code_may_be_generated_by_a_function_that_fails(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SIGNALLING = {"MAKE_CODE": "tests.rooms.hooks.explode"}
    assert codes.looks_generated("TEA-TIME")
    assert codes.looks_generated("ABC123")
    assert len(caplog.records) == 1


def test_a_function_that_has_failed_is_asked_again_a_minute_later(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(codes, "monotonic", lambda: now)
    settings.SIGNALLING = {"MAKE_CODE": "tests.rooms.hooks.pin"}
    with monkeypatch.context() as broken:  # it reads the database, for example
        broken.setattr(codes, "new", Mock(side_effect=OperationalError))
        assert codes.learn_format() is None
    now += codes.RETRY_SECONDS - 1
    assert codes.learn_format() is None
    now += 1
    assert codes.looks_generated("1234")
    assert not codes.looks_generated("TEA-TIME")


@pytest.mark.parametrize(
    ("hook", "bits"),
    [
        ("rooms.codes.generate", 10 * math.log2(31)),
        ("tests.rooms.hooks.tea", 0),
        ("tests.rooms.hooks.pin", 4 * math.log2(10)),
        ("tests.rooms.hooks.three_words", 12),  # looks like 14 random characters
    ],
)
def test_the_entropy_is_estimated(settings: Settings, hook: str, bits: float) -> None:
    settings.SIGNALLING = {"MAKE_CODE": hook}
    assert codes.sample(codes.ENTROPY_SAMPLES).bits == pytest.approx(bits, abs=1)


def test_repeated_codes_lower_the_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter([f"{number}{number}X" for number in range(8)] * 2)
    monkeypatch.setattr(codes, "new", lambda: next(made))
    found = codes.sample(16)  # eight codes are repeated: 16² / (2 · 8) codes are expected
    assert (found.bits, found.lengths) == (4, frozenset({3}))
