"""Casts that change nothing: to the type a value already has, or after an exact widening."""

from __future__ import annotations

import onnx_ir as ir

from any2onnx.passes.contract import GraphPass
from any2onnx.passes.editing import Names, Scope, get_int, inherit, is_op
from any2onnx.passes.identities import remove_identity

# (bits of the significand with the hidden one, smallest exponent, largest exponent) of each binary format.
_FLOATS = {
    ir.DataType.FLOAT16: (11, -24, 15),
    ir.DataType.BFLOAT16: (8, -133, 127),
    ir.DataType.FLOAT: (24, -149, 127),
    ir.DataType.DOUBLE: (53, -1074, 1023),
}
# (signed, bits that hold the magnitude).
_INTEGERS = {
    ir.DataType.INT8: (True, 7),
    ir.DataType.INT16: (True, 15),
    ir.DataType.INT32: (True, 31),
    ir.DataType.INT64: (True, 63),
    ir.DataType.UINT8: (False, 8),
    ir.DataType.UINT16: (False, 16),
    ir.DataType.UINT32: (False, 32),
    ir.DataType.UINT64: (False, 64),
}


class CleanCastsPass(GraphPass):
    """Remove casts to the same type, and the first of two casts when it widens exactly.

    ``Cast(Cast(x, float64), int32)`` for a float32 x is ``Cast(x, int32)``: no value was rounded on the way. A cast
    that rounds is never removed: ``float64 → float32 → float64`` stays.
    """

    def rewrite(self, scope: Scope, names: Names) -> int:
        """Clean the casts of one graph."""
        return sum([_clean(names, node) for node in list(scope.graph) if is_op(node, "Cast")])


def _clean(names: Names, node: ir.Node) -> bool:
    source = node.inputs[0]
    if source is None or source.dtype is None or not isinstance(source.type, ir.TensorType):
        return False
    target = ir.DataType(get_int(node, "to", 0))
    changed = False
    first = source.producer()
    if first is not None and is_op(first, "Cast"):
        origin = first.inputs[0]
        if (
            origin is not None
            and isinstance(origin.type, ir.TensorType)
            and is_exact(origin.type.dtype, source.dtype)
            and _reads_value_only(target)
        ):
            node.replace_input_with(0, origin)
            inherit(node, first)
            source, changed = origin, True
    if source.dtype == target:
        return remove_identity(names, node, source) or changed
    return changed


def _reads_value_only(target: ir.DataType) -> bool:
    """Whether a cast to ``target`` depends on the number alone (text depends on the type: "0.1" or "0.10000000149")."""
    return target in _FLOATS or target in _INTEGERS or target == ir.DataType.BOOL


def is_exact(source: ir.DataType, target: ir.DataType) -> bool:
    """Whether every value of type ``source`` is also one of type ``target``."""
    if source == target:
        return True
    if source == ir.DataType.BOOL:
        return target in _FLOATS or target in _INTEGERS
    if source in _INTEGERS and target in _INTEGERS:
        (signed, bits), (target_signed, target_bits) = _INTEGERS[source], _INTEGERS[target]
        return bits <= target_bits and (target_signed or not signed)
    if source in _INTEGERS and target in _FLOATS:
        bits = _INTEGERS[source][1]
        return bits <= _FLOATS[target][0] and bits <= _FLOATS[target][2]
    if source in _FLOATS and target in _FLOATS:
        (bits, low, high), (target_bits, target_low, target_high) = _FLOATS[source], _FLOATS[target]
        return bits <= target_bits and low >= target_low and high <= target_high
    return False
