"""Kernel ridge, kernel PCA, explicit kernel maps, Gaussian processes with all kernels."""

from __future__ import annotations

import numpy as np
import pytest
from family_checks import agree, proto_of
from sklearn import gaussian_process as gp
from sklearn import kernel_approximation as ka
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.decomposition import KernelPCA
from sklearn.gaussian_process import kernels as k
from sklearn.kernel_ridge import KernelRidge

from any2onnx.errors import UnsupportedParameter

X, y = load_iris(return_X_y=True)
ROWS = X[::4] + 0.013
D, target = load_diabetes(return_X_y=True)
D = D[:120] * 20
target = target[:120]
KERNELS = ["linear", "poly", "polynomial", "rbf", "laplacian", "sigmoid", "cosine", "chi2", "additive_chi2"]


@pytest.mark.parametrize("name", KERNELS)
def test_kernel_ridge(name) -> None:
    gamma = {"sigmoid": 0.01, "chi2": 0.3, "poly": 0.2}.get(name)
    model = KernelRidge(alpha=0.5, kernel=name, gamma=gamma, degree=2, coef0=0.5).fit(X, y + X[:, 0])
    agree(model, ROWS, ("predict",))


def test_kernel_ridge_targets_and_precomputed() -> None:
    agree(KernelRidge(kernel="rbf").fit(X, np.column_stack([y, X[:, 1]])), ROWS, ("predict",))
    agree(KernelRidge(kernel="precomputed").fit(X @ X.T, y), ROWS @ X.T, ("predict",))
    with pytest.raises(UnsupportedParameter, match="Python function"):
        proto_of(KernelRidge(kernel=lambda a, b: a @ b).fit(X, y), X, ("predict",))


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel": "linear"},
        {"kernel": "rbf", "gamma": 0.2, "n_components": 6, "remove_zero_eig": True},
        {"kernel": "poly", "degree": 2, "n_components": 5},
        {"kernel": "sigmoid", "gamma": 0.01, "coef0": 0.1, "n_components": 3},
        {"kernel": "cosine", "n_components": 3},
    ],
    ids=str,
)
def test_kernel_pca(arguments) -> None:
    agree(KernelPCA(**arguments).fit(X), ROWS, ("transform",))


def test_kernel_pca_inverse_and_precomputed() -> None:
    model = KernelPCA(3, kernel="rbf", fit_inverse_transform=True).fit(X)
    agree(model, model.transform(ROWS), ("inverse_transform",))
    agree(KernelPCA(3, kernel="precomputed").fit(X @ X.T), ROWS @ X.T, ("transform",))


@pytest.mark.parametrize("name", [*KERNELS[:-1]])
def test_nystroem(name) -> None:
    more = {"gamma": 0.1} if name in ("rbf", "sigmoid", "chi2", "poly") else {}
    more |= {"coef0": 0.5, "degree": 2} if name == "poly" else {}
    # No more components than the kernel has dimensions, else scikit-learn divides by rounding errors.
    components = 4 if name == "linear" else 10
    agree(ka.Nystroem(name, n_components=components, random_state=0, **more).fit(X), ROWS, ("transform",))


@pytest.mark.parametrize(
    "model",
    [
        ka.RBFSampler(gamma=0.3, n_components=17, random_state=0),
        ka.SkewedChi2Sampler(skewedness=0.5, n_components=9, random_state=0),
        ka.AdditiveChi2Sampler(),
        ka.AdditiveChi2Sampler(sample_steps=1),
        ka.AdditiveChi2Sampler(sample_steps=4, sample_interval=0.3),
        ka.PolynomialCountSketch(n_components=16, random_state=0),
        ka.PolynomialCountSketch(n_components=15, degree=3, gamma=0.5, coef0=2.0, random_state=0),
        ka.PolynomialCountSketch(n_components=7, degree=1, random_state=0),
    ],
    ids=str,
)
def test_explicit_maps(model) -> None:
    rows = np.where(ROWS < 0.3, 0.0, ROWS)
    agree(model.fit(X), rows, ("transform",))


