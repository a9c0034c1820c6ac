"""Display names: what they may contain, and which of them look alike."""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress

import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from rooms import names, services
from rooms.exceptions import DisplayNameInvalid
from rooms.models import Room
from tests.conftest import Enter

REAL_NAMES = [
    "Bo",
    "O’Neill-Smith",
    "Anna (Praxis)",
    "Łukasz",
    "Nguyễn Văn Ánh",
    "Ψυχή",
    "שָׁלוֹם",
    "تجربة",
    "می\u200cخواهم",  # a non-joiner between Arabic letters
    "श्री क्\u200dष",  # a joiner after a virama
    "สมชาย ที่ปี้",
    "山田 太郎",
    "葛\U000e0100城",  # a variant of an ideograph
    "👩\u200d💻 👍🏽 ❤\ufe0f 1\ufe0f\u20e3 🇩🇪 🏳\ufe0f\u200d🌈",
    "ℹ\ufe0f ‼\ufe0f 〰\ufe0f",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # the flag of England
    "\U0001fae8",  # an emoji that is newer than the Unicode data of Python 3.11
    "\U0001faff",  # the last that is reserved for emoji
    "\U00016ad0\U00016af0",  # a letter and a tone of Bassa Vah
    "#\ufe0f\u20e3 *\u20e3",
    "<b>x</b> & co",
]


@pytest.mark.parametrize("name", REAL_NAMES)
def test_names_in_all_scripts_are_accepted(name: str) -> None:
    assert names.clean(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("", ""),
        ("Jose\u0301", "Jos\u00e9"),
        ("  Bo \u00a0\u3000 Peep\u2003", "Bo Peep"),
        ("x" * 64, "x" * 64),
        ("e\u0301" * 32, "\u00e9" * 32),
        ("Z\u0302\u0303\u0304\u0305", "\u1e90\u0303\u0304\u0305"),  # four marks
    ],
)
def test_names_are_stored_composed_and_with_single_spaces(name: str, stored: str) -> None:
    assert names.clean(name) == stored
    assert names.clean(stored) == stored


@pytest.mark.parametrize(
    "name",
    [
        "x" * 65,
        "\u0958" * 33,  # 66 characters when composed
        *(" ", "\u3000", "\u00a0\u2003"),  # only spaces
        *("a\x00", "\x1b[31m", "tab\t", "line\n", "\x7f", "\x85", "\u2028", "\u2029"),
        *("\u202eevil", "a\u202ab", "a\u2066b", "\u200e", "a\u061c"),  # direction
        *("\u200b", "a\u200bb", "\ufeff", "\u00ad", "a\u2060b", "\u180e"),  # no width
        *("a\u200cb", "a\u200db", "\u200d", "👩\u200d", "\u200d👩", "م\u200dم"),  # joiners
        "a\u200d👩",
        *("\u034f", "\u115f", "\u1160", "\u17b4", "\u2800", "\u3164", "\uffa0"),  # blank
        *("a\u2800b", "\ufffc", "\U00013441", "\U00016fe4", "\U0001d159"),
        *("a\u0336l\u0336", "a\u0338", "a\u20d2", "a\u20e5", "a\U0001d167"),  # struck out
        *("a\u20dd", "\u0430\u0488", "a\u20e0", "1\u20df"),  # enclosed
        *("a\u20e3", "a\ufe0f\u20e3", "\u20e3", "1\u20e3\u20e3", "1 \u20e3"),  # keycaps
        *("a\ufe0f", "\ufe0f", "1\ufe0fx", "a\U000e0100", "葛\ufe0f"),  # variation selectors
        *(
            "\ue000",
            "\U000f0000",
            "\U000e0041",
            "\ud83d",
            "\u0378",
            "\U0001efff",
            "\ufdd0",
        ),  # unassigned, private
        *("🏴\U000e0067\U000e0062", "🏴\U000e007f", "a\U000e0067\U000e007f"),  # tags
        *("\u0301a", "a \u0301", "e\u0323\u0323", "Z\u0302\u0303\u0304\u0305\u0306"),  # marks
        "Z" + "\u0301" * 63,
    ],
)
def test_names_that_hide_something_are_refused(name: str) -> None:
    with pytest.raises(DisplayNameInvalid) as refused:
        names.clean(name)
    assert refused.value.code == "bad_request"


IGNORABLE = [  # Default_Ignorable_Code_Point, Unicode 17
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810)),
    *(*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0x3164),
    *(*range(0xFE00, 0xFE10), 0xFEFF, 0xFFA0, *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4)),
    *(*range(0x1D173, 0x1D17B), *range(0xE0000, 0xE1000)),
]


def test_ignorable_characters_are_refused_after_letters_that_do_not_need_them() -> None:
    accepted = []
    for char in map(chr, IGNORABLE):
        with suppress(DisplayNameInvalid):
            accepted.append(names.clean(f"a{char}b"))
    assert not accepted


@given(st.text(max_size=80))
def test_what_is_accepted_is_visible_and_stable(name: str) -> None:
    try:
        stored = names.clean(name)
    except DisplayNameInvalid:
        return
    assert names.clean(stored) == stored
    assert bool(stored) == bool(name)
    assert not {unicodedata.category(char) for char in stored} & {"Cc", "Cs", "Co", "Zl", "Zp"}


