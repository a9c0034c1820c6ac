"""Display names: which characters they may contain, and which names look alike.

User names come from the site and are unique. Display names are chosen by the peers themselves, so
they must not be able to deceive: see Unicode Technical Standard 39 ("Unicode Security Mechanisms").
"""

from __future__ import annotations

import re
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import suppress
from functools import cache, lru_cache, partial
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

from .exceptions import DisplayNameInvalid

MAX_LENGTH = 64
"""Characters (code points) of a display name."""
MAX_MARKS = 4
"""Combining marks in a row."""
MAX_PARTS = 4
"""Brackets at which a name is divided."""
BRACKET = "("
"""Begins the key of a part between brackets."""
BRACKETS = {"Ps", "Pe", "Pi", "Pf"}
"""Categories of brackets and of quotation marks, except those that ``skeleton`` makes straight."""

ZWNJ, ZWJ = "\u200c", "\u200d"
KEYCAP = "\u20e3"
INVISIBLE = frozenset(
    # Default_Ignorable_Code_Point in DerivedCoreProperties.txt of Unicode 17. The others have that
    # property because of their category (Cf, Cn) or are variation selectors.
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"
    # Blank by their names, such as BRAILLE PATTERN BLANK, or placeholders.
    "\u2800\ufffc\U00013441\U00013442\U00016fe4\U0001d159"
)
"""Characters that show nothing although their categories are those of letters, marks, symbols."""
OVERLAY = 1
"""Combining class of marks that strike characters through (Unicode 17, section 4.3)."""
PRESENTED = frozenset("\u203c\u2049\u2139\u3030")
"""Characters that may be shown as emoji although they are no symbols (emoji-variation-sequences)."""
FLAG = "\U0001f3f4"
EMOJI = range(0x1F000, 0x1FB00)
"""Reserved for emoji: one that Python does not know is newer than its Unicode data."""


# --- Characters -------------------------------------------------------------------------------


def clean(name: str) -> str:
    """Return a display name in its stored form: NFC, with single spaces. Empty means none.

    Raise ``DisplayNameInvalid`` unless it has at most 64 characters that are visible: no control,
    format, private-use or unassigned characters, no piles of combining marks, and no marks that
    cover or enclose characters. Joiners, variation selectors and keycaps are accepted where scripts
    and emoji need them.
    """
    text = unicodedata.normalize("NFC", name)
    visible = _FLAGS.sub(FLAG, text)
    if len(text) > MAX_LENGTH or not all(map(partial(_is_allowed, visible), range(len(visible)))):
        raise DisplayNameInvalid
    if _has_piled_marks(unicodedata.normalize("NFD", text)):
        raise DisplayNameInvalid
    stored = " ".join("".join(" " if _kind(char) == " " else char for char in text).split())
    if name and not stored:
        raise DisplayNameInvalid
    return stored


# A flag of a part of a country (UTS 51, ED-14a): a black flag, the code in tags, and a final tag.
_FLAGS = re.compile(f"{FLAG}[\U000e0030-\U000e0039\U000e0061-\U000e007a]{{1,6}}\U000e007f")


def clean_info(info: Any) -> Any:
    """Return the result of ``USER_INFO`` with a display name that ``clean`` accepts.

    The site's users cannot correct its names, so characters that are not allowed are left out, and
    a long name is shortened. A name that is not valid even then is dropped.
    """
    if not isinstance(info, dict) or not isinstance(info.get("displayName"), str):
        return info
    rest = {key: value for key, value in info.items() if key != "displayName"}
    for name in (info["displayName"], _correct(info["displayName"])):
        with suppress(DisplayNameInvalid):
            return {**rest, "displayName": clean(name)}
    return rest


def _correct(name: str) -> str:
    text = unicodedata.normalize("NFC", name[: 4 * MAX_LENGTH])
    visible = (char for index, char in enumerate(text) if _is_allowed(text, index))
    return "".join(visible)[:MAX_LENGTH].strip()


def _has_piled_marks(decomposed: str) -> bool:
    """Return whether marks have no base, are too many, or repeat (UTS 39, section 5.4)."""
    repeats = any(char == after and _kind(char) == "M" for char, after in pairwise(decomposed))
    return repeats or _PILE.search("".join(map(_kind, decomposed))) is not None


_PILE = re.compile(rf"(?:^| )M|M{{{MAX_MARKS + 1}}}")


def _kind(char: str) -> str:
    """Return " " for a space, "M" for a combining mark without width, "." for all others."""
    category = unicodedata.category(char)
    if category == "Zs":
        return " "
    return "M" if category in {"Mn", "Me"} and not _is_selector(char) else "."


def _is_allowed(text: str, index: int) -> bool:
    char = text[index]
    if char in (ZWNJ, ZWJ):
        return _may_join(text, index)
    if _is_selector(char):
        return _may_select(text, index)
    category = unicodedata.category(char)
    if category == "Cn":
        return ord(char) in EMOJI
    if category == "Me":
        return char == KEYCAP and _KEY.search(text[:index]) is not None
    if _is_overlay(char):
        return False
    return category[0] != "C" and category not in {"Zl", "Zp"} and char not in INVISIBLE


