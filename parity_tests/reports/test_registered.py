"""Parity cases of everything that is registered: each row has one, and a sample of them is compared."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from any2onnx.errors import UnknownOption
from any2onnx.operator_mappings.registry import default_registry
from any2onnx.parity import check_parity
from any2onnx.pytest_plugin import parametrize_with_parity
from any2onnx.registered import CannotBuild, ParityCase, registered_cases
from any2onnx.registered_keras import keras_model

# Rankers want groups, base classes want an objective or data, wrappers what they wrap.
NOT_FITTED = {f"sklearn/{name}" for name in ("Booster", "CatBoostRanker", "LGBMModel", "LGBMRanker", "XGBRanker")}
NOT_FITTED |= {"sklearn/CastRegressor", "sklearn/WOETransformer"}
NO_TABLE = {"sklearn/DictVectorizer", "sklearn/FeatureHasher", "sklearn/MultiLabelBinarizer", "sklearn/PatchExtractor"}
# What these need is not there under TensorFlow, or not among what the tests install.
NOT_BUILT = {"keras/TorchModuleWrapper": "under the backend torch", "keras/FlaxLayer": "Flax is not installed"}
SAMPLE = (
    "sklearn/StandardScaler",
    "sklearn/OneHotEncoder",
    "sklearn/TfidfVectorizer",
    "sklearn/DecisionTreeClassifier[depth]",
    "sklearn/MultiTaskLasso",
    "sklearn/FrozenEstimator",
    "sklearn/LatentDirichletAllocation",
    "sklearn/SparsePCA",
    "keras/Dense",
    "keras/GRU",
    "keras/AdaptiveAveragePooling2D",
    "keras/ContrastLimitedAdaptiveHistogramEqualization",
    "keras/ConvLSTM1D",
    "keras/Equalization",
    "keras/GRUCell",
    "keras/MelSpectrogram",
    "keras/MultiHeadAttention",
    "keras/TextVectorization",
)
TORCH_SAMPLE = ("torch/softmax", "torch/bucketize", "torch/cumsum")
LISTED = [case for framework in ("sklearn", "keras") for case in registered_cases(framework)]


def test_every_convertible_estimator_and_layer_has_a_case():
    names = {case.id for case in registered_cases("sklearn")} | {case.id for case in registered_cases("keras")}
    rows = default_registry().rows("sklearn")
    for row in rows:
        name = row.key.rpartition(".")[2]
        if not row.refused and not name.startswith("_"):
            assert f"sklearn/{name}" in names
            assert all(f"sklearn/{name}[{case.name}]" in names for case in row.cases)
    for row in default_registry().rows("keras"):
        if row.key.startswith("keras.layers.") and not row.refused:
            assert f"keras/{row.key.rpartition('.')[2]}" in names


def test_ids_are_unique_and_frameworks_are_known():
    ids = [case.id for case in registered_cases()]
    assert len(ids) == len(set(ids))
    assert {name.partition("/")[0] for name in ids} == {"sklearn", "keras", "torch"}
    with pytest.raises(UnknownOption, match="did you mean 'keras'"):
        registered_cases("kears")


def test_listing_imports_no_framework():
    code = (
        "import sys; from any2onnx.registered import registered_cases as r; r('sklearn'); r('keras');"
        "bad = {'sklearn', 'keras', 'torch', 'tensorflow'} & set(sys.modules); sys.exit(str(bad) if bad else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def smoke(*parts, **arguments):
    return check_parity(*parts, **{"suites": "smoke", **arguments}).raise_if_failed()


@parametrize_with_parity([case for case in LISTED if case.id in SAMPLE])
def test_a_sample(parity_case: ParityCase):
    parity_case.check(smoke)


def test_a_sample_of_operators():
    cases = {case.id: case for case in registered_cases("torch")}
    for name in TORCH_SAMPLE:
        cases[name].check(smoke)


def test_the_sample_exists():
    assert set(SAMPLE) <= {case.id for case in LISTED}


@pytest.mark.slow
@parametrize_with_parity([case for case in LISTED if case.id.startswith("sklearn/") and case.id not in NO_TABLE])
def test_every_estimator(parity_case: ParityCase):
    if parity_case.id in NOT_FITTED:
        with pytest.raises(CannotBuild):
            parity_case.build()
    else:
        parity_case.check(smoke)


@pytest.mark.slow
@parametrize_with_parity([case for case in LISTED if case.id.startswith("keras/") and case.id not in NOT_BUILT])
def test_every_layer(parity_case: ParityCase):
    parity_case.check(smoke)


def test_every_layer_has_a_recipe():
    """Keras itself builds a model of each; the one that needs another backend says so."""
    for case in registered_cases("keras"):
        name = case.id.partition("/")[2]
        if case.id in NOT_BUILT:
            with pytest.raises(CannotBuild, match=NOT_BUILT[case.id]):
                keras_model(name)
        else:
            assert keras_model(name).outputs


def test_a_layer_of_another_backend():
    code = """
from any2onnx.parity import check_parity
from any2onnx.registered import registered_cases
case = {case.id: case for case in registered_cases("keras")}["keras/TorchModuleWrapper"]
report = check_parity(*case.build(), suites="smoke").raise_if_failed()
assert report.count("passed") > 3
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "KERAS_BACKEND": "torch"})


def test_a_layer_that_nothing_fits_says_why(monkeypatch):
    import keras

    class Wants(keras.layers.Layer):
        def __init__(self, unheard_of):
            super().__init__()

    class Refuses(keras.layers.Layer):
        def call(self, value):
            raise ValueError("no input is good enough")

    monkeypatch.setattr(keras.layers, "Wants", Wants, raising=False)
    monkeypatch.setattr(keras.layers, "Refuses", Refuses, raising=False)
    for name, reason in (("Wants", "'unheard_of'"), ("Refuses", "no input fits"), ("Absent", "not in this version")):
        with pytest.raises(CannotBuild, match=reason):
            keras_model(name)


def test_what_cannot_be_built_says_why():
    cases = {case.id: case for case in registered_cases("sklearn")}
    for name in sorted(NO_TABLE):
        with pytest.raises(CannotBuild, match="no table"):
            cases[name].build()


def test_a_registry_is_a_list_of_cases():
    class Registry:
        @staticmethod
        def rows(framework):
            return [row for row in default_registry().rows(framework) if row.key.endswith(".MaxAbsScaler")]

    mark = parametrize_with_parity(Registry, expected_failures=None)
    assert "sklearn/MaxAbsScaler" in [parameter.id for parameter in mark.args[1]]
