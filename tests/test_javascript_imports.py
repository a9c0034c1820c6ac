"""The imports of the browser modules, at run time and in types: layers, the public entry, no cycles."""

from __future__ import annotations

import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

STATIC = Path(__file__).resolve().parents[1] / "signalling/static/signalling"
INDEX = "index.js"
PAGE = "page"
# Each package of the library may import from itself and from the ones before it.
LAYERS = ["client", "rtc", "mesh", "sfu", "room"]
# `import … from "./x.js"`, `export … from`, `import "./x.js"`, and the types `import("./x.js").X` and
# `@import {X} from "./x.js"`.
IMPORT = re.compile(r"""\b(?:from|import)\s*\(?\s*["'](\.[^"']+)["']""")


@cache
def imports() -> dict[str, set[str]]:
    """Return the modules that each module imports, as paths below ``STATIC``."""
    return {_name(path): _imports_of(path) for path in STATIC.rglob("*.js")}


def _name(path: Path) -> str:
    return path.relative_to(STATIC).as_posix()


def _imports_of(path: Path) -> set[str]:
    return {_name((path.parent / found).resolve()) for found in IMPORT.findall(path.read_text())}


def package(module: str) -> str:
    return module.partition("/")[0]


def pairs() -> list[tuple[str, str]]:
    return [(module, target) for module, targets in imports().items() for target in targets]


def test_the_pattern_finds_every_form_of_import() -> None:
    source = """
        import {A} from "./a.js"; import "./b.js"; export {C} from "../c.js";
        import {
          D,
        } from "./d.js";
        /** @import {E} from "./e.js" */ /** @typedef {import("./f.js").F} F */
    """
    assert IMPORT.findall(source) == [
        "./a.js",
        "./b.js",
        "../c.js",
        "./d.js",
        "./e.js",
        "./f.js",
    ]


def test_every_import_names_a_module() -> None:
    assert {target for _, target in pairs()} <= imports().keys()


def test_every_module_belongs_to_a_package() -> None:
    assert {package(module) for module in imports()} == {INDEX, PAGE, *LAYERS}


def test_pages_import_the_library_through_its_index_only() -> None:
    of_pages = {target for module, target in pairs() if package(module) == PAGE}
    assert {target for target in of_pages if package(target) != PAGE} == {INDEX}


def test_the_library_does_not_import_pages() -> None:
    assert [pair for pair in pairs() if package(pair[0]) != PAGE and package(pair[1]) == PAGE] == []


@pytest.mark.parametrize("layer", LAYERS)
def test_packages_import_downward_only(layer: str) -> None:
    allowed = set(LAYERS[: LAYERS.index(layer) + 1])
    targets = {target for module, target in pairs() if package(module) == layer}
    assert {target for target in targets if package(target) not in allowed} == set()


def test_there_are_no_import_cycles() -> None:
    TopologicalSorter(imports()).prepare()  # raises CycleError
