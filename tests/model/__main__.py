"""Explores the large scopes, and prints their states: ``make model``."""

from __future__ import annotations

import argparse
import logging
import os
import sys

import django


def main() -> int:
    """Return 1 if a scope has a counterexample."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="SCOPE", help="only these scopes")
    parser.add_argument("--states", type=int, default=10_000_000, help="the most states of a scope")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    logging.disable(logging.WARNING)  # of each repair
    from .rules import make_rules
    from .scopes import SCOPES, start
    from .search import explore

    found = 0
    sys.stdout.write(f"{'scope':14} {'states':>9} {'steps':>10} {'depth':>5} {'CPU s':>6}\n")
    for scope in SCOPES:
        if options.names and scope.name not in options.names:
            continue
        rules = make_rules(scope)
        result = explore(rules, start(rules), max_states=options.states)
        extent = "" if result.is_complete else "  (not complete)"
        sys.stdout.write(
            f"{scope.name:14} {result.states:9,} {result.steps:10,} {result.depth:5}"
            f" {result.seconds:6.0f}{extent}\n"
        )
        sys.stdout.flush()
        if result.counterexample is not None:
            found = 1
            sys.stdout.write(f"{result.counterexample}\n")
    return found


if __name__ == "__main__":
    sys.exit(main())
