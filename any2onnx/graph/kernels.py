"""Which (operator, version, dtype) onnxruntime's CPU provider has a kernel for.

`ort_kernels.tsv` is a snapshot of onnxruntime 1.32's own list (`get_all_opkernel_def()`). It is used rather than
the installed runtime so that the same model converts to the same bytes on every machine.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

import onnx

from any2onnx.graph.types import FLOATS, SPEC_NAMES, DataType

_DOMAIN_NAMES = {"ai.onnx": ""}


@dataclass(frozen=True, slots=True)
class Kernel:
    """One row of the table: versions of the operator that the kernel serves, and dtypes by type parameter."""

    since: int
    until: int | None
    types: Mapping[str, frozenset[DataType]]

    def serves(self, since_version: int, dtypes: Mapping[str, DataType]) -> bool:
        """Tell whether onnxruntime would take this kernel for an operator of that version with those dtypes."""
        # onnxruntime's rule: an open-ended kernel serves exactly the version it was registered for.
        if self.since != since_version and not (self.until and self.since < since_version <= self.until):
            return False
        return all(dtype in self.types[name] for name, dtype in dtypes.items() if name in self.types)


def _types(text: str) -> dict[str, frozenset[DataType]]:
    pairs = (part.split("=", 1) for part in text.split())
    return {name: frozenset(SPEC_NAMES[t] for t in names.split(",") if t in SPEC_NAMES) for name, names in pairs}


@functools.cache
def kernel_table() -> Mapping[tuple[str, str], tuple[Kernel, ...]]:
    """Return the snapshot: (domain, operator) → kernels."""
    rows: dict[tuple[str, str], list[Kernel]] = {}
    text = resources.files("any2onnx.graph").joinpath("ort_kernels.tsv").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith(("#", "domain\t")):
            continue
        domain, op_type, since, until, _provider, types = (line + "\t" * 5).split("\t")[:6]
        key = (_DOMAIN_NAMES.get(domain, domain), op_type)
        rows.setdefault(key, []).append(Kernel(int(since), int(until) if until else None, _types(types)))
    return {key: tuple(kernels) for key, kernels in rows.items()}


@functools.cache
def has_kernel(domain: str, op_type: str, version: int, dtypes: tuple[tuple[str, DataType], ...]) -> bool:
    """Tell whether onnxruntime has a kernel for an operator.

    Args:
        domain: Operator domain, '' for ai.onnx.
        op_type: Operator.
        version: Opset version of the domain that the model imports.
        dtypes: (type parameter, dtype) pairs, by the names of the ONNX schema.
    """
    kernels = kernel_table().get((domain, op_type), ())
    bound = dict(dtypes)
    try:
        schema = onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return any(kernel.serves(kernel.since, bound) for kernel in kernels)
    return any(kernel.serves(schema.since_version, bound) for kernel in kernels)


def attribute_unserved(op_type: str, attributes: Mapping[str, Any], dtypes: Iterable[DataType]) -> bool:
    """Tell whether a kernel that lists its types all the same fails on an attribute's value when it runs."""
    name, types = _UNSERVED.get(op_type, ("", frozenset[DataType]()))
    return attributes.get(name, "none") != "none" and not types.isdisjoint(dtypes)


def runs(domain: str, op_type: str, version: int, dtypes: tuple[tuple[str, DataType], ...]) -> bool:
    """Tell whether onnxruntime runs an operator, by a kernel or by expanding ONNX's definition of it."""
    return has_kernel(domain, op_type, version, dtypes) or runs_as_function(domain, op_type, version, dtypes)


def runs_as_function(domain: str, op_type: str, version: int, dtypes: tuple[tuple[str, DataType], ...]) -> bool:
    """Tell whether onnxruntime expands an operator that it has no kernel for into operators that it has."""
    if domain or op_type not in _EXPANDED:
        return False
    first, last, types = _EXPANDED[op_type]
    return first <= version <= last and all(dtype in types for _, dtype in dtypes if dtype in FLOATS)


# Measured with onnxruntime 1.32: "MLFloat16 data type is not supported with ScatterND when reduction is 'add'".
_UNSERVED: Final[Mapping[str, tuple[str, frozenset[DataType]]]] = dict.fromkeys(
    ("ScatterElements", "ScatterND"), ("reduction", frozenset({DataType.FLOAT16, DataType.BFLOAT16}))
)

_SINGLE: Final = frozenset({DataType.FLOAT, DataType.FLOAT16})
_ALL: Final = _SINGLE | {DataType.DOUBLE}
# Measured with onnxruntime 1.32: operators that ONNX defines as functions and that run without a kernel of their
# own, the opsets at which they do (an expansion fails where an operator of its body has changed), the float types.
# parity_tests/graph/test_kernels.py measures it again.
_EXPANDED: Final[Mapping[str, tuple[int, int, frozenset[DataType]]]] = {
    "AffineGrid": (20, 28, _ALL),
    "Attention": (23, 28, _ALL),
    "BlackmanWindow": (17, 28, _ALL),
    "CastLike": (15, 28, _ALL),
    "Celu": (13, 28, frozenset({DataType.FLOAT})),
    "CenterCropPad": (18, 28, _ALL),
    "Gelu": (20, 28, _SINGLE),
    "GroupNormalization": (21, 28, _ALL),
    "HammingWindow": (17, 28, _ALL),
    "HannWindow": (17, 28, _ALL),
    "HardSwish": (14, 28, _SINGLE),
    "Mish": (18, 28, _SINGLE),
    "NegativeLogLikelihoodLoss": (13, 28, _ALL),
    "RMSNormalization": (23, 28, _ALL),
    "ReduceLogSum": (18, 28, _ALL),
    "ReduceLogSumExp": (18, 28, _ALL),
    "SoftmaxCrossEntropyLoss": (13, 28, _ALL),
    "Swish": (24, 24, _ALL),
}
