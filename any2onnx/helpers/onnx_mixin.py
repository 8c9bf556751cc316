"""Estimators with a method `to_onnx`: wrapped ones, as in skl2onnx, and those that bring their own conversion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from any2onnx.errors import NotAModel, UsageError

TargetOpset = int | Mapping[str, int] | None


class OnnxOperatorMixin:
    """Adds `to_onnx` to an estimator.

    Attributes:
        op_version: Target opset where `to_onnx` is given none.
    """

    op_version: TargetOpset = None

    def to_onnx(
        self,
        X: Any = None,
        name: str | None = None,
        options: Mapping[Any, Any] | None = None,
        white_op: Sequence[str] | None = None,
        black_op: Sequence[str] | None = None,
        final_types: Sequence[tuple[str, Any]] | None = None,
        target_opset: TargetOpset = None,
        verbose: int = 0,
        **more: Any,
    ) -> Any:
        """Convert the estimator; see `any2onnx.to_onnx`."""
        from any2onnx.api import to_onnx

        return to_onnx(
            self,
            X,
            name=name,
            options=options,
            white_op=white_op,
            black_op=black_op,
            final_types=final_types,
            target_opset=target_opset if target_opset is not None else self.op_version,
            verbose=verbose,
            **more,
        )

    def infer_initial_types(self) -> list[tuple[str, Any]]:
        """Return the types of the inputs, by the estimator's own method `enumerate_initial_types`.

        Raises:
            UsageError: It has none.
        """
        own = getattr(self, "enumerate_initial_types", None)
        if own is None:
            raise UsageError(
                "Method enumerate_initial_types is missing and initial_types are not defined",
                remedy="to_onnx(X[:1]), or initial_types=[...]",
            )
        return list(own())

    def to_onnx_operator(
        self, inputs: Any = None, outputs: Any = None, target_opset: TargetOpset = None, options: Any = None
    ) -> Any:
        """Return the estimator as an expression of skl2onnx's operator classes.

        A class that overrides it is converted by it.

        Raises:
            NotImplementedError: It does not: the converter that is registered for the class is used.
        """
        raise NotImplementedError(type(self).__name__)

    def get_inputs(self, inputs: Sequence[Any], i: int) -> Any:
        """Return an input for `to_onnx_operator`."""
        from skl2onnx.algebra.onnx_operator import OnnxOperator

        if i >= len(inputs):
            return OnnxOperator.OnnxOperatorVariable(i)
        by_name = isinstance(inputs[i], str | OnnxOperator.UnscopedVariable)
        return OnnxOperator.OnnxOperatorVariable(i, inputs[i]) if by_name else inputs[i]

    def onnx_converter(self) -> Any:
        """Return the converter, in skl2onnx's form, that `to_onnx_operator` stands for."""

        def convert(scope: Any, operator: Any, container: Any) -> None:
            expression = self.to_onnx_operator(
                inputs=operator.inputs,
                outputs=operator.outputs,
                target_opset=container.target_opset,
                options=scope.get_options(operator.raw_operator, fail=False),
            )
            expression.add_to(scope, container, operator=operator)

        return convert


def _reduce(self: Any) -> tuple[Any, ...]:
    """Tell pickle how to make a wrapped estimator: its class is made anew by the process that loads it."""
    plain: Any = object.__new__(type(self).__mro__[1])
    plain.__dict__.update({key: value for key, value in vars(self).items() if key != "op_version"})
    return wrap_as_onnx_mixin, (plain, self.op_version)


def wrap_as_onnx_mixin(model: Any, target_opset: TargetOpset = None) -> Any:
    """Return an estimator that shares everything with `model` and has a method `to_onnx` besides.

    Args:
        model: Estimator, fitted or not; it is not changed.
        target_opset: For `to_onnx` without one.

    Raises:
        NotAModel: It is no estimator.
    """
    if isinstance(model, type) or not hasattr(model, "get_params"):
        raise NotAModel(f"{model!r} is no scikit-learn estimator", needs="an instance of one")
    if isinstance(model, OnnxOperatorMixin):
        cls: Any = type(model)
    else:
        own = type(model)
        # The estimator's class first: its methods are the ones that inference uses.
        body = {"__module__": __name__, "__doc__": own.__doc__, "__reduce__": _reduce}
        cls = type(f"Onnx{own.__name__}", (own, OnnxOperatorMixin), body)
    wrapped = object.__new__(cls)
    wrapped.__dict__.update(vars(model))
    wrapped.op_version = target_opset
    return wrapped
