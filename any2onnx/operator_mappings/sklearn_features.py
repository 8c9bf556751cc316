"""scikit-learn: splines, quantiles, target encoding, label sets, iterated imputation."""

from __future__ import annotations

from typing import Final

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import row

ROWS: Final[tuple[OperatorMapping, ...]] = (
    row(
        ".preprocessing.SplineTransformer",
        "feature_maps:spline_transformer",
        "features:splines",
        methods="transform",
        honours="n_knots degree knots extrapolation include_bias handle_missing",
        irrelevant="order sparse_output",
    ),
    row(
        ".preprocessing.QuantileTransformer",
        "feature_maps:quantile_transformer",
        "common:same_width",
        methods="transform inverse_transform",
        honours="n_quantiles output_distribution ignore_implicit_zeros",
        irrelevant="subsample random_state copy",
    ),
    row(
        ".preprocessing.TargetEncoder",
        "feature_maps:target_encoder",
        "features:target_encodings",
        methods="transform",
        honours="categories target_type smooth",
        irrelevant="cv shuffle random_state",
    ),
    row(
        ".preprocessing.MultiLabelBinarizer",
        "feature_maps:multi_label_binarizer",
        "features:label_sets",
        methods="transform inverse_transform",
        honours="classes",
        irrelevant="sparse_output",
        note="the rows of a matrix are the label sets; inverse_transform gives a sequence of label sets",
    ),
    row(
        ".impute.IterativeImputer",
        "iterative_imputer:iterative_imputer",
        methods="transform",
        honours=(
            "estimator missing_values sample_posterior initial_strategy fill_value min_value max_value add_indicator "
            "keep_empty_features max_iter n_nearest_features imputation_order skip_complete"
        ),
        irrelevant="tol verbose random_state",
    ),
)
