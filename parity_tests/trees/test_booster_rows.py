"""The tables of other libraries' estimators: nothing is missing, every constructor parameter is accounted for."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from typing import Any

import catboost
import imblearn.ensemble
import imblearn.pipeline
import lightgbm
import numpy as np
import pytest
import xgboost
from booster_harness import compare
from catboost import CatBoostClassifier, CatBoostRegressor
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tree_harness import run
from xgboost import XGBClassifier, XGBRegressor

from any2onnx.api import convert, framework_of, to_onnx
from any2onnx.converters.sklearn.context import class_key
from any2onnx.errors import NotAModel, NotFitted, UnsupportedParameter
from any2onnx.operator_mappings.coverage import third_party
from any2onnx.operator_mappings.registry import default_registry

RNG = np.random.default_rng(13)
X = RNG.normal(size=(120, 4))
Y = X[:, 0] * 2 + X[:, 1] ** 2
TWO = (Y > 1) * 1
QUIET: dict[str, Any] = {"verbose": 0, "thread_count": 1, "allow_writing_files": False, "iterations": 4}
ROWS = {row.key: row for row in default_registry().rows("sklearn") if not row.key.startswith("sklearn.")}


def models() -> list[Any]:
    return [
        XGBClassifier(n_estimators=4),
        LGBMClassifier(n_estimators=4, min_child_samples=5, verbose=-1),
        CatBoostClassifier(**QUIET),
    ]


def parameters_of(cls: type) -> set[str]:
    """The names that a constructor spells out, its own and those that it hands on by **kwargs."""
    found: set[str] = set()
    for base in cls.__mro__:
        if "__init__" in vars(base) and base is not object:
            own = inspect.signature(base.__init__).parameters
            found |= {n for n, p in own.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
            if not any(p.kind == p.VAR_KEYWORD for p in own.values()):
                break
    return found - {"self"}


@pytest.mark.parametrize("key", [k for k in ROWS if not k.endswith("Booster") and k != "imblearn.pipeline.Pipeline"])
def test_every_constructor_parameter_is_accounted_for(key: str) -> None:
    module, _, name = key.rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    row = ROWS[key]
    assert class_key(cls) == key
    known = row.honours | row.irrelevant
    assert "*" in known or parameters_of(cls) - known == set()
    assert "*" in known or known - {"**", "kwargs", "params"} - parameters_of(cls) == set()
    assert all(hasattr(cls, row.called.get(m, m)) for m in row.methods)


def test_no_estimator_is_missing() -> None:
    public = [getattr(package, name) for package in (xgboost, lightgbm, catboost) for name in package.__all__]
    named = {class_key(c) for c in public if inspect.isclass(c) and hasattr(c, "predict")}
    # Distributed training gives a model of these classes, or of the same Booster.
    named = {key for key in named if ".dask." not in key}
    assert named - set(ROWS) == set()
    sampled = {class_key(getattr(imblearn.ensemble, name)) for name in imblearn.ensemble.__all__}
    assert (sampled | {class_key(imblearn.pipeline.Pipeline)}) - set(ROWS) == set()
    assert {row.name for row in third_party()} == set(ROWS)


def test_the_tables_import_no_library() -> None:
    code = (
        "import sys; from any2onnx.operator_mappings.registry import default_registry; default_registry();"
        "print(sorted({'xgboost', 'lightgbm', 'catboost', 'imblearn', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_not_fitted() -> None:
    for model in models():
        with pytest.raises(NotFitted, match=type(model).__name__):
            to_onnx(model, X)
    with pytest.raises(NotAModel, match="is a class"):
        to_onnx(XGBClassifier, X)


def test_parameters_that_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    model = CatBoostClassifier(**QUIET).fit(X, TWO)
    monkeypatch.setattr(CatBoostClassifier, "get_params", lambda self, deep=True: {"iterations": 4, "tomorrows": 3})
    with pytest.raises(UnsupportedParameter, match="tomorrows=3"):
        to_onnx(model, X)


def test_boosters_are_models() -> None:
    trained = [
        xgboost.train({"max_depth": 3}, xgboost.DMatrix(X, Y), 4),
        lightgbm.train({"verbose": -1}, lightgbm.Dataset(X, Y), 4),
    ]
    for model in trained:
        assert framework_of(model) == "sklearn"
        rows = xgboost.DMatrix(X) if isinstance(model, xgboost.Booster) else X
        proto = convert(model, X)
        assert [o.name for o in proto.graph.output] == ["variable"]
        compare("variable", model.predict(rows)[:, None], run(proto, X)["variable"], 1e-6)


@pytest.mark.parametrize("model", models(), ids=lambda m: type(m).__name__)
def test_outputs_and_options(model: Any) -> None:
    model.fit(X, TWO)
    cls = type(model)
    assert [o.name for o in to_onnx(model, X).graph.output] == ["label", "probabilities"]
    raw = run(to_onnx(model, X, options={cls: {"raw_scores": True}}), X)["probabilities"]
    assert np.array_equal(raw[:, 0], -raw[:, 1])
    assert np.array_equal(raw[:, 1] > 0, model.predict(X) == 1)
    leaves = run(to_onnx(model, X, options={cls: {"decision_leaf": True}}), X)["decision_leaf"]
    assert leaves.shape == (120, 4)
    for precision in ("float32", "float64", "auto"):
        got = run(to_onnx(model, X.astype(np.float32), options={cls: {"precision": precision}}), X.astype(np.float32))
        assert np.abs(got["probabilities"] - model.predict_proba(X.astype(np.float32))).max() < 2e-6
    columns = run(to_onnx(model, X, options={cls: {"zipmap": "columns"}}), X)
    assert len(columns) == 3


@pytest.mark.parametrize("model", models(), ids=lambda m: type(m).__name__)
def test_last_step_of_a_pipeline(model: Any) -> None:
    pipeline = make_pipeline(StandardScaler(), model).fit(X, TWO)
    methods = ("predict", "predict_proba", "decision_function", "apply")
    got = run(to_onnx(pipeline, X, outputs=methods), X)
    scaled = pipeline[:-1].transform(X)
    assert np.array_equal(got["predict"], pipeline.predict(X))
    assert np.abs(got["predict_proba"] - pipeline.predict_proba(X)).max() < 1e-6
    alone = run(to_onnx(model, scaled, outputs=methods), scaled)
    assert np.array_equal(got["apply"], alone["apply"])
    assert np.abs(got["decision_function"] - alone["decision_function"]).max() < 1e-12


def test_inside_other_estimators() -> None:
    named = list(zip("abc", models(), strict=True))
    for outer in (
        VotingClassifier(named, voting="soft"),
        StackingClassifier(named[:2], cv=2),
        BaggingClassifier(models()[1], n_estimators=2, max_features=0.5),
        CalibratedClassifierCV(models()[0], cv=2),
        GridSearchCV(models()[0], {"n_estimators": [2, 3]}, cv=2),
    ):
        outer.fit(X, TWO)
        got = run(to_onnx(outer, X, outputs=("predict", "predict_proba")), X)
        assert np.array_equal(got["predict"], outer.predict(X)), outer
        assert np.abs(got["predict_proba"] - outer.predict_proba(X)).max() < 1e-6, outer
    for outer, target in (
        (VotingRegressor([("a", XGBRegressor(n_estimators=3)), ("b", CatBoostRegressor(**QUIET))]), Y),
        (MultiOutputRegressor(LGBMRegressor(n_estimators=3, verbose=-1)), np.stack([Y, -Y], axis=1)),
        (TransformedTargetRegressor(XGBRegressor(n_estimators=3), func=np.log1p, inverse_func=np.expm1), np.abs(Y)),
    ):
        outer.fit(X, target)
        got = run(to_onnx(outer, X, outputs=("predict",)), X)["predict"]
        compare(type(outer).__name__, outer.predict(X), got, 1e-6)


def test_same_bytes_each_time() -> None:
    for model in models():
        model.fit(X, TWO)
        assert to_onnx(model, X).SerializeToString() == to_onnx(model, X).SerializeToString()
