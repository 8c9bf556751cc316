"""sklearn.neighbors and KNNImputer: metrics, weights, several outputs, outliers, graphs, densities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from family_checks import agree, expected, proto_of, session_of
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from scipy import sparse
from sklearn import neighbors as nb
from sklearn.datasets import load_diabetes, load_digits, load_iris, load_wine
from sklearn.impute import KNNImputer

from any2onnx.errors import UnsupportedParameter

RNG = np.random.default_rng(0)
X, y = load_iris(return_X_y=True)
# No two distances are equal, so that the neighbours are determined.
X = (X + RNG.normal(0, 0.05, X.shape)).astype(np.float32).astype(np.float64)
ROWS = (X[::4] + RNG.normal(0, 0.1, X[::4].shape)).astype(np.float32).astype(np.float64)
TRUTHS = (RNG.random((90, 14)) < 0.4).astype(float)
COVARIANCE = np.cov(X.T)
CLASSIFY = ("predict", "predict_proba")

METRICS = [
    {"metric": "euclidean"},
    {"p": 1},
    {"p": 3},
    {"p": 1.5, "metric_params": {"w": [1.0, 0.5, 2.0, 1.0]}},
    {"p": 2, "metric_params": {"w": [1.0, 0.5, 2.0, 1.0]}},
    {"metric": "l2", "algorithm": "brute"},
    {"metric": "sqeuclidean"},
    {"metric": "manhattan"},
    {"metric": "chebyshev"},
    {"metric": "canberra"},
    # Bray-Curtis distances break the triangle inequality that scikit-learn's ball tree relies on.
    {"metric": "braycurtis", "algorithm": "brute"},
    {"metric": "cosine"},
    {"metric": "correlation"},
    {"metric": "nan_euclidean"},
    {"metric": "seuclidean", "metric_params": {"V": X.var(axis=0)}},
    {"metric": "mahalanobis", "metric_params": {"V": COVARIANCE}},
    {"metric": "mahalanobis", "metric_params": {"VI": np.linalg.inv(COVARIANCE)}, "algorithm": "brute"},
]


@pytest.mark.parametrize("arguments", METRICS, ids=lambda a: "-".join(str(v) for v in a.values())[:40])
def test_metrics(arguments) -> None:
    agree(nb.NearestNeighbors(n_neighbors=4, **arguments).fit(X), ROWS, ("kneighbors",))


@pytest.mark.parametrize("name", ["jaccard", "dice", "rogerstanimoto", "russellrao", "sokalsneath", "yule", "hamming"])
def test_metrics_of_truth_values(name) -> None:
    # Many distances are equal: compare the distances, not which of equal points is taken.
    model = nb.NearestNeighbors(n_neighbors=5, metric=name).fit(TRUTHS[:70] > 0)
    session = session_of(proto_of(model, TRUTHS[70:], ("kneighbors",)))
    got, indices = session.run(None, {"X": TRUTHS[70:]})
    np.testing.assert_allclose(got, model.kneighbors(TRUTHS[70:] > 0)[0], rtol=1e-12, atol=1e-14)
    everything = nb.NearestNeighbors(n_neighbors=70, metric=name).fit(TRUTHS[:70] > 0)
    distances, order = everything.kneighbors(TRUTHS[70:] > 0)
    table = np.take_along_axis(distances, np.argsort(order, axis=1), axis=1)
    np.testing.assert_allclose(np.take_along_axis(table, indices, axis=1), got, rtol=1e-12, atol=1e-14)


def test_haversine() -> None:
    places = RNG.uniform(-1.5, 1.5, (60, 2))
    agree(nb.NearestNeighbors(metric="haversine").fit(places), RNG.uniform(-1.5, 1.5, (20, 2)), ("kneighbors",))


def test_precomputed_distances() -> None:
    square = np.abs(X[:, None] - X[None]).sum(axis=2)
    across = np.abs(ROWS[:, None] - X[None]).sum(axis=2)
    agree(nb.KNeighborsClassifier(metric="precomputed").fit(square, y), across, CLASSIFY, dtypes=(np.float64,))


@pytest.mark.parametrize("weights", ["uniform", "distance", None])
@pytest.mark.parametrize("algorithm", ["brute", "kd_tree", "ball_tree"])
def test_classifier(weights, algorithm) -> None:
    model = nb.KNeighborsClassifier(n_neighbors=7, weights=weights, algorithm=algorithm).fit(X, y)
    agree(model, ROWS, (*CLASSIFY, "kneighbors"))


def test_classifier_labels_and_outputs() -> None:
    named = np.asarray(["a", "ß", "c"])[y]
    agree(nb.KNeighborsClassifier().fit(X, named), ROWS, CLASSIFY)
    two = np.column_stack([y, y[::-1] * 3 % 2])
    agree(nb.KNeighborsClassifier(weights="distance").fit(X, two), ROWS, CLASSIFY)


def test_a_fitted_row_decides_alone_with_distance_weights() -> None:
    model = nb.KNeighborsClassifier(5, weights="distance").fit(X, y)
    agree(model, X[::3], CLASSIFY)
    agree(nb.KNeighborsRegressor(5, weights="distance").fit(X, X[:, 0] + y), X[::3], ("predict",))


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_regressor(weights) -> None:
    features, target = load_diabetes(return_X_y=True)
    model = nb.KNeighborsRegressor(6, weights=weights).fit(features[:300], target[:300])
    agree(model, features[300:], ("predict", "kneighbors"))
    several = nb.KNeighborsRegressor(weights=weights).fit(X, np.column_stack([y, X[:, 0]]))
    agree(several, ROWS, ("predict",))


def test_wide_whole_numbers_and_sparse_training() -> None:
    digits, target = load_digits(return_X_y=True)
    model = nb.KNeighborsClassifier(3).fit(digits[:500], target[:500])
    agree(model, digits[500:560], ("predict",))
    agree(nb.KNeighborsRegressor().fit(sparse.csr_matrix(X), y), ROWS, ("predict",))


def test_equal_distances_take_the_first_rows() -> None:
    points = np.asarray([[0.1], [0.3], [0.3], [0.3], [0.9]])
    model = nb.NearestNeighbors(n_neighbors=2, algorithm="brute").fit(points)
    proto = proto_of(model, points, ("kneighbors",))
    _, indices = session_of(proto).run(None, {"X": np.asarray([[0.3], [0.31]])})
    assert indices.tolist() == [[1, 2], [1, 2]]


def test_far_from_the_origin() -> None:
    model = nb.KNeighborsRegressor(3, weights="distance").fit(X + 1e5, y + 0.5)
    agree(model, ROWS + 1e5, ("predict", "kneighbors"), dtypes=(np.float64,))


@pytest.mark.parametrize("mode", ["distance", "connectivity"])
def test_graphs(mode) -> None:
    agree(nb.KNeighborsTransformer(mode=mode, n_neighbors=4).fit(X), ROWS, ("transform", "kneighbors"))
    agree(nb.RadiusNeighborsTransformer(mode=mode, radius=0.8).fit(X), ROWS, ("transform",))


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("arguments", [{"radius": 1.5}, {"radius": 1.7, "p": 1}, {"radius": 1.5, "algorithm": "brute"}])
def test_radius(weights, arguments) -> None:
    rows = np.concatenate([ROWS, X[:3], [[50.0, 50, 50, 50]]])
    model = nb.RadiusNeighborsClassifier(weights=weights, outlier_label="most_frequent", **arguments).fit(X, y)
    agree(model, rows, CLASSIFY)
    agree(nb.RadiusNeighborsRegressor(weights=weights, **arguments).fit(X, X[:, 1]), rows, ("predict",))


def test_radius_outliers() -> None:
    rows = np.concatenate([ROWS, [[50.0, 50, 50, 50]]])
    agree(nb.RadiusNeighborsClassifier(2.0, outlier_label=-9).fit(X, y), rows, CLASSIFY)
    named = np.asarray(["aa", "bb", "cc"])[y]
    agree(nb.RadiusNeighborsClassifier(2.0, outlier_label="xx").fit(X, named), rows, CLASSIFY)
    # By brute force and another metric than the Euclidean one scikit-learn takes the label for a position.
    for label in ("most_frequent", 7, 1):
        brute = nb.RadiusNeighborsClassifier(2.0, p=1, algorithm="brute", outlier_label=label)
        agree(brute.fit(X, y * 5 + 2), rows, CLASSIFY)
    two = np.column_stack([y, y[::-1] % 2])
    agree(nb.RadiusNeighborsClassifier(2.0, outlier_label=[1, 0]).fit(X, two), rows, CLASSIFY)
    # Whole-numbered targets have no NaN: scikit-learn gives what NaN becomes in their type.
    agree(nb.RadiusNeighborsRegressor(2.0).fit(X, y), rows, ("predict",), dtypes=(np.float64,))
    strict = nb.RadiusNeighborsClassifier(2.0).fit(X, y)
    agree(strict, ROWS, CLASSIFY)
    with pytest.raises(ValueError, match="No neighbors"):
        expected(strict, "predict", rows)
    with pytest.raises(InvalidArgument, match="out of data bounds"):
        session_of(proto_of(strict, rows, ("predict",))).run(None, {"X": rows})


@pytest.mark.parametrize("arguments", [{}, {"contamination": 0.1}, {"metric": "manhattan", "n_neighbors": 7}], ids=str)
def test_local_outlier_factor(arguments) -> None:
    model = nb.LocalOutlierFactor(novelty=True, **arguments).fit(X)
    agree(model, ROWS, ("predict", "decision_function", "score_samples", "kneighbors"))


@pytest.mark.parametrize(
    "arguments", [{}, {"shrink_threshold": 0.4}, {"priors": "empirical"}, {"priors": [0.2, 0.5, 0.3]}], ids=str
)
def test_nearest_centroid(arguments) -> None:
    methods = (*CLASSIFY, "predict_log_proba", "decision_function")
    agree(nb.NearestCentroid(**arguments).fit(X[:130], y[:130]), ROWS, methods)
    if not isinstance(arguments.get("priors"), list):
        agree(nb.NearestCentroid(**arguments).fit(X[:90], y[:90]), ROWS, methods)
    agree(nb.NearestCentroid(metric="manhattan", **arguments).fit(X[:130], y[:130]), ROWS, ("predict",))


@pytest.mark.parametrize("kernel", ["gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"])
def test_kernel_density(kernel) -> None:
    for dimensions in (1, 2, 4):
        model = nb.KernelDensity(kernel=kernel, bandwidth=0.6).fit(X[:, :dimensions])
        agree(model, ROWS[:, :dimensions], ("score_samples",))


def test_kernel_density_options() -> None:
    weighted = nb.KernelDensity(bandwidth="scott").fit(X, sample_weight=RNG.uniform(0.5, 2, len(X)))
    agree(weighted, ROWS, ("score_samples",))
    model = nb.KernelDensity(bandwidth="silverman", kernel="exponential", metric="manhattan").fit(X)
    agree(model, ROWS, ("score_samples",))


def test_components() -> None:
    agree(nb.NeighborhoodComponentsAnalysis(2, max_iter=5).fit(X, y), ROWS, ("transform",))


def _holes(rows: np.ndarray, share: float, value: float = np.nan) -> np.ndarray:
    return np.where(np.random.default_rng(3).random(rows.shape) < share, value, rows)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"weights": "distance", "n_neighbors": 3}, {"add_indicator": True}, {"missing_values": -1.0}],
    ids=str,
)
def test_knn_imputer(arguments) -> None:
    features = load_wine(return_X_y=True)[0][:, :6]
    features = features + np.random.default_rng(4).normal(0, 0.01, features.shape)
    value = arguments.get("missing_values", np.nan)
    model = KNNImputer(**arguments).fit(_holes(features[:120], 0.15, value))
    agree(model, _holes(features[120:], 0.3, value), ("transform",))
    agree(model, features[120:], ("transform",))


@pytest.mark.parametrize("keep", [False, True])
def test_knn_imputer_edges(keep) -> None:
    features = _holes(X, 0.2)
    features[:, 1] = np.nan
    model = KNNImputer(keep_empty_features=keep).fit(features)
    rows = _holes(ROWS, 0.3)
    rows[0] = np.nan
    agree(model, rows, ("transform",))
    small = KNNImputer(n_neighbors=9).fit(features[:6])
    agree(small, rows, ("transform",))


@pytest.mark.parametrize("opset", [13, 18, 28])
def test_opsets(opset) -> None:
    agree(nb.KNeighborsClassifier(weights="distance").fit(X, y), ROWS, CLASSIFY, opset=opset)
    agree(nb.KNeighborsRegressor(p=3).fit(X, y), ROWS, ("predict",), opset=opset)
    agree(KNNImputer().fit(_holes(X, 0.2)), _holes(ROWS, 0.2), ("transform",), opset=opset)


def test_refused_by_name() -> None:
    def refused(model, match) -> None:
        with pytest.raises(UnsupportedParameter, match=match):
            proto_of(model, X, ("predict",))

    refused(nb.KNeighborsClassifier(weights=np.argsort).fit(X, y), "weights 'argsort' cannot be traced")
    refused(nb.KNeighborsClassifier(metric=lambda a, b: abs(a - b).sum()).fit(X, y), "metric is a Python function")


def test_arc_tangent_in_double() -> None:
    from any2onnx.graph.builder import GraphBuilder
    from any2onnx.graph.opsets import Opsets
    from any2onnx.graph.types import DataType
    from any2onnx.io.save import to_proto

    g = GraphBuilder(Opsets.of(21))
    x = g.input("x", DataType.DOUBLE, ["n"])
    proto = to_proto(g.build({"y": g.Atan(x)}))
    values = np.concatenate([RNG.normal(0, 3, 500), [0.0, 1.0, -1.0, 1e-300, 1e300, np.inf, -np.inf, np.nan]])
    (got,) = session_of(proto).run(None, {"x": values})
    np.testing.assert_allclose(got, np.arctan(values), rtol=5e-16)


# --- exactly at the radius, and at equal distances ---

GRID = np.stack(np.meshgrid(np.arange(-4.0, 5.0), np.arange(-4.0, 5.0)), axis=-1).reshape(-1, 2)
COLOURS = np.array(["r", "g", "b"])[(GRID[:, 0] * 2 + GRID[:, 1]).astype(int) % 3]
SOME = np.vstack([GRID[::5], [[0.5, 0.5], [-3.5, 0.0]]])
# Squares that are rounded up, and down: of the latter the square of the root is less than the number.
RADII = [1.0, 5.0, *(float(np.sqrt(n)) for n in (2, 3, 5, 7, 8, 10, 13, 17))]


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree", "ball_tree"])
@pytest.mark.parametrize("radius", RADII)
def test_points_exactly_at_the_radius(radius: float, algorithm: str) -> None:
    given = {"radius": radius, "algorithm": algorithm}
    agree(nb.RadiusNeighborsClassifier(**given).fit(GRID, COLOURS), SOME, ("predict", "predict_proba"))
    agree(nb.RadiusNeighborsRegressor(**given).fit(GRID, GRID[:, 0] * 7 + GRID[:, 1] ** 2), SOME, ("predict",))
    for mode in ("connectivity", "distance"):
        agree(nb.RadiusNeighborsTransformer(mode=mode, **given).fit(GRID), SOME, ("transform",))


@pytest.mark.parametrize("metric", [{"p": 1}, {"p": 3}, {"metric": "chebyshev"}, {"metric": "sqeuclidean"}])
@pytest.mark.parametrize("radius", [1.0, 2.0, 3.0, 16 ** (1 / 3)])
def test_points_exactly_at_the_radius_of_other_metrics(radius: float, metric: dict[str, Any]) -> None:
    algorithm = "brute" if metric.get("metric") == "sqeuclidean" else "kd_tree"
    model = nb.RadiusNeighborsTransformer(mode="connectivity", radius=radius, algorithm=algorithm, **metric)
    agree(model.fit(GRID), SOME, ("transform",))


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
@pytest.mark.parametrize("count", [1, 3, 4, 6, 9])
def test_neighbours_at_equal_distances(count: int, algorithm: str) -> None:
    """Which of equally distant points is taken is not laid down; their distances are, and each point has its own."""
    model = nb.NearestNeighbors(n_neighbors=count, algorithm=algorithm).fit(GRID)
    for dtype in (np.float32, np.float64):
        rows = SOME.astype(dtype)
        distances, indices = session_of(proto_of(model, rows, ("kneighbors",))).run(None, {"X": rows})
        expected, _ = model.kneighbors(SOME)
        np.testing.assert_allclose(distances, expected, rtol=1e-6 if dtype == np.float32 else 1e-12)
        np.testing.assert_allclose(np.linalg.norm(GRID[indices] - SOME[:, None], axis=2), expected, rtol=1e-12)
        assert all(len(set(found)) == count for found in indices.tolist())
