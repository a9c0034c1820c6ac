"""Write rooms/confusables.txt, the table of characters that look alike (UTS 39, section 4).

    pip download --no-deps confusable-homoglyphs==3.3.1
    unzip -p confusable_homoglyphs-3.3.1-*.whl confusable_homoglyphs/confusables.json > all.json
    python scripts/confusables.py all.json > rooms/confusables.txt

The package confusable-homoglyphs (MIT licence) has Unicode's confusables.txt, version 15.1, as JSON:
each text with the texts that look like it, in both directions. This script restores the direction,
from a character to the *prototype* of its class.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections import defaultdict

MARKS = "\u200e\u200f"  # directional marks in the comments of confusables.txt

HEADER = """\
# Characters that look alike: the prototype of each class, a tab, the characters that map to it.
# Made by scripts/confusables.py from Unicode's confusables.txt 15.1 (UTS 39), which is
# © 2023 Unicode, Inc.; see https://www.unicode.org/terms_of_use.html
"""


def main(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        loaded = json.load(file)
    alike: dict[str, set[str]] = defaultdict(set)
    for text, entries in loaded.items():
        for entry in entries:
            one, other = text.strip(MARKS), entry["c"].strip(MARKS)
            if one and other and one != other:
                alike[one].add(other)
                alike[other].add(one)
    classes: dict[str, list[str]] = defaultdict(list)
    for text in alike:
        prototype = prototype_of(text, alike)
        if len(text) == 1 and text != prototype and not is_decomposed(text):
            classes[prototype].append(text)
    sys.stdout.write(HEADER)
    for prototype in sorted(classes):
        sys.stdout.write(f"{prototype}\t{''.join(sorted(classes[prototype]))}\n")


def prototype_of(text: str, alike: dict[str, set[str]]) -> str:
    """Return the text of a class that all others map to: the one with the most neighbours."""
    members, waiting = {text}, [text]
    while waiting:
        found = alike[waiting.pop()] - members
        members |= found
        waiting += found
    return min(members, key=lambda member: (-len(alike[member]), -len(member), member))


def is_decomposed(text: str) -> bool:
    """Return whether NFD changes a character: the skeleton is made of the result."""
    return unicodedata.normalize("NFD", text) != text


if __name__ == "__main__":
    main(sys.argv[1])
