"""The generated suite: every estimator × configurations × element types × methods × batch sizes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from suite_cases import ROWS, SuiteCase, case_arguments, cases, class_of, only_value
from suite_checks import (
    check_case,
    check_frame,
    check_whole_numbers,
    fit,
    fitted_by_name,
    has_columns,
    rows_for,
    session_for,
)
from suite_data import data
from suite_parameters import REFUSED

from any2onnx.errors import OpsetNotSupported, UnsupportedParameter

SAMPLE = [cases(key)[0] for key in ROWS]
REST = [case for key in ROWS for case in cases(key)[1:]]


def _check(case: SuiteCase) -> None:
    check_case(fitted_by_name(case.key, case.name), case.key, data(case.data), case.name, only=case.only)


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_every_estimator(case: SuiteCase) -> None:
    _check(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", REST, ids=lambda case: case.name)
def test_every_configuration(case: SuiteCase) -> None:
    _check(case)


# Lower case joins characters (StringConcat, opset 20), hashed terms are summed where they meet (ScatterElements, 16).
FIRST_OPSET = {"CountVectorizer": 20, "TfidfVectorizer": 20, "HashingVectorizer": 20, "FeatureHasher": 16}


@pytest.mark.slow
@pytest.mark.parametrize("opset", [13, 18, 28])
@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_every_estimator_at_other_opsets(case: SuiteCase, opset: int) -> None:
    model = fitted_by_name(case.key, case.name)
    first = FIRST_OPSET.get(case.name.partition("-")[0], 13)
    if opset >= first:
        check_case(model, case.key, data(case.data), case.name, opset=opset)
        return
    rows = rows_for(model, data(case.data), np.float32)
    with pytest.raises(OpsetNotSupported, match=f"opset {first}"):
        session_for(model, rows, ["transform"], opset)


COLUMNS = [case for case in SAMPLE if has_columns(data(case.data))]


@pytest.mark.parametrize("case", COLUMNS, ids=lambda case: case.name)
def test_one_input_per_column_of_a_frame(case: SuiteCase) -> None:
    check_frame(case.estimator(), case.key, data(case.data), case.name)


# Whole numbers are at equal distances, of which scikit-learn's search takes any; they are never missing.
NO_INTEGERS = ("Isomap", "LocallyLinearEmbedding", "MissingIndicator")
WHOLE = [case for case in COLUMNS if not case.name.startswith(NO_INTEGERS)]


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.name)
def test_integers_and_bools(case: SuiteCase) -> None:
    model = fitted_by_name(case.key, case.name)
    for dtype in (np.int64, np.int32, np.bool_):
        check_whole_numbers(model, case.key, data(case.data), case.name, dtype)


@pytest.mark.parametrize("key", ROWS)
def test_every_honoured_parameter_has_a_case(key: str) -> None:
    cls = class_of(key)
    exercised = {name for case in cases(key) for name in case.parameters}
    # Where scikit-learn allows a single value, or this version has dropped the parameter, there is nothing to choose.
    exercised |= {name for name in ROWS[key].honours if only_value(cls, name)} | set(REFUSED.get(cls.__name__, ()))
    exercised |= set(case_arguments(key))
    assert sorted(ROWS[key].honours - exercised) == []


@pytest.mark.parametrize(
    ("name", "parameter", "value"),
    [
        (name, parameter, value)
        for name, values in REFUSED.items()
        for parameter, those in values.items()
        for value in those
    ],
    ids=lambda item: getattr(item, "__name__", str(item)),
)
def test_what_cannot_be_converted_is_refused_by_name(name: str, parameter: str, value: Any) -> None:
    (key,) = (key for key in ROWS if key.endswith(f".{name}"))
    case = cases(key)[0]
    changed = dataclasses.replace(case, arguments={**case.arguments, parameter: value})
    model = fitted_for_refusal(changed)
    rows = rows_for(model, data(case.data), np.float32)
    with pytest.raises(UnsupportedParameter, match=parameter):
        session_for(model, rows, [name for name in ROWS[key].methods if hasattr(model, name)][:1])


def fitted_for_refusal(case: SuiteCase) -> Any:
    """Return the fitted estimator; where the parameter is about reading, it is set behind the fit."""
    if "input" in case.arguments:
        usual = dataclasses.replace(case, arguments={k: v for k, v in case.arguments.items() if k != "input"})
        return fit(usual).set_params(input=case.arguments["input"])
    return fit(case)
