"""Decisions: probed on every threshold, and proved node by node from the file; broken files are not proved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    RandomTreesEmbedding,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeRegressor
from tree_harness import OPSETS, compare, convert, expected, methods_of, run
from tree_probes import boundary_rows, sums

from any2onnx.converters.sklearn.tree_source import ensemble_of_estimator
from any2onnx.errors import MalformedFile, NotAModel
from any2onnx.tree_ensemble.prove import prove
from any2onnx.tree_ensemble.read import read_ensembles

RNG = np.random.default_rng(2)
X = RNG.normal(size=(250, 4))
Y = X[:, 0] * X[:, 1] + RNG.normal(size=250) * 0.2
HOLES = np.where(RNG.random(X.shape) < 0.1, np.nan, X)
# Every code from 0 on occurs, so that scikit-learn's own coding keeps them as they are.
CODES = np.where(np.arange(4) == 2, (np.arange(250) % 25)[:, None], X)
CODES_FIRST = [2, 0, 1, 3]
FEW = {"n_estimators": 5, "random_state": 0}
ITER = {"max_iter": 5, "min_samples_leaf": 5, "random_state": 0}
THREE = np.digitize(Y, [-0.3, 0.3])

FAMILIES: dict[str, tuple[Any, Any, Any]] = {
    "tree": (DecisionTreeClassifier(random_state=0), X, THREE),
    "tree_numbers": (DecisionTreeRegressor(max_depth=6, random_state=0), X, np.stack([Y, -Y], axis=1)),
    "extra_tree": (ExtraTreeRegressor(max_leaf_nodes=40, random_state=0), X, Y),
    "forest": (RandomForestRegressor(**FEW), X, Y),
    "forest_missing": (RandomForestRegressor(**FEW), HOLES, Y),
    "forest_pure": (RandomForestClassifier(bootstrap=False, **FEW), X, THREE),
    "forest_binary": (RandomForestClassifier(min_samples_leaf=2, **FEW), X, Y > 0),
    "forest_impure": (ExtraTreesClassifier(min_samples_leaf=2, **FEW), X, THREE),
    "forest_labels": (RandomForestClassifier(**FEW), X, np.stack([Y > 0, Y > 1], axis=1)),
    "extra_trees": (ExtraTreesRegressor(**FEW), X, Y),
    "embedding": (RandomTreesEmbedding(max_depth=4, **FEW), X, None),
    "boosting": (GradientBoostingRegressor(**FEW), X, Y),
    "boosting_classes": (GradientBoostingClassifier(**FEW), X, THREE),
    "histogram": (HistGradientBoostingRegressor(**ITER), X, Y),
    "histogram_missing": (HistGradientBoostingClassifier(**ITER), HOLES, THREE),
    "histogram_codes": (HistGradientBoostingRegressor(categorical_features=[2], **ITER), CODES, Y + CODES[:, 2] % 3),
    "isolation": (IsolationForest(max_features=0.5, **FEW), X, None),
    "votes": (AdaBoostClassifier(**FEW), X, THREE),
    "median": (AdaBoostRegressor(**FEW), X, Y),
}


def fitted(family: str) -> tuple[Any, Any]:
    estimator, rows, y = FAMILIES[family]
    return estimator.fit(rows, y), rows


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_threshold_and_its_neighbours(family: str, opset: Any) -> None:
    estimator, rows = fitted(family)
    e = ensemble_of_estimator(estimator).validate()
    for dtype in (np.float32, np.float64):
        if family == "histogram_codes":
            # scikit-learn's trees see the categorical column first.
            probes = boundary_rows(e, rows[:, CODES_FIRST], dtype)[:, np.argsort(CODES_FIRST)]
        else:
            probes = boundary_rows(e, rows, dtype)
        assert len(probes) >= 3 * len(np.unique(e.threshold)) - 6
        got = run(convert(estimator, probes, opset=opset), probes)
        for method in methods_of(estimator):
            for name, want in expected(estimator, probes, method).items():
                compare(name, want, got[name], dtype == np.float64)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("family", FAMILIES)
def test_proof_from_the_file(family: str, dtype: Any, opset: Any) -> None:
    estimator, rows = fitted(family)
    e = ensemble_of_estimator(estimator)
    proof = prove(e, convert(estimator, rows.astype(dtype), opset=opset))
    assert proof.decides_alike, proof
    assert proof.walks >= 1
    assert proof.tests == proof.walks * np.count_nonzero(~e.is_leaf)
    assert proof.leaves_alike, proof
    if dtype == np.float64:
        assert proof.leaf_error == 0.0
    if family != "histogram_codes":
        assert not [a for a in proof.assumed if "right sums" not in a]


def test_bound_holds() -> None:
    estimator, rows = fitted("boosting")
    e = ensemble_of_estimator(estimator)
    exact = sums(e, rows.astype(np.float32))[:, 0]
    for opset in OPSETS:
        model = convert(estimator, rows.astype(np.float32), ("predict",), opset)
        bound = prove(e, model).sum_bound
        assert bound is not None
        error = np.abs(run(model, rows.astype(np.float32))["predict"] - exact).max()
        assert error <= bound + 2.0**-24 * np.abs(exact).max()


# --- what is broken is found


def tensor(node: onnx.NodeProto, name: str, change: Callable[[Any], Any]) -> None:
    for attribute in node.attribute:
        if attribute.name == name:
            array = change(onnx.numpy_helper.to_array(attribute.t).copy())
            attribute.t.CopyFrom(onnx.numpy_helper.from_array(array))
            return
    raise AssertionError(name)


def ints(node: onnx.NodeProto, name: str, change: Callable[[Any], Any]) -> None:
    for attribute in node.attribute:
        if attribute.name == name:
            values = change(np.array(attribute.ints)).tolist()
            del attribute.ints[:]
            attribute.ints.extend(values)
            return
    raise AssertionError(name)


def swapped(node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        for a, b in (("true", "false"), ("false", "true")):
            if attribute.name.startswith(f"nodes_{a}"):
                attribute.name = attribute.name.replace(a, f"\0{b}")
                break
    for attribute in node.attribute:
        attribute.name = attribute.name.replace("\0", "")


def nudged(array: Any) -> Any:
    array[7] = np.nextafter(array[7], np.inf)
    return array


BREAKS: dict[str, Callable[[onnx.NodeProto], None]] = {
    "threshold one ulp up": lambda n: tensor(n, "nodes_splits", nudged),
    "another column": lambda n: ints(n, "nodes_featureids", lambda a: np.where(np.arange(len(a)) == 5, (a + 1) % 4, a)),
    "branches swapped": swapped,
    "less than": lambda n: tensor(n, "nodes_modes", lambda a: np.where(np.arange(len(a)) == 3, 1, a).astype(np.uint8)),
    "missing the other way": lambda n: ints(n, "nodes_missing_value_tracks_true", lambda a: 1 - a),
    "leaf one ulp up": lambda n: tensor(n, "leaf_weights", nudged),
}


@pytest.mark.parametrize("family", ["forest_missing", "histogram_missing"])
@pytest.mark.parametrize("broken", BREAKS)
def test_a_broken_file_is_not_proved(broken: str, family: str) -> None:
    estimator, rows = fitted(family)
    e = ensemble_of_estimator(estimator)
    model = convert(estimator, rows, ("predict",), 21)
    assert prove(e, model).decides_alike
    BREAKS[broken](next(n for n in model.graph.node if n.op_type == "TreeEnsemble"))
    proof = prove(e, model)
    if broken.startswith("leaf"):
        assert not proof.leaves_alike
        assert proof.leaf_error > 0
    elif broken.startswith("threshold") and family == "forest_missing":
        # float64 neighbours fall on one float32 number: the rows cannot tell them apart.
        assert proof.decides_alike
    else:
        assert not proof.decides_alike, broken
        assert "every row" not in str(proof)
        assert ("only for rows without missing values" in str(proof)) == broken.startswith("missing")
        assert prove(e, model, missing=False).decides_alike == broken.startswith("missing")


@pytest.mark.parametrize("family", ["forest", "histogram"])
def test_nearest_rounding_is_not_proved(family: str) -> None:
    """What random rows cannot see: thresholds rounded to the nearest float32."""
    estimator, rows = fitted(family)
    e = ensemble_of_estimator(estimator)
    model = convert(estimator, rows.astype(np.float32), ("predict",), 21, {"precision": "float32"})
    assert prove(e, model).decides_alike
    node = next(n for n in model.graph.node if n.op_type == "TreeEnsemble")
    thresholds = onnx.numpy_helper.to_array(next(a.t for a in node.attribute if a.name == "nodes_splits"))
    wanted = e.threshold[~e.is_leaf].astype(np.float32)
    # Inner nodes are written in the source's order.
    assert np.any(wanted != thresholds)
    tensor(node, "nodes_splits", lambda _: wanted)
    assert not prove(e, model).decides_alike


def test_rows_must_be_rounded_where_the_source_rounds() -> None:
    estimator, rows = fitted("forest")
    model = convert(estimator, rows, ("predict",), 21)
    first = next(n for n in model.graph.node if n.op_type == "Cast")
    assert onnx.helper.get_node_attr_value(first, "to") == onnx.TensorProto.FLOAT
    first.attribute[0].i = onnx.TensorProto.DOUBLE
    assert "rounded" in str(prove(ensemble_of_estimator(estimator), model))


def test_sets_are_compared() -> None:
    estimator, rows = fitted("histogram_codes")
    model = convert(estimator, rows, ("predict",), 21)
    e = ensemble_of_estimator(estimator)
    assert prove(e, model).decides_alike
    node = next(n for n in model.graph.node if n.op_type == "TreeEnsemble")
    tensor(node, "membership_values", lambda a: np.where(np.arange(len(a)) == 0, a + 1, a))
    assert "sets" in str(prove(e, model))


def test_other_trees_are_not_found() -> None:
    estimator, rows = fitted("forest")
    model = convert(estimator, rows, ("predict",), 21)
    other = ensemble_of_estimator(DecisionTreeRegressor().fit(X, Y))
    assert "no walk" in str(prove(other, model))


def test_malformed_attributes() -> None:
    estimator, rows = fitted("forest")
    model = convert(estimator, rows, ("predict",), 21)
    node = next(n for n in model.graph.node if n.op_type == "TreeEnsemble")
    ints(node, "nodes_truenodeids", lambda a: a + 10**6)
    with pytest.raises(MalformedFile, match="child does not exist"):
        read_ensembles(model)


def test_not_an_estimator_of_trees() -> None:
    with pytest.raises(NotAModel, match="no estimator of trees"):
        ensemble_of_estimator(object())
