"""scikit-learn: pipelines, columns, preprocessing, imputation, feature selection, decomposition."""

from __future__ import annotations

from typing import Final

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import EVERY_METHOD, META_OPTIONS, row

_BOTH: Final = "transform inverse_transform"

_COMPOSE: Final = (
    row(
        ".pipeline.Pipeline",
        "pipeline:pipeline",
        methods=EVERY_METHOD,
        honours="steps",
        irrelevant="transform_input memory verbose",
        options=META_OPTIONS,
    ),
    row(
        "imblearn.pipeline.Pipeline",
        "pipeline:pipeline",
        methods=EVERY_METHOD,
        honours="steps",
        irrelevant="transform_input memory verbose",
        options=META_OPTIONS,
        note="samplers do nothing at inference",
    ),
    row(
        ".pipeline.FeatureUnion",
        "pipeline:feature_union",
        methods="transform",
        honours="transformer_list transformer_weights",
        irrelevant="n_jobs verbose verbose_feature_names_out",
    ),
    row(
        ".compose.ColumnTransformer",
        "pipeline:column_transformer",
        methods="transform",
        honours="transformers remainder transformer_weights",
        irrelevant="sparse_threshold n_jobs verbose verbose_feature_names_out force_int_remainder_cols",
    ),
)

_SCALERS: Final = (
    row(
        ".preprocessing.StandardScaler",
        "preprocessing:standard_scaler",
        "common:same_width",
        methods=_BOTH,
        honours="with_mean with_std",
        irrelevant="copy",
    ),
    row(
        ".preprocessing.RobustScaler",
        "preprocessing:robust_scaler",
        "common:same_width",
        methods=_BOTH,
        honours="with_centering with_scaling quantile_range unit_variance",
        irrelevant="copy",
    ),
    row(
        ".preprocessing.MaxAbsScaler",
        "preprocessing:max_abs_scaler",
        "common:same_width",
        methods=_BOTH,
        honours="clip",
        irrelevant="copy",
    ),
    row(
        ".preprocessing.MinMaxScaler",
        "preprocessing:min_max_scaler",
        "common:same_width",
        methods=_BOTH,
        honours="feature_range clip",
        irrelevant="copy",
    ),
    row(
        ".preprocessing.Normalizer",
        "preprocessing:normalizer",
        "common:same_width",
        methods="transform",
        honours="norm",
        irrelevant="copy",
    ),
    row(
        ".preprocessing.Binarizer",
        "preprocessing:binarizer",
        methods="transform",
        honours="threshold",
        irrelevant="copy",
    ),
    row(
        ".preprocessing.PolynomialFeatures",
        "preprocessing:polynomial_features",
        "common:named_features",
        methods="transform",
        honours="degree interaction_only include_bias",
        irrelevant="order",
    ),
    row(".preprocessing.KernelCenterer", "preprocessing:kernel_centerer", "common:same_width", methods="transform"),
    row(
        ".preprocessing.PowerTransformer",
        "preprocessing:power_transformer",
        "common:same_width",
        methods=_BOTH,
        honours="method standardize",
        irrelevant="copy",
    ),
)

_FUNCTIONS: Final = (
    row(
        ".preprocessing.FunctionTransformer",
        "preprocessing:function_transformer",
        methods=_BOTH,
        honours="func inverse_func kw_args inv_kw_args",
        irrelevant="validate accept_sparse check_inverse feature_names_out",
        note="functions that call numpy, scipy.special or pandas row by row are traced; others are refused",
    ),
)

_ENCODERS: Final = (
    row(
        ".preprocessing.OneHotEncoder",
        "encoders:one_hot_encoder",
        "encoders:one_hot",
        methods=_BOTH,
        honours="categories drop dtype handle_unknown min_frequency max_categories",
        irrelevant="sparse_output feature_name_combiner",
    ),
    row(
        ".preprocessing.OrdinalEncoder",
        "encoders:ordinal_encoder",
        "encoders:ordinal",
        methods=_BOTH,
        honours=("categories dtype handle_unknown unknown_value encoded_missing_value min_frequency max_categories"),
    ),
    row(".preprocessing.LabelEncoder", "encoders:label_encoder", "encoders:label", methods=_BOTH),
    row(
        ".preprocessing.LabelBinarizer",
        "encoders:label_binarizer",
        "encoders:label_binary",
        methods=_BOTH,
        honours="neg_label pos_label",
        irrelevant="sparse_output",
    ),
    row(
        ".preprocessing.KBinsDiscretizer",
        "encoders:k_bins_discretizer",
        "encoders:k_bins",
        methods=_BOTH,
        honours="n_bins encode strategy quantile_method dtype",
        irrelevant="subsample random_state",
    ),
)

_IMPUTE: Final = (
    row(
        ".impute.SimpleImputer",
        "impute:simple_imputer",
        "encoders:imputer",
        methods=_BOTH,
        honours="missing_values strategy fill_value add_indicator keep_empty_features",
        irrelevant="copy",
    ),
    row(
        ".impute.MissingIndicator",
        "impute:missing_indicator",
        "encoders:missing_indicator",
        methods="transform",
        honours="missing_values features",
        irrelevant="sparse error_on_new",
    ),
)

ROWS: Final[tuple[OperatorMapping, ...]] = (*_COMPOSE, *_SCALERS, *_FUNCTIONS, *_ENCODERS, *_IMPUTE)
