"""The protocol between workers keeps its promises in all states of small scopes."""

from __future__ import annotations

import pytest

from .errors import ERRORS, Error
from .rules import Scope, make_rules
from .scopes import QUICK, start
from .search import explore

MAX_STATES = 30_000


@pytest.mark.parametrize("scope", QUICK, ids=lambda scope: f"{scope.name}: {sorted(scope.faults)}")
def test_every_state_of_a_scope_keeps_the_promises(scope: Scope) -> None:
    rules = make_rules(scope)
    result = explore(rules, start(rules))
    assert result.counterexample is None, str(result.counterexample)
    assert result.is_complete


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.name)
def test_an_error_of_design_has_a_counterexample(error: Error) -> None:
    rules = make_rules(error.scope, error.classes, error.design)
    result = explore(rules, start(rules), max_states=MAX_STATES)
    assert result.counterexample is not None
    assert error.violation in result.counterexample.violation
