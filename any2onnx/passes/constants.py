"""Constant folding: nodes whose inputs are all constant are computed once, now."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from any2onnx.passes.contract import GraphPass
from any2onnx.passes.editing import (
    Array,
    Names,
    Scope,
    add_constant,
    constant,
    get_int,
    is_op,
    remove_node,
    replace_value,
    static_dims,
    string_tensor,
    tensor_shape,
    words,
)
from any2onnx.passes.views import transpose_permutation

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

# Pure operators whose evaluation by onnx's reference implementation was compared with onnxruntime's
# (parity_tests/passes/test_constants.py runs each). Left out on purpose: random operators, control flow, sequences,
# Quantize/DequantizeLinear (folding them would undo a quantisation), and everything slow in the reference.
FOLDABLE = words(
    """
    Abs Add And ArgMax ArgMin BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast Ceil Clip Concat ConstantOfShape
    Cos CumSum Div Einsum Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm Greater
    GreaterOrEqual Identity IsInf IsNaN Less LessOrEqual Log MatMul Max Mean Min Mod Mul Neg NonZero Not OneHot
    Or Pad Pow Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Round
    ScatterElements ScatterND Shape Sigmoid Sign Sin Size Slice Split Sqrt Squeeze Sub Sum Tanh Tile Transpose
    Trilu Unsqueeze Where Xor
    """
)
# The size of what they make depends on values, not on the size of their inputs.
_GENERATORS = frozenset({"ConstantOfShape", "Expand", "EyeLike", "OneHot", "Pad", "Range", "Tile"})
# The result may have as many elements as the product of the operands' numbers of elements.
_PRODUCTS = frozenset({"Einsum", "Gather", "GatherND", "Gemm", "MatMul"})
# Products of matrices larger than this (number of elements, multiplied) would hold up the conversion.
_WORK_LIMIT = 1 << 26
_BROADCASTING = words(
    """
    Add And BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Mean Min Mod
    Mul Or Pow Sub Sum Where Xor
    """
)
_DTYPES = frozenset(
    {
        ir.DataType.BFLOAT16,
        ir.DataType.BOOL,
        ir.DataType.DOUBLE,
        ir.DataType.FLOAT,
        ir.DataType.FLOAT16,
        ir.DataType.INT8,
        ir.DataType.INT16,
        ir.DataType.INT32,
        ir.DataType.INT64,
        ir.DataType.STRING,
        ir.DataType.UINT8,
        ir.DataType.UINT16,
        ir.DataType.UINT32,
        ir.DataType.UINT64,
    }
)
# Text has no vectorised form in numpy; a long vocabulary is not worth a loop.
_TEXT_LIMIT = 1024
_EVALUATION_ERRORS = (ArithmeticError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError)


class FoldConstantsPass(GraphPass):
    """Replace nodes with constant inputs by what they compute, and Constant nodes by initializers.

    The model never grows by more than ``growth_limit`` bytes per node: what is made may be larger than what becomes
    free (the constant inputs that nothing else reads) by that much only. So a large Expand or ConstantOfShape stays,
    and a Transpose of a weight that others read too stays whatever its size: tied weights are stored once.

    Args:
        growth_limit: In bytes.
    """

    def __init__(self, growth_limit: int = 4096) -> None:
        super().__init__()
        self.growth_limit = growth_limit

    def rewrite(self, scope: Scope, names: Names) -> int:
        """Fold the constants of one graph, in one sweep (inputs come before their readers)."""
        count = 0
        for node in list(scope.graph):
            if is_op(node, "Constant"):
                count += _lift(scope, names, node)
            elif is_op(node, *FOLDABLE) and node.inputs and all(_is_constant(value) for value in node.inputs):
                count += self._fold(scope, names, node)
        return count

    def _fold(self, scope: Scope, names: Names, node: ir.Node) -> bool:
        used = [value for value in node.outputs if value.uses() or value.is_graph_output()]
        if not used:
            return False  # dead code; not worth computing
        # Data in a Constant node, as functions and graph outputs need it, cannot be stored outside the model file.
        inline = scope.in_function or any(value.is_graph_output() for value in used)
        if not _is_suitable(node) or (inline and node.op_type == "Identity"):
            return False
        growth = 0 if node.op_type == "Transpose" and _is_shared(node.inputs[0]) else self.growth_limit
        limit = growth + (0 if inline else _freed_bytes(node))
        if _predicted_bytes(node) > limit:
            return False
        results = evaluate(node, scope.opset)
        if results is None or sum(tensor.nbytes for tensor in results) > limit:
            return False
        for output, tensor in zip(node.outputs, results, strict=True):
            if output in used:
                _put(scope, names, node, output, tensor)
        remove_node(node)
        return True


def _is_constant(value: ir.Value | None) -> bool:
    return value is None or constant(value) is not None


def _is_suitable(node: ir.Node) -> bool:
    """Whether types and sizes are such that the reference implementation computes what the runtime would, in time."""
    tensors = [tensor for tensor in map(constant, node.inputs) if tensor is not None]
    if any(tensor.dtype not in _DTYPES for tensor in tensors):
        return False
    text = [tensor for tensor in tensors if tensor.dtype == ir.DataType.STRING]
    if any(tensor.size > _TEXT_LIMIT for tensor in text):
        return False
    if node.op_type == "Cast":
        # Numbers are printed and parsed in other ways by every implementation.
        target = ir.DataType(get_int(node, "to", 0))
        return not text and target in _DTYPES and target != ir.DataType.STRING
    if node.op_type in ("Einsum", "Gemm", "MatMul"):
        return math.prod(tensor.size for tensor in tensors[:2]) <= _WORK_LIMIT
    return True


def _is_shared(value: ir.Value | None) -> bool:
    return value is not None and len(list(value.uses())) > 1


def _freed_bytes(node: ir.Node) -> int:
    """Bytes of the constant inputs that only ``node`` reads."""
    freed = 0
    for value in dict.fromkeys(node.inputs):
        if value is None or value.is_graph_output() or any(user is not node for user, _ in value.uses()):
            continue
        tensor = constant(value)
        freed += 0 if tensor is None else tensor.nbytes
    return freed


def _predicted_bytes(node: ir.Node) -> float:
    """A bound on the size of the result, known before it is computed (0: it cannot be larger than the inputs)."""
    output = node.outputs[0]
    item: float = 8 if output.dtype is None or output.dtype == ir.DataType.STRING else output.dtype.itemsize
    known = static_dims(output)
    if known is not None:
        return float(math.prod(known) * item)
    tensors = [constant(value) for value in node.inputs]
    if node.op_type in _GENERATORS:
        return float(_generated_elements(node, tensors) * item)
    shapes = [tensor_shape(tensor) for tensor in tensors if tensor is not None]
    if node.op_type in _PRODUCTS:
        return float(math.prod(math.prod(shape) for shape in shapes[:2]) * item)
    if node.op_type in _BROADCASTING:
        # A bound on broadcasting that also holds for shapes that do not fit (evaluating them then fails).
        length = max(len(shape) for shape in shapes)
        padded = [(1,) * (length - len(shape)) + shape for shape in shapes]
        return float(math.prod(max(axis) for axis in zip(*padded, strict=True)) * item)
    return 0


def _generated_elements(node: ir.Node, tensors: Sequence[ir.TensorProtocol | None]) -> int:
    """Number of elements that an operator makes whose result's size depends on the values of its inputs."""
    numbers = [None if tensor is None or tensor.dtype == ir.DataType.STRING else tensor.numpy() for tensor in tensors]
    first = numbers[0]
    if first is None:
        return 1 << 62
    if node.op_type == "ConstantOfShape":
        return math.prod(int(item) for item in first)
    if node.op_type == "EyeLike":
        return int(first.size)
    second = numbers[1] if len(numbers) > 1 else None
    if second is None:
        return 1 << 62
    if node.op_type == "Expand":
        return max(1, int(first.size)) * math.prod(max(1, int(item)) for item in second)
    if node.op_type == "Tile":
        return int(first.size) * math.prod(int(item) for item in second)
    if node.op_type == "OneHot":
        return int(first.size) * int(second.reshape(-1)[0])
    if node.op_type == "Range":
        step = numbers[2]
        assert step is not None
        return max(0, math.ceil((second.item() - first.item()) / step.item())) if step.item() else 1 << 62
    pads = [max(0, int(item)) for item in second]  # Pad: bound by padding every axis by all pads
    return math.prod(int(dim) + sum(pads) for dim in first.shape)


