"""scikit-learn: support vector machines over libsvm, and other kernel methods."""

from __future__ import annotations

from typing import Final

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import CLASSIFIER, CLASSIFIER_OPTIONS, OUTLIER_OPTIONS, row

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
)
