"""Which (operator, version, dtype) onnxruntime's CPU provider has a kernel for.

`ort_kernels.tsv` is a snapshot of onnxruntime 1.32's own list (`get_all_opkernel_def()`). It is used rather than
the installed runtime so that the same model converts to the same bytes on every machine.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import onnx

from any2onnx.graph.types import SPEC_NAMES, DataType, dtypes_in

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


@functools.cache
def runs_as_function(domain: str, op_type: str, version: int, dtypes: tuple[tuple[str, DataType], ...]) -> bool:
    """Tell whether onnxruntime expands an operator without a kernel into operators that have kernels.

    It does so where ONNX defines the operator as a function and the operators of the function's body mean the same
    at the model's opset.
    """
    schema = onnx.defs.get_schema(op_type, version, domain)
    bound = frozenset(dtype for _, dtype in dtypes)
    if schema.has_function:  # type: ignore[attr-defined]  # missing from onnx's stubs
        body = schema.function_body
        imports = {imported.domain: imported.version for imported in body.opset_import}
        return all(_inner_runs(node, imports.get(node.domain, version), version, bound) for node in body.node)
    return schema.has_context_dependent_function and not any(  # type: ignore[attr-defined]
        dtype in _UNSERVED_FUNCTIONS.get(op_type, ()) for dtype in bound
    )


def _inner_runs(node: onnx.NodeProto, written: int, version: int, dtypes: frozenset[DataType]) -> bool:
    """Tell whether a node of a function's body has a kernel for those of the function's dtypes that it accepts."""
    schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    if schema.since_version != onnx.defs.get_schema(node.op_type, written, node.domain).since_version:
        return False
    constraints = {c.type_param_str: dtypes_in(frozenset(c.allowed_type_strs)) for c in schema.type_constraints}
    first = next((p.type_str for p in schema.inputs if p.type_str in constraints), None)
    accepted = [dtype for dtype in dtypes if first and dtype in constraints[first]]
    return all(has_kernel(node.domain, node.op_type, version, ((str(first), dtype),)) for dtype in accepted)


# Functions whose body depends on the call, so that it cannot be read from the schema, and the dtypes in which it
# uses an operator without a kernel (Erf, Softplus).
_UNSERVED_FUNCTIONS: Mapping[str, frozenset[DataType]] = {
    "Gelu": frozenset({DataType.DOUBLE, DataType.BFLOAT16}),
}