def evaluate(node: ir.Node, opset: int) -> list[ir.TensorProtocol] | None:
    """Compute a node from its constant inputs.

    Args:
        node: Its operator is in :data:`FOLDABLE`.
        opset: Version of the default domain.

    Returns:
        One tensor per output, or None when the expression has no value (a shape that does not fit, a division of
        integers by zero): such a node stays, so that the runtime reports it if it is ever reached.
    """
    tensors = [constant(value) for value in node.inputs]
    arrays = [None if tensor is None else _to_numpy(tensor) for tensor in tensors]
    permutation = transpose_permutation(node)
    if permutation is not None and arrays[0] is not None:
        return [_to_tensor(np.transpose(arrays[0], permutation), tensors[0])]
    if _divides_integers_by_zero(node, arrays):
        return None
    try:
        results = _run_reference(node, opset, arrays)
    except _EVALUATION_ERRORS as error:
        logger.debug("node %s (%s) is not folded: %s", node.name, node.op_type, error)
        return None
    return [_to_tensor(np.asarray(result), None) for result in results]


def _divides_integers_by_zero(node: ir.Node, arrays: Sequence[Array | None]) -> bool:
    if node.op_type not in ("Div", "Mod") or arrays[1] is None:
        return False
    return arrays[1].dtype.kind in "iu" and not np.all(arrays[1])