_KEY = re.compile(r"[0-9#*]\ufe0f?\Z")
"""What a keycap may enclose (UTS 51, ED-14c)."""


def _is_overlay(char: str) -> bool:
    """Return whether a mark strikes out letters. Tones of Bassa Vah and Vedic have that class too."""
    return unicodedata.combining(char) == OVERLAY and unicodedata.name(char).startswith(
        ("COMBINING ", "MUSICAL SYMBOL ")
    )


def _may_join(text: str, index: int) -> bool:
    """Return whether a joiner changes what is seen (UTS 39, 5.4; RFC 5892, A.1; UTS 51, 2.3)."""
    before, after = text[:index][-1:], text[index + 1 : index + 2]
    if not before or not after:
        return False
    if unicodedata.combining(before) == 9:  # a virama, in the scripts of India
        return True
    if unicodedata.bidirectional(before) == unicodedata.bidirectional(after) == "AL":
        return text[index] == ZWNJ  # Arabic letters that must not be connected, as in Persian
    return text[index] == ZWJ and _is_emoji(before) and _is_emoji(after)


def _may_select(text: str, index: int) -> bool:
    """Return whether a variation selector follows a character that may have variants."""
    before, after = text[:index][-1:], text[index + 1 : index + 2]
    if not before:
        return False
    if text[index] in "\ufe0e\ufe0f":  # shown as text, or as an emoji
        if after == KEYCAP:
            return _KEY.search(before) is not None
        return unicodedata.category(before)[0] == "S" or before in PRESENTED
    return unicodedata.name(before, "").startswith("CJK ")  # variants of ideographs, in names


def _is_emoji(char: str) -> bool:
    category = unicodedata.category(char)
    return category in {"So", "Sk"} or char == "\ufe0f" or ord(char) in EMOJI


def _is_selector(char: str) -> bool:
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


# --- Names that look alike --------------------------------------------------------------------


def keys(info: dict[str, Any]) -> list[str]:
    """Return the keys of a peer's user name and display name; names that look alike share one.

    ``info``: the peer's ``user_info``. The keys are short opaque texts. One that begins with ``(``
    stands for a part between brackets. It is alike with the same key without ``(``, and with no
    other: "Anna (she/her)" and "Maria (she/her)" are not alike.
    """
    names = [info.get("username"), info.get("displayName")]
    found = {key for name in names if name and isinstance(name, str) for key in _keys(name)}
    return sorted(key for key in found if key[0] != BRACKET or key[1:] not in found)


@lru_cache(maxsize=4096)
def _keys(name: str) -> frozenset[str]:
    return frozenset(prefix + _digest(form) for prefix, form in _forms(name[:256]))


def _forms(name: str) -> Iterator[tuple[str, str]]:
    """Yield the forms in which a name is compared, those between brackets with ``BRACKET``.

    Case, spaces and punctuation do not count. So "A1ice", "ALICE" and "alice!" are alike. The parts
    between brackets count as well, since "Mallory (alice)" would pass for a label of alice.
    """
    for text in {name, name.casefold()}:
        whole = skeleton(text).casefold()
        yield "", _letters(whole) or whole
        for number, part in enumerate(_divide(whole)):
            if letters := _letters(part):
                yield BRACKET if number % 2 else "", letters


def _letters(text: str) -> str:
    return "".join(char for char in text if unicodedata.category(char)[0] in "LMN")


def _divide(whole: str) -> list[str]:
    """Divide a skeleton at brackets and double quotation marks."""
    text = whole.replace("''", BRACKET)  # the skeleton of all double quotation marks
    return "".join(BRACKET if _is_bracket(char) else char for char in text).split(
        BRACKET, MAX_PARTS
    )


def _is_bracket(char: str) -> bool:
    return char in "<>" or unicodedata.category(char) in BRACKETS


def skeleton(text: str) -> str:
    """Return the skeleton of a text (UTS 39, section 4): texts that look alike have the same one.

    It is made from NFKD, not NFD, because the table lacks most of the fullwidth letters.
    """
    return _map(text, _prototypes())


def _map(text: str, prototypes: dict[int, str]) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    visible = "".join(char for char in decomposed if not _is_ignorable(char))
    return unicodedata.normalize("NFKD", visible.translate(prototypes))


def _is_ignorable(char: str) -> bool:
    return unicodedata.category(char) == "Cf" or _is_selector(char) or char in INVISIBLE


def _digest(form: str) -> str:
    digest = blake2b(form.encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return urlsafe_b64encode(digest).decode()


@cache
def _prototypes() -> dict[int, str]:
    """Return the characters that look like others, each with the prototype of its class."""
    lines = Path(__file__).with_name("confusables.txt").read_text("utf-8").split("\n")
    pairs = (line.split("\t", 1) for line in lines if line and not line.startswith("# "))
    listed = {ord(char): prototype for prototype, chars in pairs for char in chars}
    # NFKD divides some prototypes into characters that have prototypes themselves.
    return {char: _map(prototype, listed) for char, prototype in listed.items()}
