"""Types that scikit-learn's fitted models hold and skops does not know, audited here.

skops lists each of them as untrusted. These are safe to build from data: a function is looked up and not called; an
object of a pure Python class gets attributes that are themselves checked; a dtype is read without pickle. Compiled
types stay out on purpose (`sklearn.tree._tree.Tree`, `KDTree`, ...): their code trusts indices in their arrays, so a
hostile file could read or write outside of them. Those are the caller's decision (`Trust.types`, ``--trust-type``).
"""

from __future__ import annotations

AUDITED = frozenset(
    {
        "numpy.dtype",
        "numpy.mean",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        *(
            f"sklearn.gaussian_process.kernels.{name}"
            for name in (
                "CompoundKernel",
                "ConstantKernel",
                "DotProduct",
                "ExpSineSquared",
                "Exponentiation",
                "Matern",
                "Product",
                "RBF",
                "RationalQuadratic",
                "Sum",
                "WhiteKernel",
            )
        ),
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    }
)
