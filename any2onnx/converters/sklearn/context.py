"""What every call of one scikit-learn conversion shares: the registry, the options, the type of floating results."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from any2onnx.graph.types import DataType, Value
from any2onnx.operator_mappings.coverage import public_module
from any2onnx.operator_mappings.mapping import Call, OperatorMapping
from any2onnx.operator_mappings.registry import Registry
from any2onnx.options import Options

FRAMEWORK: Final = "sklearn"
# What a subclass of a registered class may define without changing what its fitted attributes mean.
_TRAINING_ONLY: Final = frozenset(
    [
        "fit",
        "fit_transform",
        "fit_predict",
        "partial_fit",
        "score",
        "get_params",
        "set_params",
        "set_output",
        "get_metadata_routing",
        "get_feature_names_out",
    ]
)


@dataclass(frozen=True, slots=True)
class Context:
    """State of one conversion; immutable but for the options' record of which keys fitted.

    Attributes:
        registry: Where the rows come from.
        options: As the user gave them.
        opset: Version of ai.onnx.
        float_type: Element type of all floating results, FLOAT or DOUBLE.
        model_type: The same for the model as a whole; steps before its end may have to give DOUBLE where it is FLOAT.
    """

    registry: Registry
    options: Options
    opset: int
    float_type: DataType
    model_type: DataType = DataType.DOUBLE

    def key_of(self, cls: type) -> str:
        """Return the key of a class: its own, or that of a base class where the subclass only changes training.

        A class outside scikit-learn that inherits from a registered one stands for it if nothing between the two
        defines a method or property that inference could meet; any other subclass has to be registered itself.
        """
        own = class_key(cls)
        if self.registry.knows(FRAMEWORK, own) or own.startswith("sklearn."):
            return own
        for base in cls.__mro__:
            if self.registry.knows(FRAMEWORK, class_key(base)):
                return class_key(base)
            if _changes_inference(base):
                return own
        return own

    def row(self, estimator: Any) -> OperatorMapping | None:
        """Return the row for an estimator, None where there is none at this opset."""
        return self.registry.find(FRAMEWORK, self.key_of(type(estimator)), self.opset)

    def call(
        self,
        estimator: Any,
        inputs: Sequence[Value],
        methods: Sequence[str],
        scope: str,
        *,
        inherited: Mapping[str, Any],
        columns: Sequence[Sequence[str]] | None = None,
    ) -> Call:
        """Return the call for an estimator.

        Args:
            estimator: Fitted.
            inputs: Matrices of shape [batch, n]; together they are the estimator's X.
            methods: Wanted.
            scope: Path of the step.
            inherited: Options of the parent; the precision is handed down.
            columns: Names of the columns of each input, empty where they have none.
        """
        row = self.row(estimator)
        known: Mapping[str, Any] = row.options if row is not None else {}
        options = {name: inherited[name] for name in ("precision",) if name in inherited and name in known}
        options.update(self.options.for_source(estimator, scope, known))
        return Call(
            key=self.key_of(type(estimator)),
            source=estimator,
            inputs=tuple(inputs),
            params={
                "columns": tuple(tuple(c) for c in columns) if columns is not None else tuple(() for _ in inputs),
                "float_type": self.float_type,
                "context": self,
            },
            methods=tuple(methods),
            options=options,
            scope=scope,
            location=location(scope, estimator),
        )


def class_key(cls: type) -> str:
    """Return the dotted public name of a class: ``sklearn.preprocessing.StandardScaler``."""
    module = cls.__module__
    # A leading private module (`__main__`) is all there is, so it stays.
    public = public_module(module) or module.partition(".")[0]
    return f"{public}.{cls.__name__}"


def location(scope: str, estimator: Any) -> str:
    """Return the place of an estimator for people: ``pipeline/scaler (StandardScaler)``."""
    name = type(estimator).__name__
    return f"{scope} ({name})" if scope else name


def _changes_inference(cls: type) -> bool:
    if cls.__name__ == "OnnxOperatorMixin":
        # skl2onnx's, or that of `any2onnx.helpers`: it only adds the way to ONNX.
        return False
    for name, item in vars(cls).items():
        if (name.startswith("__") and name.endswith("__")) or name in _TRAINING_ONLY or name.startswith("_abc"):
            continue
        if (name.startswith("set_") and name.endswith("_request")) or name.startswith(("onnx_", "to_onnx")):
            continue
        if inspect.isroutine(item) or hasattr(item, "__get__"):
            return True
    return False