GP_KERNELS = [
    None,
    1.5 * k.RBF(2.0) + k.WhiteKernel(0.1),
    k.RBF(np.linspace(1, 3, 10)) + k.WhiteKernel(0.5),
    2.0 * k.Matern(3.0, nu=0.5) + k.WhiteKernel(0.3),
    k.Matern(3.0, nu=1.5) + k.WhiteKernel(0.3),
    k.Matern(3.0, nu=2.5) + k.WhiteKernel(0.3),
    k.Matern(3.0, nu=3.5) + k.WhiteKernel(0.3),
    k.Matern(3.0, nu=np.inf) + k.WhiteKernel(0.3),
    k.Matern(3.0, nu=0.7) + k.WhiteKernel(0.3),
    k.Matern(3.0, nu=2.2) + k.WhiteKernel(0.3),
    k.RationalQuadratic(2.0, 0.7) + k.WhiteKernel(0.3),
    k.ExpSineSquared(2.0, 5.0) + k.WhiteKernel(9.0),
    k.DotProduct(1.3) + k.WhiteKernel(0.5),
    (k.DotProduct(0.5) * k.RBF(2.0)) ** 2 + k.ConstantKernel(0.4) * k.RationalQuadratic() + k.WhiteKernel(0.5),
    k.PairwiseKernel(metric="laplacian", gamma=0.1) + k.WhiteKernel(0.3),
    k.PairwiseKernel(metric="polynomial", gamma=0.1, pairwise_kernels_kwargs={"degree": 2}) + k.WhiteKernel(0.5),
    k.PairwiseKernel(metric="cosine") + k.WhiteKernel(0.5),
]


@pytest.mark.parametrize("kernel", GP_KERNELS, ids=lambda kernel: str(kernel)[:40])
def test_gaussian_process_regressor(kernel) -> None:
    model = gp.GaussianProcessRegressor(kernel, optimizer=None, normalize_y=True, alpha=1e-6).fit(D[:90], target[:90])
    agree(model, D[90:], ("predict", "predict_std"))
    agree(model, D[90:100], ("predict", "predict_cov"), dtypes=(np.float64,))


def test_gaussian_process_regressor_fitted_kernel_and_targets() -> None:
    both = np.column_stack([target, D[:, 0]])
    kernel = 1.0 * k.RBF() + k.WhiteKernel()
    model = gp.GaussianProcessRegressor(kernel, normalize_y=True, random_state=0).fit(D[:90, :4], both[:90])
    agree(model, D[90:, :4], ("predict", "predict_std"))
    agree(model, D[90:, :4], ("predict_cov",), dtypes=(np.float64,))
    # At the fitted rows themselves, where distances are 0.
    plain = gp.GaussianProcessRegressor(k.Matern(2.0, nu=0.5), optimizer=None).fit(D[:60, :3], target[:60])
    agree(plain, D[:80, :3], ("predict",))


def test_gaussian_process_only_the_mean() -> None:
    model = gp.GaussianProcessRegressor(k.RBF(3.0), optimizer=None, alpha=1e-8).fit(D[:90], target[:90])
    agree(model, D[90:], ("predict",))
    stiff = gp.GaussianProcessRegressor(k.RBF(0.5), optimizer=None, alpha=1e-4).fit(D[:90, :1], target[:90])
    agree(stiff, D[90:, :1], ("predict",))


@pytest.mark.parametrize("kernel", [None, 1.0 * k.RBF([1.0] * 4), k.Matern(nu=1.5) + k.DotProduct()], ids=str)
def test_gaussian_process_classifier(kernel) -> None:
    keep = y != 0
    binary = gp.GaussianProcessClassifier(kernel, optimizer=None).fit(X[keep][::2], y[keep][::2])
    agree(binary, ROWS, ("predict", "predict_proba"))
    named = np.asarray(["a", "b", "ü"])[y]
    several = gp.GaussianProcessClassifier(kernel, optimizer=None).fit(X[::2], named[::2])
    agree(several, ROWS, ("predict", "predict_proba"))
    pairs = gp.GaussianProcessClassifier(kernel, optimizer=None, multi_class="one_vs_one").fit(X[::2], y[::2])
    agree(pairs, ROWS, ("predict",))
    with pytest.raises(UnsupportedParameter, match="one_vs_one"):
        proto_of(pairs, ROWS, ("predict", "predict_proba"))


def test_optimized_classifier() -> None:
    features, classes = load_wine(return_X_y=True)
    features = features[:, :3]
    model = gp.GaussianProcessClassifier(random_state=0).fit(features[::3], classes[::3])
    agree(model, features[::7] * 1.01, ("predict", "predict_proba"))


@pytest.mark.parametrize("opset", [13, 18, 28])
def test_opsets(opset) -> None:
    model = gp.GaussianProcessRegressor(GP_KERNELS[9], optimizer=None).fit(D[:60], target[:60])
    agree(model, D[90:], ("predict", "predict_std"), opset=opset, dtypes=(np.float64,))
    keep = y != 0
    binary = gp.GaussianProcessClassifier(optimizer=None).fit(X[keep][::2], y[keep][::2])
    agree(binary, ROWS, ("predict", "predict_proba"), opset=opset)
    agree(KernelPCA(3, kernel="rbf").fit(X), ROWS, ("transform",), opset=opset)


def test_kernels_of_others_are_refused() -> None:
    class Mine(k.RBF):
        pass

    model = gp.GaussianProcessRegressor(Mine(), optimizer=None).fit(X, y)
    with pytest.raises(UnsupportedParameter, match="Mine"):
        proto_of(model, X, ("predict",))
