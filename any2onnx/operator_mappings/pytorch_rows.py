"""How the PyTorch tables are written: a function of a module of converters, and the overloads that it serves."""

from __future__ import annotations

from collections.abc import Mapping

from any2onnx.operator_mappings.mapping import OperatorMapping


def table(
    module: str,
    functions: Mapping[str, str],
    *,
    prefix: str = "aten.",
    opset: tuple[int, int | None] = (13, None),
    shapes: str = "",
) -> tuple[OperatorMapping, ...]:
    """Return rows for ``{function: "overload overload …"}`` of one module of converters.

    Args:
        module: Below ``any2onnx.converters.pytorch``.
        functions: Overloads by converter; an overload without a dot is ``.default``.
        prefix: In front of every overload.
        opset: Range of opsets.
        shapes: Shape calculator; the general one by default.
    """
    return tuple(
        OperatorMapping(
            framework="pytorch",
            key=prefix + (name if "." in name or not prefix.endswith("aten.") else f"{name}.default"),
            converter=f"any2onnx.converters.pytorch.{module}:{function}",
            shapes=shapes,
            opset=opset,
        )
        for function, names in functions.items()
        for name in names.split()
    )


def refused(reason: str, names: str, *, prefix: str = "aten.") -> tuple[OperatorMapping, ...]:
    """Return rows of operators that cannot be converted faithfully."""
    return tuple(
        OperatorMapping(framework="pytorch", key=prefix + (n if "." in n else f"{n}.default"), refused=reason)
        for n in names.split()
    )
