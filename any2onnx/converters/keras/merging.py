"""keras.layers.merging: element-wise merges, Concatenate, Dot."""

from __future__ import annotations

from any2onnx.converters.keras.backend_common import keras_backend, keras_name
from any2onnx.converters.keras.calls import LayerCall
from any2onnx.converters.keras.normalization import normalized
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dtype_of, rank_of


def _operands(g: GraphBuilder, call: LayerCall) -> list[Value]:
    """Return the inputs in one type and at one rank: Keras inserts dims behind the batch."""
    values = [g.Cast(v, kind) for v in call.inputs[0]] if (kind := _common_type(call)) else list(call.inputs[0])
    rank = max(rank_of(v) for v in values)
    return [g.Unsqueeze(v, list(range(1, 1 + rank - rank_of(v)))) if rank_of(v) < rank else v for v in values]


def _common_type(call: LayerCall) -> DataType | None:
    """Return the type that Keras's functions promote to; None where all inputs have one."""
    kinds = list(dict.fromkeys(dtype_of(v) for v in call.inputs[0]))
    if len(kinds) == 1:
        return None
    from keras.src.backend import result_type

    return call.walker.dtype(result_type(*(keras_name(kind) for kind in kinds)))


def add(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Add, from the first input to the last."""
    first, *rest = _operands(g, call)
    for value in rest:
        first = g.Add(first, value)
    return first


def average(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Average: the sum over the number of inputs. Of 32 bits and more TensorFlow's division is float64."""
    total = add(g, call)
    if dtype_of(total) not in FLOATS:
        small = dtype_of(total) in (DataType.INT8, DataType.INT16, DataType.UINT8, DataType.UINT16)
        total = g.Cast(total, DataType.DOUBLE if keras_backend() == "tensorflow" and not small else DataType.FLOAT)
    return g.Div(total, g.scalar_like(len(call.inputs[0]), total))


def subtract(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Subtract."""
    first, second = _operands(g, call)
    return g.Sub(first, second)


def multiply(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Multiply: masked positions count as 1, and as 0 in the result where every input has a mask."""
    sources = list(call.inputs[0])
    values = _operands(g, call)
    masks = [call.walker.masks.get(v) for v in sources]
    if all(m is None for m in masks):
        return _product(g, values)
    wide = [None if m is None else _over(g, m, v) for m, v in zip(masks, values, strict=True)]
    result = _product(
        g, [v if m is None else g.Where(m, v, g.scalar_like(1, v)) for m, v in zip(wide, values, strict=True)]
    )
    known = [m for m in wide if m is not None]
    if len(known) == len(values):
        anywhere = _any(g, known)
        result = g.Where(anywhere, result, g.scalar_like(0, result))
        call.walker.masks.set(result, _step_mask(g, anywhere))
    return result


def _product(g: GraphBuilder, values: list[Value]) -> Value:
    first, *rest = values
    for value in rest:
        first = g.Mul(first, value)
    return first


def maximum(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Maximum."""
    return _extreme(g, call, "Max")


def minimum(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Minimum."""
    return _extreme(g, call, "Min")


def _extreme(g: GraphBuilder, call: LayerCall, op_type: str) -> Value:
    """Apply Max or Min, leaving out masked positions as Merge._apply_merge_op_and_or_mask does."""
    sources = list(call.inputs[0])
    values = _operands(g, call)
    masks = [call.walker.masks.get(v) for v in sources]
    if all(m is None for m in masks):
        return values[0] if len(values) == 1 else g.op(op_type, *values)
    result, known = values[0], None if masks[0] is None else _over(g, masks[0], values[0])
    for value, mask in zip(values[1:], masks[1:], strict=True):
        wide = None if mask is None else _over(g, mask, value)
        if wide is not None:
            value = g.Where(wide, value, result)
        if known is not None:
            result = g.Where(known, result, value)
        known = g.Or(known, wide) if known is not None and wide is not None else None
        result = g.op(op_type, result, value)
    if known is not None:
        call.walker.masks.set(result, _step_mask(g, known))
    return result


def _over(g: GraphBuilder, mask: Value, value: Value) -> Value:
    """Return a mask of steps over all features."""
    return g.Expand(g.Unsqueeze(mask, rank_of(mask)), g.Shape(value))


def _any(g: GraphBuilder, masks: list[Value]) -> Value:
    first, *rest = masks
    for mask in rest:
        first = g.Or(first, mask)
    return first


def _step_mask(g: GraphBuilder, mask: Value) -> Value:
    return g.Cast(g.ReduceMax(g.Cast(mask, "float32"), -1, keepdims=False), "bool")


def concatenate(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Concatenate; a single input passes."""
    values = list(call.inputs[0])
    return values[0] if len(values) == 1 else g.Concat(*values, axis=int(call.source.axis))


def dot(g: GraphBuilder, call: LayerCall) -> Value:
    """Convert Dot: contraction of one axis each, batch by batch, cosine similarity with normalize=True."""
    layer = call.source
    x, y = call.inputs[0]
    given = layer.axes if isinstance(layer.axes, list | tuple) else [layer.axes, layer.axes]
    ax, ay = int(given[0]) % rank_of(x), int(given[1]) % rank_of(y)
    if layer.normalize:
        x, y = normalized(g, x, [ax], _default_epsilon()), normalized(g, y, [ay], _default_epsilon())
    if rank_of(x) > 3 or rank_of(y) > 3:
        return _dot_general(g, x, y, ax, ay)
    ranks = rank_of(x), rank_of(y)
    left = g.Unsqueeze(x, 1) if ranks[0] == 2 else (g.Transpose(x, perm=[0, 2, 1]) if ax == 1 else x)
    right = g.Unsqueeze(y, 2) if ranks[1] == 2 else (g.Transpose(y, perm=[0, 2, 1]) if ay == 2 else y)
    result = g.MatMul(left, right)
    if ranks[0] == 2:
        return g.Squeeze(result, 1)
    return g.Squeeze(result, 2) if ranks[1] == 2 else result


def _dot_general(g: GraphBuilder, x: Value, y: Value, ax: int, ay: int) -> Value:
    names = iter("cdefghijklmn")
    left = ["b", *(next(names) for _ in range(rank_of(x) - 1))]
    right = ["b", *(next(names) for _ in range(rank_of(y) - 1))]
    left[ax] = right[ay] = "a"
    output = [c for c in left if c != "a"] + [c for c in right[1:] if c != "a"]
    return g.Einsum(x, y, equation=f"{''.join(left)},{''.join(right)}->{''.join(output)}")


def _default_epsilon() -> float:
    import keras

    return float(keras.config.epsilon())
