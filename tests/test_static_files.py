"""The browser modules under `collectstatic` with hashed names, in any order of the files.

Django hashes a module again until the hashes of its imports are stable, five times at most. The order
of the files is that of the file system: long chains of imports may need too many passes.
"""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from hashlib import md5
from pathlib import Path

import pytest
from django.core.files.storage import FileSystemStorage

from tests.static_storages import ModuleManifestStorage
from tests.test_javascript_imports import IMPORT, STATIC, imports

HASHED = re.compile(r"\.([0-9a-f]{12})\.js$")
COMMENT = re.compile(
    r"/\*.*?\*/", re.DOTALL
)  # types are imported in comments, by their plain names


def depth(name: str) -> int:
    """Return the length of the longest chain of imports below a module."""
    return max((1 + depth(target) for target in imports().get(name, ())), default=0)


def shuffled(seed: int) -> Callable[[str], float]:
    generator = random.Random(seed)
    return lambda name: generator.random()


ORDERS: dict[str, Callable[[str], float]] = {
    "importers-first": lambda name: -depth(name),
    "imported-first": depth,
    **{f"shuffled-{seed}": shuffled(seed) for seed in range(3)},
}


@pytest.mark.parametrize("order", ORDERS)
def test_modules_are_hashed_in_any_order(tmp_path: Path, order: str) -> None:
    shutil.copytree(STATIC, tmp_path / "signalling")
    files = [path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()]
    source = FileSystemStorage(STATIC.parent)
    paths = {
        f"signalling/{name}": (source, f"signalling/{name}")
        for name in sorted(files, key=ORDERS[order])
    }

    storage = ModuleManifestStorage(location=tmp_path, base_url="/static/")
    processed = list(storage.post_process(paths))
    assert [error for _, _, error in processed if isinstance(error, Exception)] == []

    hashed = [tmp_path / name for _, name, _ in processed if name and HASHED.search(name)]
    assert len(hashed) == len(imports())
    for path in hashed:
        found = HASHED.search(path.name)
        assert found is not None
        assert md5(path.read_bytes()).hexdigest().startswith(found[1])
        for target in IMPORT.findall(COMMENT.sub("", path.read_text())):
            assert HASHED.search(target)
            assert (path.parent / target).is_file()
