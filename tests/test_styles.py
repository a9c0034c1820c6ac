"""The style sheet of the call page, which other pages may load too."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STYLES = (ROOT / "signalling/static/signalling/page/call.css").read_text()
RULES = re.sub(r"/\*.*?\*/", "", STYLES, flags=re.DOTALL)


def test_every_rule_is_below_one_root() -> None:
    preludes = [prelude.strip() for prelude in re.findall(r"([^{};]+){", RULES)]
    assert len(preludes) > 50
    selectors = [
        selector.strip()
        for prelude in preludes
        if not prelude.startswith("@media")
        for selector in re.split(r",(?![^(]*\))", prelude)
    ]
    root = re.compile(r"(\.signalling|:where\(\.signalling\))(?![\w-])")
    assert [selector for selector in selectors if not root.match(selector)] == []


def test_every_custom_property_has_a_prefix_and_a_value() -> None:
    defined = set(re.findall(r"(--[\w-]+)\s*:", RULES))
    used = set(re.findall(r"var\((--[\w-]+)", RULES))
    assert {name for name in defined if not name.startswith("--signalling-")} == set()
    assert used == defined


def test_the_theme_is_documented() -> None:
    (theme,) = re.findall(r"^:where\(\.signalling\) {(.*?)^}", RULES, re.DOTALL | re.MULTILINE)
    properties = re.findall(r"(--[\w-]+): (.+);", theme)
    documented = re.findall(
        r"^\| `(--signalling-[\w-]+)` \| `(.+?)`",
        (ROOT / "docs/embedding.md").read_text(),
        re.MULTILINE,
    )
    assert documented == properties
