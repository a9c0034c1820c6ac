"""Break the rules of rooms, peers, throttling and authentication; report what no unit test notices.

    .venv/bin/python -m scripts.mutants [MODULE…]

cosmic-ray changes one operator, number or condition at a time, in a copy of the repository, and runs
the tests that ``tests/mutants.toml`` names for the module. A mutant that passes them has survived:
write a test that fails, or the reason why none has to, in the same file.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv/bin"
COPY = ROOT / ".mutants"
CONFIGURATION = """
[cosmic-ray]
module-path = "{module}"
timeout = 120.0
excluded-modules = []
test-command = "nice -n 19 {python} -m pytest -q -x -p no:cacheprovider -p no:randomly {tests}"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = {excluded}
"""
EXCLUDED = [
    # "|" is nearly always in a type.
    "core/ReplaceBinaryOperator_BitOr_.*",
    "core/ReplaceBinaryOperator_.*_(Add|Mod|Pow|Div|[LR]Shift|Bit.*)",
    # One operator next to each comparison, and its opposite, are enough.
    "core/ReplaceComparisonOperator_.*_Is(Not)?",
    "core/ReplaceComparisonOperator_(Is|IsNot|Eq|NotEq)_(Lt|LtE|Gt|GtE)",
    "core/ReplaceComparisonOperator_(Is|IsNot)_(Eq|NotEq)",
    "core/ReplaceComparisonOperator_(Lt|LtE|Gt|GtE)_(Eq|NotEq)",
    "core/ReplaceComparisonOperator_Lt_Gt",
    "core/ReplaceComparisonOperator_LtE_GtE",
    "core/ReplaceComparisonOperator_Gt_Lt",
    "core/ReplaceComparisonOperator_GtE_LtE",
    "core/ReplaceUnaryOperator_.*_(UAdd|Invert)",
    "core/RemoveDecorator",
    "core/Variable.*",
]


def copy_repository() -> None:
    shutil.rmtree(COPY, ignore_errors=True)
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file():
            (COPY / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, COPY / name)


def survivors(module: str, tests: list[str]) -> tuple[int, list[tuple[str, str]]]:
    """Return the number of mutants, and the lines that survivors replace with their replacements."""
    configuration, session = COPY / "cosmic-ray.toml", COPY / "session.sqlite"
    configuration.write_text(
        CONFIGURATION.format(
            module=module,
            python=BIN / "python",
            tests=" ".join(tests),
            excluded=json.dumps(EXCLUDED),
        )
    )
    session.unlink(missing_ok=True)
    run("cosmic-ray", "baseline", configuration.name)
    run("cosmic-ray", "init", configuration.name, session.name)
    run("cr-filter-operators", session.name, configuration.name)
    run("cosmic-ray", "exec", configuration.name, session.name)
    dumped = run("cosmic-ray", "dump", session.name)
    results: list[Any] = [json.loads(line)[1] for line in dumped.splitlines()]
    tried = [result for result in results if result and result["worker_outcome"] == "normal"]
    alive = [result["diff"] for result in tried if result["test_outcome"] == "survived"]
    return len(tried), [changed_line(diff) for diff in alive]


def run(program: str, *arguments: str) -> str:
    """Run a program of cosmic-ray in the copy and return its output."""
    command = [str(BIN / program), *arguments]
    done = subprocess.run(command, cwd=COPY, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}")
    return done.stdout


def changed_line(diff: str) -> tuple[str, str]:
    lines = diff.splitlines()
    was = [line[1:].strip() for line in lines if line.startswith("-") and line[:3] != "---"]
    becomes = [line[1:].strip() for line in lines if line.startswith("+") and line[:3] != "+++"]
    return " ".join(was), " ".join(becomes)


def is_known(survivors: list[dict[str, str]], module: str, was: str, becomes: str) -> bool:
    """Return whether a reason is known why no test has to notice this change."""
    return any(
        each.get("module", module) == module
        and each.get("was", was) == was
        and each.get("becomes", becomes) == becomes
        and re.search(each.get("line", ""), was)
        for each in survivors
    )


def main() -> None:
    known = tomllib.loads((ROOT / "tests/mutants.toml").read_text())
    copy_repository()
    unexplained = 0
    for module in sys.argv[1:] or known["tests"]:
        count, alive = survivors(module, known["tests"][module])
        new = [lines for lines in alive if not is_known(known["survivor"], module, *lines)]
        unexplained += len(new)
        print(f"{module}: {count} mutants, {len(alive)} survived, {len(new)} without a reason")
        for was, becomes in new:
            print(f"    {was}\n    → {becomes}", flush=True)
    sys.exit(f"{unexplained} mutants survived without a reason" if unexplained else 0)


if __name__ == "__main__":
    main()
