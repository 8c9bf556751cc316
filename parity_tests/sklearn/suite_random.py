"""Random hyper-parameters: hypothesis strategies from scikit-learn's own `_parameter_constraints`."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from sklearn.utils._param_validation import Interval, make_constraint
from suite_cases import ROWS, SuiteCase, alternatives, base_arguments, class_of, default_data, more_data
from suite_checks import check_methods, fit, methods_of, rows_for
from suite_data import data

from any2onnx.errors import OpsetNotSupported, UnsupportedOperator, UnsupportedParameter

# A configuration may be refused by these, never by another error.
REFUSALS = (UnsupportedParameter, UnsupportedOperator, OpsetNotSupported)
_REALS = (0.0, 1e-9, 1e-3, 0.05, 0.1, 0.3, 0.5, 0.7, 0.95, 1.0, 1.5, 2.0, 3.0, 10.0, 300.0, -0.5, -1.0, -3.0)
_WHOLE = (0, 1, 2, 3, 4, 5, 7, 10, 20, 60)
# What only costs time beyond these.
_LARGEST = {
    "n_estimators": 7,
    "max_iter": 20,
    "n_init": 2,
    "n_restarts_optimizer": 1,
    "max_fun": 20,
    "n_iter": 5,
    "max_doc_update_iter": 20,
    "degree": 4,
    "cv": 3,
    "n_alphas": 5,
    "Cs": 2,
    "max_n_alphas": 20,
}
_ENOUGH = 2_000
# Below these only infinities are left.
_SMALLEST = {"p": 0.4}
# Parameters that are not of interest, of which any value but the default ends the fit, or that let scikit-learn stop
# before its sums are right.
_LEFT_OUT = frozenset(
    [
        "atol",
        "rtol",
        "verbose",
        "n_jobs",
        "memory",
        "random_state",
        "callback",
        "copy",
        "copy_X",
        "copy_x",
        "estimator",
        "estimators",
        "transformers",
        "steps",
        "transformer_list",
        "param_grid",
        "param_distributions",
        "prefit",
        "cv",
        "pre_dispatch",
        "warm_start",
        "max_trials",
    ]
)


def values(cls: type, parameter: str) -> list[Any]:
    """Return values of a parameter to draw from: those of the suite, and numbers that the constraints allow."""
    found = list(alternatives(cls, parameter))
    constraints = getattr(cls, "_parameter_constraints", {}).get(parameter, [])
    for given in constraints if isinstance(constraints, list) else []:
        constraint = make_constraint(given)
        if given is None:
            found.append(None)
        if not isinstance(constraint, Interval):
            continue
        pool: tuple[Any, ...] = _WHOLE if "Integral" in str(constraint.type) else _REALS
        least = _SMALLEST.get(parameter, -np.inf)
        top = _LARGEST.get(parameter, np.inf)
        found += [number for number in pool if least <= number <= top and constraint.is_satisfied_by(number)]
    return found


def configurations(key: str) -> SearchStrategy[SuiteCase]:
    """Return a strategy of configurations of one estimator on one data set."""
    cls = class_of(key)
    pools: Mapping[str, list[Any]] = {
        name: found
        for name in sorted(inspect.signature(cls.__init__).parameters)
        if name not in _LEFT_OUT and (found := values(cls, name))
    }
    # At an offset float32 numbers are on a grid, where neighbours are at equal distances.
    tied = ".neighbors." in key or ".manifold." in key
    # So they are between the whole numbers of images.
    coarse = ("offset", "digits") if tied else ()
    sets = [default_data(cls), *(name for name in more_data(cls) if not name.startswith(coarse))]

    @st.composite
    def configuration(draw: Any) -> SuiteCase:
        names = draw(st.lists(st.sampled_from(sorted(pools)), max_size=4, unique=True)) if pools else []
        arguments = dict(base_arguments(cls))
        for name in names:
            value = draw(st.sampled_from(pools[name]))
            arguments.update(value if isinstance(value, dict) and name in value else {name: value})
        allowed = inspect.signature(cls.__init__).parameters
        if "max_iter" in allowed and allowed["max_iter"].default == -1:
            if arguments.get("gamma") == 0:
                # A kernel that is one number: every decision is a sum that only rounding keeps from 0.
                arguments["gamma"] = 1e-3
            # Without a limit libsvm does not come to an end for some draws.
            arguments.setdefault("max_iter", _ENOUGH)
        arguments = {name: value for name, value in arguments.items() if name in allowed}
        return SuiteCase(f"{cls.__name__}({arguments})", key, arguments, draw(st.sampled_from(sets)), tuple(names))

    return configuration()


def outcome(case: SuiteCase) -> str:
    """Convert one configuration and compare; return what came of it.

    Returns:
        "equal", "refused" by one of `REFUSALS`, or "unfit" where scikit-learn itself refuses the configuration.
    """
    given = data(case.data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = fit(case)
    except Exception:
        return "unfit"
    result = "unfit"
    for dtype in (np.float32, np.float64) if given.floats else (None,):
        rows = rows_for(model, given, dtype)
        wanted, _ = methods_of(case.key, model, rows)
        if not wanted:
            return "unfit"
        try:
            check_methods(model, wanted, rows, f"{case.name} [{case.data}] {dtype}")
        except REFUSALS:
            return "refused"
        result = "equal"
    return result


__all__ = ["REFUSALS", "ROWS", "configurations", "outcome", "values"]