def _run_reference(node: ir.Node, opset: int, arrays: Sequence[Array | None]) -> list[Array]:
    """Run one node in onnx's reference implementation."""
    from onnx import NodeProto
    from onnx.reference import ReferenceEvaluator

    proto = NodeProto(op_type=node.op_type)
    proto.input.extend("" if array is None else f"x{index}" for index, array in enumerate(arrays))
    proto.output.extend(f"y{index}" if value.name else "" for index, value in enumerate(node.outputs))
    proto.attribute.extend(ir.to_proto(attribute) for attribute in node.attributes.values())
    feeds = {f"x{index}": array for index, array in enumerate(arrays) if array is not None}
    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(proto, opsets={"": opset}).run(None, feeds)
    return [np.asarray(result) for result in results]


def _to_numpy(tensor: ir.TensorProtocol) -> Array:
    if tensor.dtype != ir.DataType.STRING:
        return tensor.numpy()
    text = np.empty(tensor.size, dtype=object)
    for index, item in enumerate(np.asarray(tensor.numpy(), dtype=object).reshape(-1)):
        text[index] = item.decode("utf-8") if isinstance(item, bytes) else item
    return text.reshape(tensor_shape(tensor))


def _to_tensor(array: Array, like: ir.TensorProtocol | None) -> ir.TensorProtocol:
    if array.dtype.kind in "OUS":
        encoded = np.empty(array.size, dtype=object)
        for index, item in enumerate(array.reshape(-1)):
            encoded[index] = item if isinstance(item, bytes) else str(item).encode("utf-8")
        return string_tensor(encoded.reshape(array.shape))
    return ir.Tensor(array, dtype=None if like is None else like.dtype)


def _lift(scope: Scope, names: Names, node: ir.Node) -> bool:
    """Turn a Constant node into an initializer, unless it is a graph output or belongs to a function's body."""
    output = node.outputs[0]
    tensor = constant(output)
    if tensor is None or scope.in_function or output.is_graph_output():
        return False
    _put(scope, names, node, output, tensor)
    remove_node(node)
    return True


def _put(scope: Scope, names: Names, node: ir.Node, output: ir.Value, tensor: ir.TensorProtocol) -> None:
    """Let readers of ``output`` read a constant; the caller removes ``node``."""
    shape = ir.Shape(tensor_shape(tensor))
    if not scope.in_function and not output.is_graph_output():
        value = ir.Value(name=output.name, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)
        tensor.name = output.name
        value.metadata_props.update(output.metadata_props)
        # The name moves from the node's output to the initializer, so models keep readable names.
        output.replace_all_uses_with(value)
        scope.graph.register_initializer(value)
        return
    inline = Scope(scope.graph, scope.opset, in_function=True)  # so that a Constant node is made
    replace_value(names, output, add_constant(inline, names, tensor, f"{output.name}/value", before=node))
