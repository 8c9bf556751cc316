"""Mapping table of the estimators of `skl2onnx.sklapi`."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from any2onnx.operator_mappings import sklearn_options, sklearn_text
from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import META_OPTIONS, row

_HERE: Final = "skl2onnx.sklapi"
_TEXT: Final = {row.key.rpartition(".")[2]: row for row in sklearn_text.ROWS}

ROWS: Final[tuple[OperatorMapping, ...]] = (
    row(
        f"{_HERE}.cast_transformer.CastTransformer",
        "skl2onnx_estimators:cast_transformer",
        methods="transform",
        honours="dtype",
    ),
    row(
        f"{_HERE}.cast_regressor.CastRegressor",
        "skl2onnx_estimators:cast_regressor",
        methods="predict decision_function",
        honours="dtype estimator",
        options=META_OPTIONS,
    ),
    row(
        f"{_HERE}.replace_transformer.ReplaceTransformer",
        "skl2onnx_estimators:replace_transformer",
        methods="transform",
        honours="from_value to_value",
        irrelevant="dtype",
    ),
    row(
        f"{_HERE}.woe_transformer.WOETransformer",
        "skl2onnx_estimators:woe_transformer",
        methods="transform",
        honours="intervals weights onehot",
    ),
    *(
        replace(sklearn_options.with_options_of_skl2onnx(_TEXT[name]), key=f"{_HERE}.sklearn_text.Traceable{name}")
        for name in ("CountVectorizer", "TfidfVectorizer")
    ),
)
