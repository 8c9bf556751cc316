"""Columns by name: in another order than the model was fitted with, and without those that it does not read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, StandardScaler

from any2onnx import check_parity, convert_sklearn, to_onnx
from any2onnx.data_types import DoubleTensorType
from any2onnx.errors import InvalidType
from any2onnx.parity.boundaries import fitted_positions, refine_signature
from any2onnx.parity.cases import Case
from any2onnx.parity.runtime import OnnxSession, read_onnx
from any2onnx.parity.signature import Signature
from any2onnx.parity.suites import Plan
from any2onnx.parity.suites_tables import boundaries

RNG = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(60), "D"),
        "small": RNG.normal(0, 1, 60),
        "colour": RNG.choice(["red", "green", "blue"], 60),
        "unread": RNG.normal(0, 1, 60),
        "large": RNG.normal(1000, 10, 60),
    }
)
TARGET = FRAME["small"] + FRAME["large"]


def _model() -> Any:
    parts = [
        ("scale", StandardScaler(), ["small", "large"]),
        ("bins", KBinsDiscretizer(3, quantile_method="averaged_inverted_cdf"), ["large"]),
        ("colours", OneHotEncoder(), ["colour"]),
    ]
    return make_pipeline(ColumnTransformer(parts), Ridge()).fit(FRAME, TARGET)


def _signature(proto: Any) -> Signature:
    return Signature.from_ports(OnnxSession(read_onnx(proto)).inputs)


def test_a_column_of_dates_that_nothing_reads_is_no_input() -> None:
    model = _model()
    proto = to_onnx(model, FRAME.head())
    assert [value.name for value in proto.graph.input] == ["small", "colour", "unread", "large"]
    check_parity(model, proto, FRAME).raise_if_failed()
    check_parity(model, proto).raise_if_failed()


def test_a_column_of_dates_that_is_read_is_refused() -> None:
    parts = [("years", OneHotEncoder(), ["when"]), ("scale", StandardScaler(), ["small"])]
    model = ColumnTransformer(parts).fit(FRAME)
    with pytest.raises(InvalidType, match="column 'when' is of type Datetime"):
        to_onnx(model, FRAME.head())


def test_inputs_in_another_order_and_fewer() -> None:
    model = _model()
    names = ["large", "small"]
    numbers = make_pipeline(ColumnTransformer(model.steps[0][1].transformers[:2]), Ridge()).fit(FRAME, TARGET)
    proto = convert_sklearn(numbers, initial_types=[(name, DoubleTensorType([None, 1])) for name in names])
    signature = _signature(proto)
    assert fitted_positions(numbers, signature).tolist() == [4, 1]
    refined = refine_signature(numbers, signature, vector=False)
    pools = {spec.name: np.median(spec.pool) for spec in refined.inputs if spec.pool is not None}
    assert pools["large"] > 900
    assert abs(pools["small"]) < 5
    check_parity(numbers, proto, FRAME).raise_if_failed()
    check_parity(numbers, proto).raise_if_failed()


def test_thresholds_of_columns_in_another_order_are_hit() -> None:
    table = FRAME[["small", "unread", "large"]]
    forest = RandomForestClassifier(3, random_state=0).fit(table, FRAME["large"] > 1000)
    names = ["large", "unread", "small"]
    proto = convert_sklearn(forest, initial_types=[(name, DoubleTensorType([None, 1])) for name in names])
    check_parity(forest, proto).raise_if_failed()
    signature = refine_signature(forest, _signature(proto), vector=False)
    plan = Plan(signature, "scikit-learn", forest, "forest", 0)
    rows = next(case for case in boundaries(plan) if isinstance(case, Case) and case.name == "thresholds")
    for tree in (one.tree_ for one in forest.estimators_):
        for k, name in enumerate(table.columns):
            assert set(tree.threshold[tree.feature == k]) <= set(rows.feeds[name].ravel())
