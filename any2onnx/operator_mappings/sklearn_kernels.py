"""scikit-learn: support vector machines over libsvm, and other kernel methods."""

from __future__ import annotations

from typing import Final

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import BAYES_OPTIONS, CLASSIFIER, CLASSIFIER_OPTIONS, OUTLIER_OPTIONS, row

_KERNEL: Final = "kernel degree gamma coef0"
_LIBSVM: Final = "C nu epsilon shrinking tol cache_size class_weight verbose max_iter random_state"

ROWS: Final[tuple[OperatorMapping, ...]] = (
    *(
        row(
            f".svm.{name}",
            "svm:support_vector_classifier",
            "kernels:support_vector_classifier",
            methods=CLASSIFIER,
            honours=f"{_KERNEL} probability decision_function_shape break_ties",
            irrelevant=_LIBSVM,
            options=CLASSIFIER_OPTIONS,
        )
        for name in ("SVC", "NuSVC")
    ),
    *(
        row(
            f".svm.{name}",
            "svm:support_vector_regressor",
            "common:vector_regressor",
            methods="predict",
            honours=_KERNEL,
            irrelevant=_LIBSVM,
        )
        for name in ("SVR", "NuSVR")
    ),
    row(
        ".svm.OneClassSVM",
        "svm:one_class",
        "common:outlier_detector",
        methods="predict decision_function score_samples",
        honours=_KERNEL,
        irrelevant=_LIBSVM,
        options=OUTLIER_OPTIONS,
    ),
    row(
        ".kernel_ridge.KernelRidge",
        "kernel_methods:kernel_ridge",
        "kernels:dual_regressor",
        methods="predict",
        honours=_KERNEL,
        irrelevant="alpha kernel_params",
    ),
    row(
        ".decomposition.KernelPCA",
        "kernel_methods:kernel_pca",
        "kernels:kernel_pca",
        methods="transform inverse_transform",
        honours=f"{_KERNEL} n_components remove_zero_eig fit_inverse_transform",
        irrelevant="kernel_params alpha eigen_solver tol max_iter iterated_power random_state copy_X n_jobs",
    ),
    row(
        ".kernel_approximation.Nystroem",
        "kernel_methods:nystroem",
        "common:named_features",
        methods="transform",
        honours=f"{_KERNEL} kernel_params n_components",
        irrelevant="random_state n_jobs",
    ),
    *(
        row(
            f".kernel_approximation.{name}",
            f"kernel_methods:{converter}",
            "common:named_features",
            methods="transform",
            honours=honours,
            irrelevant="random_state",
        )
        for name, converter, honours in (
            ("RBFSampler", "rbf_sampler", "gamma n_components"),
            ("SkewedChi2Sampler", "skewed_chi2_sampler", "skewedness n_components"),
            ("AdditiveChi2Sampler", "additive_chi2_sampler", "sample_steps sample_interval"),
            ("PolynomialCountSketch", "polynomial_count_sketch", "gamma degree coef0 n_components"),
        )
    ),
    row(
        ".gaussian_process.GaussianProcessRegressor",
        "gaussian_process:gaussian_process_regressor",
        "kernels:gaussian_process_regressor",
        methods="predict predict_std predict_cov",
        honours="kernel alpha normalize_y n_targets",
        irrelevant="optimizer n_restarts_optimizer copy_X_train random_state",
        options=BAYES_OPTIONS,
    ),
    row(
        ".gaussian_process.GaussianProcessClassifier",
        "gaussian_process:gaussian_process_classifier",
        "common:classifier",
        methods="predict predict_proba",
        honours="kernel multi_class",
        irrelevant="optimizer n_restarts_optimizer max_iter_predict warm_start copy_X_train random_state n_jobs",
        options=CLASSIFIER_OPTIONS,
    ),
)
