"""All of the families: float32 inside on request, whole-number inputs, columns of a frame, inside a pipeline."""

from __future__ import annotations

import numpy as np
import pytest
from family_checks import agree, close, expected, proto_of, session_of
from sklearn import cluster, covariance, gaussian_process, mixture, neighbors, semi_supervised, svm
from sklearn import kernel_approximation as ka
from sklearn.datasets import load_iris
from sklearn.decomposition import KernelPCA
from sklearn.impute import KNNImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.manifold import Isomap, LocallyLinearEmbedding
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

X, y = load_iris(return_X_y=True)
X = X + np.random.default_rng(5).normal(0, 0.05, X.shape)
ROWS = X[::4] + 0.017
KERNEL = gaussian_process.kernels.Matern(2.0, nu=0.7) + gaussian_process.kernels.WhiteKernel(0.5)
MODELS = (
    (svm.SVC(probability=True, random_state=0), "predict_proba"),
    (svm.SVR(kernel="poly", degree=2), "predict"),
    (svm.OneClassSVM(nu=0.2), "decision_function"),
    (neighbors.KNeighborsClassifier(weights="distance"), "predict_proba"),
    (neighbors.KNeighborsRegressor(p=1), "predict"),
    (neighbors.RadiusNeighborsRegressor(2.0), "predict"),
    (neighbors.LocalOutlierFactor(novelty=True), "decision_function"),
    (neighbors.NearestCentroid(), "predict_proba"),
    (neighbors.KernelDensity(bandwidth=0.5), "score_samples"),
    (KNNImputer(), "transform"),
    (KernelRidge(kernel="rbf"), "predict"),
    (KernelPCA(2, kernel="rbf"), "transform"),
    (ka.PolynomialCountSketch(n_components=8, random_state=0), "transform"),
    (gaussian_process.GaussianProcessRegressor(KERNEL, optimizer=None), "predict"),
    (gaussian_process.GaussianProcessClassifier(optimizer=None), "predict_proba"),
    (mixture.GaussianMixture(3, random_state=0), "score_samples"),
    (covariance.EllipticEnvelope(random_state=0), "score_samples"),
    (semi_supervised.LabelSpreading(gamma=1), "predict_proba"),
    (cluster.Birch(), "transform"),
    (cluster.BisectingKMeans(4, random_state=0), "transform"),
    (cluster.FeatureAgglomeration(2), "transform"),
    (Isomap(), "transform"),
    (LocallyLinearEmbedding(n_neighbors=4, reg=0.1, random_state=0), "transform"),
)
EACH = pytest.mark.parametrize(("model", "method"), MODELS, ids=[type(m).__name__ for m, _ in MODELS])


def _inner_types(proto) -> set[int]:
    """Element types of all constants of the graph and the graphs inside it."""
    found = {tensor.data_type for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        found |= {a.i for a in node.attribute if node.op_type == "Cast" and a.name == "to"}
    return found


@EACH
def test_float32_inside_on_request(model, method) -> None:
    rows = ROWS.astype(np.float32)
    fitted = model.fit(X, y)
    proto = proto_of(fitted, rows, (method,), options={type(fitted): {"precision": "float32"}})
    assert 11 not in _inner_types(proto), "float64 is left inside"
    got = np.asarray(session_of(proto).run(None, {"X": rows})[0])
    assert got.dtype == np.float32
    want = expected(fitted, method, rows.astype(np.float64))[0]
    # What float32 leaves of distances: a coarse agreement is all that was asked for.
    np.testing.assert_allclose(got, want, rtol=1e-2, atol=1e-3 * float(np.abs(want).max()))


@EACH
def test_behind_a_scaler(model, method) -> None:
    agree(make_pipeline(StandardScaler(), model).fit(X, y), ROWS, (method,), dtypes=(np.float64,))


@EACH
def test_whole_numbers(model, method) -> None:
    rows = np.asarray([[5, 3, 1, 0], [6, 3, 5, 2], [7, 3, 4, 1], [5, 4, 2, 0]], np.int64)
    fitted = model.fit(X, y)
    (got,) = session_of(proto_of(fitted, rows, (method,))).run(None, {"X": rows})
    close(np.asarray(got), expected(fitted, method, rows.astype(np.float64))[0], double=True, what=str(fitted))


def test_columns_of_a_frame() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    fitted = neighbors.KNeighborsClassifier().fit(frame, y)
    session = session_of(proto_of(fitted, frame, ("predict", "kneighbors")))
    got = session.run(None, {name: frame[[name]].to_numpy()[::3] + 0.01 for name in reversed("abcd")})
    want = [array for m in ("predict", "kneighbors") for array in expected(fitted, m, frame[::3] + 0.01)]
    for one, other in zip(got, want, strict=True):
        close(one, other, double=True, what="frame")
