"""Estimators with a method `to_onnx`, as skl2onnx's `wrap_as_onnx_mixin` makes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from any2onnx.errors import NotAModel

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

    def __reduce__(self) -> tuple[Any, ...]:
        # The class is made anew by the process that loads it.
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
        cls = type(f"Onnx{own.__name__}", (own, OnnxOperatorMixin), {"__module__": __name__, "__doc__": own.__doc__})
    wrapped = object.__new__(cls)
    wrapped.__dict__.update(vars(model))
    wrapped.op_version = target_opset
    return wrapped
