"""The harness on files that skl2onnx made: right ones pass, its known wrong ones are caught (extra `[bench]`)."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import any2onnx
from any2onnx.parity import Verdict, check_parity

skl2onnx = pytest.importorskip("skl2onnx")

SEEN = ("data", "typical", "boundary")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
TARGET = X @ np.array([1.0, 2.0, 3.0, 4.0]) + X[:, 0] ** 2
NAMES = np.array(["red", "green", "blue"])[Y]
TWO = np.stack([Y > 0, X[:, 2] > 0], axis=1).astype(int)


def convert(model, x, **options):
    return skl2onnx.to_onnx(model, x[:1], target_opset={"": 18, "ai.onnx.ml": 3}, options=options or None)


@pytest.mark.parametrize(
    ("model", "target"),
    [
        (DecisionTreeClassifier(max_depth=4), Y > 0),
        (DecisionTreeRegressor(max_depth=4), TARGET),
        (RandomForestClassifier(7, max_depth=4, random_state=0), Y > 0),
        (RandomForestClassifier(7, max_depth=4, random_state=0), NAMES),
        (ExtraTreesRegressor(5, max_depth=5, random_state=0), TARGET),
        (GradientBoostingClassifier(n_estimators=5, random_state=0), Y > 0),
        (GradientBoostingClassifier(n_estimators=5, random_state=0), NAMES),
        (GradientBoostingRegressor(n_estimators=5, random_state=0), TARGET),
    ],
    ids=lambda value: type(value).__name__,
)
def test_its_trees_are_proved(model, target):
    """It divides leaves by the number of trees, moves the base, and writes scores of one of two classes."""
    model.fit(X, target)
    proto = convert(model, X)
    report = any2onnx.check_parity(model, proto, X, suites="data", prove=True)
    (proof,) = (item for item in report.proofs if item.kind == "trees")
    assert proof.bound < 1e-5
    assert proof.observed < 1e-6
    if isinstance(model, (GradientBoostingClassifier, GradientBoostingRegressor)):
        assert proof.holds
        assert "refuses" in proof.assumed[0]
    else:
        # It sends every missing value to the right; scikit-learn to the side with more samples.
        assert not proof.holds
        assert "only for rows without missing values" in proof.statement
    node = next(node for node in proto.graph.node if node.op_type.startswith("TreeEnsemble"))
    weights = next(item for item in node.attribute if item.name.endswith("_weights"))
    weights.floats[0] += 0.01
    broken = any2onnx.check_parity(model, proto, X, suites="data", prove=True)
    (proof,) = (item for item in broken.proofs if item.kind == "trees")
    assert any("another value" in text for text in proof.differences)


@pytest.mark.parametrize(
    ("model", "target", "options"),
    [
        (Ridge(), TARGET, {}),
        (LogisticRegression(), NAMES, {}),
        (LogisticRegression(), NAMES, {"zipmap": False}),
        (LogisticRegression(), Y, {"zipmap": "columns"}),
        (SVC(), Y, {"zipmap": False}),
        (DecisionTreeRegressor(random_state=0), TARGET, {}),
        (RandomForestClassifier(10, random_state=0), NAMES, {}),
        (GradientBoostingClassifier(n_estimators=10, random_state=0), Y, {"zipmap": False}),
        (KMeans(3, n_init=1, random_state=0), None, {}),
        (IsolationForest(n_estimators=10, random_state=0), None, {}),
        (MultiOutputClassifier(LogisticRegression()), TWO, {"zipmap": False}),
        (PCA(2), None, {}),
        (make_pipeline(StandardScaler(), PCA(3), LogisticRegression()), Y, {"zipmap": False}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_right_files_pass(model, target, options):
    model.fit(X, target)
    keyed = {id(model): options} if options else None
    proto = skl2onnx.to_onnx(model, X[:1], target_opset={"": 18, "ai.onnx.ml": 3}, options=keyed)
    report = check_parity(model, proto, X, suites=SEEN)
    assert report.passed, report


@pytest.mark.parametrize("mean", [1e4, 1e5])
def test_conditioning_is_not_blamed_on_the_converter(mean):
    x = X + np.float32(mean)
    for model in (make_pipeline(StandardScaler(), Ridge()).fit(x, TARGET), PCA(2).fit(x)):
        report = check_parity(model, convert(model, x), x, suites=SEEN)
        assert report.passed, report
        assert report.verdict in (Verdict.ILL_CONDITIONED, Verdict.FRAMEWORK_IMPRECISE)


def test_cancellation_in_a_gaussian_process_is():
    x = RNG.uniform(-1, 1, size=(80, 2)).astype(np.float32)
    model = GaussianProcessRegressor(alpha=1e-8).fit(x, np.sin(3 * x[:, 0]))
    report = check_parity(model, convert(model, x), x, suites=SEEN)
    assert report.verdict is Verdict.CONVERTER_IMPRECISE
    assert report.worst.rel > 100 * report.worst.sensitivity


def test_distances_by_expansion_far_from_the_origin():
    x = X + np.float32(1e4)
    model = KMeans(3, n_init=1, random_state=0).fit(x)
    assert check_parity(model, convert(model, x), x, suites=SEEN)["scores"].verdict.failed


def test_multilabel_forest():
    model = RandomForestClassifier(5, random_state=0).fit(X, TWO)
    report = check_parity(model, convert(model, X, zipmap=False), X, suites=SEEN)
    assert report["label"].verdict is Verdict.MISMATCH
    assert report["probabilities[0]"].verdict is Verdict.CONVERTER_IMPRECISE


def test_row_instead_of_vector_of_labels():
    model = QuadraticDiscriminantAnalysis().fit(X, Y)
    report = check_parity(model, convert(model, X, zipmap=False), X, suites=SEEN)
    assert "shape [1, " in report["label"].worst.note


def test_reversed_columns_of_a_binary_decision_function():
    model = SVC().fit(X, Y > 0)
    assert check_parity(model, convert(model, X, zipmap=False), X, suites=SEEN)["probabilities"].verdict.failed


def test_bin_edges_rounded_to_nearest():
    model = KBinsDiscretizer(4, encode="ordinal").fit(X)
    report = check_parity(model, convert(model, X), X, suites=SEEN)
    assert {(r.suite, r.case) for r in report.failures} == {("boundary", "edges")}


def test_missing_values_in_a_tree():
    model = DecisionTreeRegressor(random_state=0).fit(X, TARGET)
    report = check_parity(model, convert(model, X), suites="special")
    assert {r.case for r in report.failures} == {"NaN"}


# --- known wrong conversions are located too ------------------------------------------------------------------------


def test_a_wrong_tree_is_located_and_disproved():
    import any2onnx

    model = DecisionTreeRegressor(random_state=0).fit(X, TARGET)
    report = any2onnx.check_parity(model, convert(model, X), suites="special", localise=True, prove=True)
    (found,) = report.divergences
    assert (found.cause, found.operator) == ("our rule", "TreeEnsembleRegressor")
    (proof,) = [proof for proof in report.proofs if proof.kind == "trees"]
    assert not proof.holds
    assert any("missing values" in text for text in proof.differences)


def test_a_wrong_step_behind_a_right_one_is_located():
    model = make_pipeline(StandardScaler(), KBinsDiscretizer(4, encode="ordinal")).fit(X)
    proto = convert(model, X)
    report = check_parity(model, proto, X, suites=SEEN, localise=True)
    # The edges lie behind a scaler, where rows cannot be put onto them; what the scaler computes is not accused.
    assert all(found.source != "standardscaler.transform" for found in report.divergences)


def test_cancellation_of_a_gaussian_process_is_where_float32_ends():
    x = RNG.uniform(-1, 1, size=(80, 2)).astype(np.float32)
    model = GaussianProcessRegressor(alpha=1e-8).fit(x, np.sin(3 * x[:, 0]))
    (found,) = check_parity(model, convert(model, x), x, suites="data", localise=True).divergences
    assert found.cause == "float32 limit"


@pytest.mark.parametrize("options", [{}, {"zipmap": "columns"}], ids=["maps", "columns"])
def test_probabilities_in_maps_and_columns_are_located(options):
    model = LinearDiscriminantAnalysis().fit(X, Y > 0)
    report = check_parity(model, convert(model, X, **options), X, suites="typical", localise=True)
    (found,) = report.divergences
    # A column of the probabilities is named where each class is an output of its own.
    assert (found.cause, found.operator) == ("our rule", "Slice" if options else "LinearClassifier")


def test_two_tables_in_one_tensor_are_located():
    model = RandomForestClassifier(5, random_state=0).fit(X, TWO)
    report = check_parity(model, convert(model, X, zipmap=False), X, suites=SEEN, localise=True)
    places = {found.output: found.operator for found in report.divergences}
    assert set(places) == {"label", "probabilities[0]", "probabilities[1]"}


def test_torch_onnx_divisor_of_average_pooling():
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.AvgPool2d(2, divisor_override=3)).eval()
    x = torch.randn(2, 3, 6, 6)
    proto = torch.onnx.export(model, (x,), dynamo=True, verbose=False).model_proto
    report = check_parity(model, proto, (x,), suites="data", localise=True)
    assert report.verdict is Verdict.CONVERTER_IMPRECISE
    (found,) = report.divergences
    assert (found.cause, found.operator) == ("our rule", "AveragePool")
    assert found.source


def test_tf2onnx_infinities_of_nan_to_num():
    tf2onnx = pytest.importorskip("tf2onnx")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf2onnx needs Keras on TensorFlow")
    import tensorflow

    class Finite(keras.layers.Layer):
        def call(self, x):
            return keras.ops.nan_to_num(x)

    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, Finite(name="finite")(inputs))
    proto, _ = tf2onnx.convert.from_keras(
        model, input_signature=[tensorflow.TensorSpec((None, 3), tensorflow.float32, name="x")], opset=18
    )
    report = check_parity(model, proto, suites="special", localise=True)
    assert report.verdict is Verdict.MISMATCH
    assert {result.case for result in report.failures} <= {"+inf", "-inf", "NaN"}
    (found,) = report.divergences
    assert (found.cause, found.source) == ("our rule", "finite")
