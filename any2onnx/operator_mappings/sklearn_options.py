"""Options of skl2onnx's converters beside those of the rows, so that calls written for it are taken as they are.

Most say how skl2onnx is to compute, or work around what it cannot do; the results here do not depend on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from any2onnx.operator_mappings.mapping import OperatorMapping

_DISTANCES: Final = {"optim": (None, "cdist")}
_DIVISION: Final = {"div": ("std", "div", "div_cast")}
_PRODUCTS: Final = {"gemm": (True, False)}
# `tokenexp` and `separators` take the place of the token pattern, `nan` marks absent terms.
_TEXT: Final = {
    "tokenexp": (),
    "separators": (),
    "nan": (True, False),
    "keep_empty_string": (True, False),
    "locale": (),
}
_OPTIONS: Final[Mapping[str, Mapping[str, tuple[Any, ...]]]] = {
    **dict.fromkeys(
        (
            "gaussian_process.GaussianProcessClassifier",
            "gaussian_process.GaussianProcessRegressor",
            "impute.KNNImputer",
            "neighbors.KNeighborsClassifier",
            "neighbors.KNeighborsRegressor",
            "neighbors.KNeighborsTransformer",
            "decomposition.KernelPCA",
            "neighbors.LocalOutlierFactor",
            "neighbors.NearestNeighbors",
            "neighbors.RadiusNeighborsClassifier",
            "neighbors.RadiusNeighborsRegressor",
        ),
        _DISTANCES,
    ),
    **dict.fromkeys(
        ("preprocessing.StandardScaler", "preprocessing.RobustScaler", "preprocessing.MaxAbsScaler"), _DIVISION
    ),
    **dict.fromkeys(("cluster.KMeans", "cluster.MiniBatchKMeans"), _PRODUCTS),
    **dict.fromkeys(("feature_extraction.text.CountVectorizer", "feature_extraction.text.TfidfVectorizer"), _TEXT),
    "feature_extraction.text.TfidfTransformer": {"nan": (True, False)},
    "feature_extraction.FeatureHasher": {"separator": ()},
    "ensemble.HistGradientBoostingRegressor": {"raw_scores": (False,)},
}


def with_options_of_skl2onnx(row: OperatorMapping) -> OperatorMapping:
    """Return a row that takes the options of skl2onnx's converter as well."""
    more = _OPTIONS.get(row.key.removeprefix("sklearn."), {})
    return replace(row, options={**row.options, **more}) if more else row