# --- Names that look alike --------------------------------------------------------------------


def are_alike(one: str, other: str) -> bool:
    """Compare the keys of two names as PROTOCOL.md says."""
    first, second = (names.keys({"username": name}) for name in (one, other))
    return any(
        key.lstrip("(") == another.lstrip("(") and not key.startswith("(") & another.startswith("(")
        for key in first
        for another in second
    )


@pytest.mark.parametrize(
    "name",
    [
        "\u0430lice",  # Cyrillic
        "\u13aalice",  # Cherokee
        *("ALICE", "Alice", "a1ice", "aIice", "al\u0456ce", "аlісе"),
        *("ａｌｉｃｅ", "𝐚𝐥𝐢𝐜𝐞", "ⓐⓛⓘⓒⓔ"),
        *("al\u115fice", "al\ufe0fice"),  # with characters that cannot be seen
        *("alice.", "a l i c e", "~ alice ~", "✓alice"),
        *("Mallory (alice)", "alice (staff)", "[alice]", "(alice", "((alice)"),
        *(
            "Mallory «alice»",
            "Mallory 「alice」",
            "Mallory ‹alice›",
            "Mallory ⟨alice⟩",
            "Bo ⁅alice⁆",
        ),
        *('Mallory "alice"', "Mallory “alice”", "„alice“ Mallory"),
    ],
)
def test_names_that_look_like_alice_share_a_key(name: str) -> None:
    assert are_alike(name, "alice")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mike", "rnike"),
        ("larry", "Iarry"),
        ("bob", "B0B"),
        ("straße", "STRASSE"),
        ("о'dea", "o’dea"),
        ("Anna (she/her)", "Аnna [IT]"),
        ("Bo (she/her) alice", "Tom (alice)"),
    ],
)
def test_names_that_look_alike_share_a_key(one: str, other: str) -> None:
    assert are_alike(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("u08", "u09"), ("alice", "alicia"), ("bob", "rob"), ("!", "?"), ("李", "王")),
        *(("Anna (she/her)", "Maria (she/her)"), ("[IT] Kim", "[IT] Tom")),
        *(("Anna «she»", "Maria «she»"), ("O’Neill", "Neill"), ("O'Neill", "Neill")),
    ],
)
def test_other_names_share_no_key(one: str, other: str) -> None:
    assert not are_alike(one, other)


@pytest.mark.parametrize(
    ("info", "count"),
    [
        ({}, 0),
        ({"username": "bob"}, 1),
        ({"username": "bob", "displayName": ""}, 1),
        ({"username": "bob", "displayName": "Bob"}, 1),
        ({"username": None, "displayName": 5}, 0),
        ({"username": "bob", "displayName": "(" * 64}, 2),
        ({"username": "bob", "displayName": "a1(b2" * 12}, 5),
        ({"username": "a(b(c(d(e(f(g"}, 6),  # the whole and five parts
    ],
)
def test_a_peer_has_few_keys(info: dict[str, object], count: int) -> None:
    keys = names.keys(info)
    assert len(keys) == count
    assert all(re.fullmatch(r"\(?[\w-]{8}", key) for key in keys)


def test_the_keys_of_a_long_name_are_bounded() -> None:
    keys = names.keys({"username": "x(1" * 50_000})
    assert len(keys) <= 12


@given(st.text(max_size=80))
def test_every_name_looks_like_itself(name: str) -> None:
    assert names.keys({"username": name}) == names.keys({"username": name})
    assert names.keys({"username": name}) or not name


def test_skeletons_do_not_change_when_made_again() -> None:
    for char in map(chr, names._prototypes()):
        once = names.skeleton(char)
        assert names.skeleton(once) == once, hex(ord(char))


# --- In the room ------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given_name", "stored"),
    [
        (" Bob\u0301 ", {"displayName": "Bob\u0301"}),
        ("b\u202eob", {"displayName": "bob"}),
        ("x" * 65, {"displayName": "x" * 64}),
        ("Z" + "\u0301" * 9, {}),
    ],
)
def test_a_display_name_of_the_site_is_cleaned_at_the_join(
    room: Room,
    bob: User,
    enter: Enter,
    settings: Settings,
    given_name: str,
    stored: dict[str, str],
) -> None:
    settings.SIGNALLING = {"USER_INFO": "tests.rooms.hooks.full_name"}
    bob.first_name = given_name
    assert enter(bob).participant.user_info == {"username": "bob", **stored}


@pytest.mark.django_db
def test_the_admin_shows_user_and_display_name(
    client: Client, room: Room, bob: User, enter: Enter
) -> None:
    peer = enter(bob).participant
    services.update_participant(peer.peer_id, display_name="<i>alice</i>")
    client.force_login(User.objects.create_superuser("admin"))
    for path in ("", f"{peer.pk}/change/"):
        page = client.get(f"/admin/signalling_rooms/participant/{path}").text
        assert "&lt;i&gt;alice&lt;/i&gt;" in page
        assert ">bob<" in page
