"""The conversions that other converters are known to get wrong: each is caught by a named suite and located.

Which of the known ones do not occur with the installed versions is told in `docs/parity_method.md`.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from any2onnx.errors import MalformedFile
from any2onnx.parity import check_parity

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
TWO = (Y > 0).astype(int)
RARE = (X[:, 0] + 0.8 * RNG.normal(size=200) > 1).astype(int)
TARGET = X @ np.array([1.0, 2.0, 3.0, 4.0]) + X[:, 0] ** 2
MISSING = np.where(np.arange(800).reshape(200, 4) % 7 == 1, np.nan, X).astype(np.float32)
TEXTS = ["A red rose", "the blue sea and the sky", "Über grün", "blue, blue sky", "zwei café rosé", "red red red rose"]


@dataclasses.dataclass(frozen=True)
class Known:
    """One wrong conversion: what makes it, the suite that catches it, the operators at which it may be located."""

    name: str
    build: Callable[[], tuple[Any, Any, Any]]
    suite: str
    operators: tuple[str, ...]
    cause: str = "our rule"


def judged(known: Known) -> None:
    model, proto, data = known.build()
    report = check_parity(model, proto, data, suites=known.suite, localise=True)
    assert report.failures, report
    assert {result.suite for result in report.failures} == {known.suite}
    assert report.divergences, report
    assert {found.cause for found in report.divergences} == {known.cause}, report.divergences
    assert {found.operator for found in report.divergences} <= set(known.operators), report.divergences


def ids(cases):
    return [case.name if isinstance(case, Known) else case[0] for case in cases]


# --- skl2onnx -------------------------------------------------------------------------------------------------------


def of_skl2onnx(cls: str, x, y=None, **arguments):
    def build():
        import importlib

        skl2onnx = pytest.importorskip("skl2onnx")
        module, _, name = cls.rpartition(".")
        model = getattr(importlib.import_module(f"sklearn.{module}"), name)(**arguments)
        model = model.fit(x) if y is None else model.fit(x, y)
        options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else None
        return model, skl2onnx.to_onnx(model, x[:1], target_opset={"": 18, "ai.onnx.ml": 3}, options=options), x

    return build


def of_text(cls: str, **arguments):
    def build():
        from sklearn.feature_extraction import text

        skl2onnx = pytest.importorskip("skl2onnx")
        from skl2onnx.common.data_types import StringTensorType

        rows = np.array(TEXTS * 5, dtype=object)
        model = getattr(text, cls)(**arguments).fit(rows)
        proto = skl2onnx.to_onnx(
            model,
            initial_types=[("x", StringTensorType([None, 1]))],
            target_opset={"": 18, "ai.onnx.ml": 3},
            options={id(model): {"locale": "C.UTF-8"}},
        )
        return model, proto, rows

    return build


def logistic():
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression()


def machines(kind: str):
    from sklearn import svm

    return getattr(svm, kind)()


SKLEARN = (
    Known(
        "forest with missing values",
        of_skl2onnx("ensemble.RandomForestClassifier", MISSING, TWO, n_estimators=5, random_state=0),
        "special",
        ("TreeEnsembleClassifier",),
    ),
    Known(
        "probabilities of binary LDA",
        of_skl2onnx("discriminant_analysis.LinearDiscriminantAnalysis", X, TWO),
        "typical",
        ("LinearClassifier",),
    ),
    Known(
        "isotonic calibration",
        of_skl2onnx("calibration.CalibratedClassifierCV", X, Y, estimator=logistic(), method="isotonic"),
        "typical",
        ("Div",),
    ),
    Known(
        "tuned threshold",
        of_skl2onnx("model_selection.TunedThresholdClassifierCV", X, RARE, estimator=logistic(), scoring="f1"),
        "typical",
        ("LinearClassifier",),
    ),
    Known(
        "one against rest of linear SVMs",
        of_skl2onnx("multiclass.OneVsRestClassifier", X, Y, estimator=machines("LinearSVC")),
        "typical",
        ("LpNormalization",),
    ),
    Known(
        "bag of SVMs",
        of_skl2onnx("ensemble.BaggingClassifier", X, Y, estimator=machines("SVC"), n_estimators=3, random_state=0),
        "typical",
        ("SVMClassifier",),
        "unknown",  # onnx.reference has no say about this operator
    ),
    Known(
        "neighbours weighted by distance, regression",
        of_skl2onnx("neighbors.KNeighborsRegressor", X, TARGET, weights="distance"),
        "typical",
        ("ReduceSum", "Reshape"),
    ),
    Known(
        "neighbours weighted by distance, classes",
        of_skl2onnx("neighbors.KNeighborsClassifier", X, Y, weights="distance"),
        "typical",
        ("Concat", "Div"),
    ),
    Known("imputation by neighbours", of_skl2onnx("impute.KNNImputer", MISSING), "special", ("If",)),
    Known(
        "quantile transform of no rows",
        of_skl2onnx("preprocessing.QuantileTransformer", X, n_quantiles=50),
        "shape",
        ("Reshape",),
    ),
    Known(
        "imputation with indicator",
        of_skl2onnx("impute.SimpleImputer", MISSING, add_indicator=True),
        "data",
        ("Imputer",),
    ),
    Known(
        "network with two targets",
        of_skl2onnx(
            "neural_network.MLPRegressor",
            X,
            np.stack([TARGET, 2 * TARGET], axis=1),
            hidden_layer_sizes=(8,),
            max_iter=50,
            random_state=0,
        ),
        "typical",
        ("Reshape",),
    ),
    Known(
        "forest on float64 rows",
        of_skl2onnx("ensemble.RandomForestClassifier", X.astype(float), Y, n_estimators=5, random_state=0),
        "boundary",
        ("TreeEnsembleClassifier",),
    ),
    Known("pairs of words", of_text("TfidfVectorizer", ngram_range=(1, 2)), "text", ("TfIdfVectorizer",)),
    Known("sublinear frequencies", of_text("TfidfVectorizer", sublinear_tf=True), "text", ("TfIdfVectorizer",)),
    Known("words with umlauts", of_text("CountVectorizer"), "text", ("Identity",)),
    Known("characters", of_text("CountVectorizer", analyzer="char"), "text", ("Identity",)),
)


@pytest.mark.parametrize("known", SKLEARN, ids=ids(SKLEARN))
def test_skl2onnx(known):
    judged(known)


REFUSED = (
    ("tree.DecisionTreeRegressor", X.astype(float), TARGET, {"random_state": 0}, "TreeEnsembleRegressor"),
    ("ensemble.RandomForestRegressor", X.astype(float), TARGET, {"n_estimators": 5}, "TreeEnsembleRegressor"),
    ("ensemble.GradientBoostingRegressor", X.astype(float), TARGET, {"n_estimators": 5}, "TreeEnsembleRegressor"),
    ("svm.SVR", X.astype(float), TARGET, {}, "SVMRegressor"),
    ("impute.SimpleImputer", MISSING.astype(float), None, {}, "Imputer"),
)


@pytest.mark.parametrize(("cls", "x", "y", "arguments", "operator"), REFUSED, ids=ids(REFUSED))
def test_skl2onnx_in_float64_writes_files_that_do_not_load(cls, x, y, arguments, operator):
    model, proto, data = of_skl2onnx(cls, x, y, **arguments)()
    with pytest.raises(MalformedFile, match=operator):
        check_parity(model, proto, data)


# --- tf2onnx --------------------------------------------------------------------------------------------------------


def of_tf2onnx(
    make: Callable[..., Any],
    *shapes: tuple[int | None, ...],
    dtype: str = "float32",
    data: Any = None,
    batch: int | None = None,
):
    """Return a builder of a model of Keras operations, or of one layer, on inputs of these shapes."""

    def build():
        tf2onnx, keras = pytest.importorskip("tf2onnx"), pytest.importorskip("keras")
        if keras.backend.backend() != "tensorflow":
            pytest.skip("tf2onnx needs Keras on TensorFlow")
        import tensorflow

        inputs = [keras.Input(shape, batch, name=f"x{i}", dtype=dtype) for i, shape in enumerate(shapes)]
        model = keras.Model(inputs, make(keras)(*inputs))
        signature = [tensorflow.TensorSpec(item.shape, item.dtype, name=item.name) for item in model.inputs]
        return model, tf2onnx.convert.from_keras(model, input_signature=signature, opset=18)[0], data

    return build


def segments(name: str):
    def make(keras):
        def run(x):
            numbers = np.array([0, 0, 1, 2, 2])
            return keras.ops.transpose(
                getattr(keras.ops, name)(
                    keras.ops.transpose(x), numbers, num_segments=4 if name == "segment_min" else 3
                )
            )

        return run

    return make


NUMBERS = (
    np.array([[-7, 7, -7], [5, -5, 1], [3, 2, -9]], dtype=np.int32),
    np.array([[2, -2, 3], [-3, 2, 7], [4, -5, 2]], dtype=np.int32),
)
KERAS = (
    Known("variance without NaN", of_tf2onnx(lambda k: lambda x: k.ops.nanvar(x, axis=1), (5,)), "special", ("Div",)),
    Known("deviation without NaN", of_tf2onnx(lambda k: lambda x: k.ops.nanstd(x, axis=1), (5,)), "special", ("Sqrt",)),
    Known("largest of segments", of_tf2onnx(segments("segment_max"), (5,)), "special", ("Transpose",)),
    Known(
        "sums of scattered rows",
        of_tf2onnx(lambda k: lambda x: k.ops.scatter(np.array([[0], [2], [0]]), x, (4, 2)), (2,), batch=3),
        "typical",
        ("ScatterND",),
    ),
    Known(
        "bicubic resize",
        of_tf2onnx(lambda k: lambda x: k.ops.image.resize(x, (9, 9), interpolation="bicubic"), (6, 6, 2)),
        "typical",
        ("Resize", "Transpose"),
    ),
    Known(
        "layer at every step of any length",
        of_tf2onnx(lambda k: k.layers.TimeDistributed(k.layers.Dense(3)), (None, 4)),
        "typical",
        ("Loop",),
    ),
    Known(
        "remainder of negative numbers",
        of_tf2onnx(lambda k: k.ops.mod, (3,), (3,), dtype="int32", data=NUMBERS),
        "data",
        ("Div",),
    ),
    Known(
        "quotient of negative numbers",
        of_tf2onnx(lambda k: k.ops.floor_divide, (3,), (3,), dtype="int32", data=NUMBERS),
        "data",
        ("Div",),
    ),
)


@pytest.mark.parametrize("known", KERAS, ids=ids(KERAS))
def test_tf2onnx(known):
    judged(known)


UNLOADABLE = (
    ("gelu", lambda k: k.layers.Dense(3, activation="gelu"), [(4,)], "Erfc"),
    ("celu", lambda k: k.layers.Dense(3, activation="celu"), [(4,)], "Expm1"),
    ("logaddexp", lambda k: k.ops.logaddexp, [(3,), (3,)], "Log1p"),
    ("argmax of floats", lambda k: lambda x: k.ops.argmax(x, axis=1), [(4,)], "Bitcast"),
    ("erfinv", lambda k: k.ops.erfinv, [(3,)], "Erfinv"),
    ("svd", lambda k: lambda x: k.ops.svd(x, compute_uv=False), [(3, 3)], "Svd"),
    ("lanczos", lambda k: lambda x: k.ops.image.resize(x, (9, 9), "lanczos3"), [(6, 6, 2)], "ScaleAndTranslate"),
    (
        "antialiased resize",
        lambda k: lambda x: k.ops.image.resize(x, (3, 3), antialias=True),
        [(6, 6, 2)],
        "ScaleAndTranslate",
    ),
    ("fft", lambda k: lambda x: k.ops.fft((x, k.ops.zeros_like(x)))[0], [(8,)], "Complex"),
    ("discretization", lambda k: k.layers.Discretization([-1.0, 0.0, 1.0]), [(3,)], "Bucketize"),
    ("grouped convolution", lambda k: k.layers.Conv2D(4, 3, groups=2), [(6, 6, 4)], "StatefulPartitionedCall"),
    ("wide strides", lambda k: k.layers.Conv2DTranspose(2, 2, strides=3), [(5, 5, 2)], "ConvTranspose"),
)


@pytest.mark.parametrize(("name", "make", "shapes", "operator"), UNLOADABLE, ids=ids(UNLOADABLE))
def test_tf2onnx_writes_files_that_do_not_load(name, make, shapes, operator):
    model, proto, _ = of_tf2onnx(make, *shapes)()
    with pytest.raises(MalformedFile, match=operator):
        check_parity(model, proto)


# --- torch.onnx -----------------------------------------------------------------------------------------------------


def of_torch(
    function: Callable[..., Any], *shapes: tuple[int, ...], more: Callable[[Any], tuple[Any, ...]] | None = None
):
    def build():
        torch = pytest.importorskip("torch")
        pytest.importorskip("onnxscript")

        class Model(torch.nn.Module):
            def forward(self, *given):
                return function(torch, *given)

        torch.manual_seed(0)
        given = (*(torch.randn(shape) for shape in shapes), *(more(torch) if more else ()))
        return Model().eval(), torch.onnx.export(Model().eval(), given, dynamo=True, verbose=False).model_proto, given

    return build


def padding(torch):
    mask = torch.ones(2, 5, 5, dtype=torch.bool)
    mask[0, 0] = False
    return (mask,)


TORCH = (
    Known(
        "normalisation in training",
        of_torch(lambda t, x: t.nn.functional.batch_norm(x, t.zeros(4), t.ones(4), training=True), (8, 4)),
        "data",
        ("BatchNormalization",),
    ),
    Known(
        "antialiased interpolation with aligned corners",
        of_torch(
            lambda t, x: t.nn.functional.interpolate(x, (3, 3), mode="bilinear", align_corners=True, antialias=True),
            (2, 3, 8, 8),
        ),
        "data",
        ("Resize",),
    ),
    Known(
        "deviation with a large correction",
        of_torch(lambda t, x: x.std(1, correction=4), (4, 3)),
        "data",
        ("ReduceMean",),
    ),
    Known(
        "mean of scattered numbers",
        of_torch(
            lambda t, x, s, i: x.scatter_reduce(1, i, s, "mean"),
            (2, 4),
            (2, 3),
            more=lambda t: (t.tensor([[0, 0, 1], [3, 3, 3]]),),
        ),
        "data",
        ("ScatterElements",),
    ),
    Known(
        "smoothed labels",
        of_torch(
            lambda t, x, y: t.nn.functional.cross_entropy(x, y, label_smoothing=0.1),
            (3, 4),
            more=lambda t: (t.tensor([0, 2, 1]),),
        ),
        "data",
        ("SoftmaxCrossEntropyLoss",),
    ),
    Known(
        "attention with fully masked rows",
        of_torch(
            lambda t, q, m: t.nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=m[:, None]),
            (2, 2, 5, 4),
            more=padding,
        ),
        "data",
        ("Where",),
    ),
)


@pytest.mark.parametrize("known", TORCH, ids=ids(TORCH))
def test_torch_onnx(known):
    judged(known)
