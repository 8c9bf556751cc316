"""How rows of scikit-learn's tables are written: one line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from any2onnx.operator_mappings.mapping import OperatorMapping

_YES_NO: Final = (True, False)
PRECISION: Final[Mapping[str, tuple[Any, ...]]] = {"precision": ("float32", "float64")}
REGRESSOR_OPTIONS: Final[Mapping[str, tuple[Any, ...]]] = PRECISION
TRANSFORMER_OPTIONS: Final[Mapping[str, tuple[Any, ...]]] = PRECISION
CLUSTERER_OPTIONS: Final[Mapping[str, tuple[Any, ...]]] = PRECISION
CLASSIFIER_OPTIONS: Final[Mapping[str, tuple[Any, ...]]] = {
    **PRECISION,
    "zipmap": (True, False, "columns"),
    "nocl": _YES_NO,
    "output_class_labels": _YES_NO,
    "raw_scores": _YES_NO,
}
OUTLIER_OPTIONS: Final[Mapping[str, tuple[Any, ...]]] = {**PRECISION, "score_samples": _YES_NO}
TREE_OPTIONS: Final[Mapping[str, tuple[Any, ...]]] = {"decision_leaf": _YES_NO, "decision_path": _YES_NO}
BAYES_OPTIONS: Final[Mapping[str, tuple[Any, ...]]] = {**PRECISION, "return_std": _YES_NO, "return_cov": _YES_NO}
# Meta-estimators hand their last step's outputs on, whatever it is.
META_OPTIONS: Final[Mapping[str, tuple[Any, ...]]] = {
    **CLASSIFIER_OPTIONS,
    **OUTLIER_OPTIONS,
    **TREE_OPTIONS,
    **BAYES_OPTIONS,
}

# Parameters of training, parallelism and logging that many estimators share.
TRAINING: Final = "max_iter tol verbose random_state n_jobs copy_X warm_start solver copy"
CLASSIFIER: Final = "predict predict_proba predict_log_proba decision_function"
EVERY_METHOD: Final = (
    "predict predict_proba predict_log_proba decision_function transform score_samples apply decision_path "
    "predict_std predict_cov inverse_transform"
)


def row(
    key: str,
    converter: str,
    shapes: str = "",
    *,
    methods: str,
    honours: str = "",
    irrelevant: str = "",
    options: Mapping[str, tuple[Any, ...]] = PRECISION,
    **more: Any,
) -> OperatorMapping:
    """Return a row.

    Args:
        key: Dotted public name of the class; ``sklearn.`` is put before one that starts with a module of it, by
            beginning with a dot: ``.linear_model.Ridge``.
        converter: ``module:function`` beneath `any2onnx.converters.sklearn`.
        shapes: ``module:function`` beneath `any2onnx.shape_calculators.sklearn`.
        methods: Inference methods on offer, separated by blanks.
        honours: Parameters that inference follows, separated by blanks; ``*`` for all.
        irrelevant: Parameters without effect on inference.
        options: Conversion options.
        more: Further fields of the row.
    """
    return OperatorMapping(
        framework="sklearn",
        key=f"sklearn{key}" if key.startswith(".") else key,
        converter=f"any2onnx.converters.sklearn.{converter}",
        shapes=f"any2onnx.shape_calculators.sklearn.{shapes}" if shapes else "",
        methods=tuple(methods.split()),
        honours=frozenset(honours.split()),
        irrelevant=frozenset(irrelevant.split()) - frozenset(honours.split()),
        options=options,
        **more,
    )


def refused(key: str, reason: str) -> OperatorMapping:
    """Return the row of an estimator that cannot be converted faithfully."""
    return OperatorMapping(framework="sklearn", key=f"sklearn{key}" if key.startswith(".") else key, refused=reason)
