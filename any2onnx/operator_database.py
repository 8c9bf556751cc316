"""Coverage of torch's operator database: every entry of ``op_db`` traced and translated, in one element type.

The ATen table says which overloads have a mapping. This one starts from what users call: an entry is a function with
sample inputs, whose trace may hold several overloads, or one that torch itself decomposes.
"""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterator
from typing import Any, Final

from any2onnx.errors import Any2OnnxError, ExportFailed, MissingDependency, UsageError
from any2onnx.operator_mappings.coverage import CoverageRow

DTYPES: Final = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "bool", "complex64")


def operator_database_coverage(dtype: str = "float32", *, only: str = ".*", most: int = 2) -> Iterator[CoverageRow]:
    """Yield one row per entry of torch's operator database that torch.export can trace.

    Nothing is run: the rows say what converts. That the answers agree is what the parity tests show.

    Args:
        dtype: Element type of the sample inputs.
        only: Regular expression for the entries' names.
        most: Sample inputs of each entry that are tried: its first ones.

    Yields:
        ``supported`` where every sample converts, else ``refused`` with the first line of the reason.

    Raises:
        UsageError: No such element type.
        MissingDependency: torch, or its operator database, is not installed.
    """
    if dtype not in DTYPES:
        raise UsageError(f"{dtype!r} is no element type of this table", needs=f"one of {', '.join(DTYPES)}")
    try:
        import torch

        from any2onnx.registered import operator_database

        entries = operator_database()
    except ModuleNotFoundError as error:
        raise MissingDependency(f"{error.name} is not installed", remedy="pip install 'any2onnx[pytorch]'") from error
    pattern = re.compile(only)
    element = getattr(torch, dtype)
    named = [(f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name, op) for op in entries]
    for name, op in sorted(named, key=lambda pair: pair[0]):
        if pattern.fullmatch(name) and element in op.supported_dtypes("cpu"):
            outcomes = [found for sample in _samples(op, element, most) if (found := _outcome(op, sample)) is not None]
            if outcomes:
                reason = next((text for text in outcomes if text), "")
                yield CoverageRow(name, "refused" if reason else "supported", note=reason)


def _samples(op: Any, dtype: Any, most: int) -> list[Any]:
    import torch

    torch.manual_seed(0)
    found = iter(op.sample_inputs("cpu", dtype, requires_grad=False))
    try:
        return list(itertools.islice(found, most))
    finally:
        # Left suspended it would end in the middle of a trace, and switch gradients on there.
        getattr(found, "close", lambda: None)()


def _outcome(op: Any, sample: Any) -> str | None:
    """Return why a sample is refused, nothing where it converts, None where torch.export cannot trace it."""
    import torch
    from torch.utils import _pytree

    from any2onnx.converters.capturing import CAPTURE
    from any2onnx.converters.pytorch.walk import build_pytorch
    from any2onnx.graph.opsets import Opsets
    from any2onnx.operator_mappings.registry import default_registry

    leaves, spec = _pytree.tree_flatten((sample.input, tuple(sample.args), dict(sample.kwargs)))
    tensors = tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))

    class Bound(torch.nn.Module):
        """The operator with its other arguments bound."""

        def forward(self, *given: Any) -> Any:
            supply = iter(given)
            filled = [next(supply) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
            value, args, kwargs = _pytree.tree_unflatten(filled, spec)
            return op.op(value, *args, **kwargs)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with CAPTURE, torch.no_grad():
                program = torch.export.export(Bound(), tensors, strict=False)
        except Exception:  # whatever it is: torch cannot export this sample, which says nothing about the converter
            return None
        try:
            build_pytorch(program, opsets=Opsets.of(), registry=default_registry())
        except ExportFailed:
            return None
        except Any2OnnxError as error:
            return str(error).partition("\n")[0]
    return ""
