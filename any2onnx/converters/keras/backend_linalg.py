"""Products of `keras.src.backend.numpy` and `keras.src.backend.linalg`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.keras.backend_common import Context, backend_function, keras_backend
from any2onnx.converters.keras.backend_convolution import permuted
from any2onnx.converters.keras.backend_reductions import reduce
from any2onnx.graph.types import DataType, Value, dtype_of, rank_of, shape_of


def product_type(c: Context) -> DataType:
    """Return the type to compute a product in: int8 is summed in int32, as Keras says by its result."""
    kind = c.out
    return DataType.INT32 if kind in (DataType.BOOL, DataType.INT8, DataType.UINT8, DataType.INT16) else kind


def matrix_product(c: Context, x1: Any, x2: Any) -> Value:
    """Matrix product with numpy's broadcasting; small integers are summed in 32 bits."""
    kind = product_type(c)
    a, b = c.t(x1, kind), c.t(x2, kind)
    return c.g.MatMul(a, b)


@backend_function
def matmul(c: Context, x1: Any, x2: Any) -> Value:
    """Matrix product."""
    return matrix_product(c, x1, x2)


def contraction(c: Context, a: Value, b: Value, first: Sequence[int], second: Sequence[int]) -> Value:
    """Sum of products over pairs of dims; the remaining dims of both follow each other."""
    g = c.g
    free_a = [k for k in range(rank_of(a)) if k not in first]
    free_b = [k for k in range(rank_of(b)) if k not in second]
    sizes = [c.sizes_of(a)[k] for k in free_a] + [c.sizes_of(b)[k] for k in free_b]
    a = c.transpose(a, [*free_a, *first])
    b = c.transpose(b, [*second, *free_b])
    if len(free_a) >= 1 and len(first) == 1 and len(free_b) == 1:
        return g.MatMul(a, b)
    pairs = zip(shape_of(b), shape_of(a)[len(free_a) :], strict=False)
    known = [d for d in (x if isinstance(x, int) else y for x, y in pairs) if isinstance(d, int)]
    total: Any = math.prod(known)
    if len(known) != len(second):
        parts = [g.dim(b, k) for k in range(len(second))]
        total = parts[0]
        for part in parts[1:]:
            total = g.Mul(total, part)
    left = g.Reshape(a, g.shape_vector([-1, total]))
    right = g.Reshape(b, g.shape_vector([total, -1]))
    result = g.MatMul(left, right)
    return g.Reshape(result, g.shape_vector(sizes) if sizes else [])


@backend_function
def dot(c: Context, x1: Any, x2: Any) -> Value:
    """Sum of products over the last dim of x1 and the last but one of x2; under PyTorch the other dims are a batch."""
    kind = product_type(c)
    a, b = c.t(x1, kind), c.t(x2, kind)
    if rank_of(a) == 0 or rank_of(b) == 0:
        return c.g.Mul(a, b)
    if rank_of(b) <= 2 or keras_backend() == "torch":
        return c.g.MatMul(a, b)
    return contraction(c, a, b, [rank_of(a) - 1], [rank_of(b) - 2])


@backend_function
def inner(c: Context, x1: Any, x2: Any) -> Value:
    """Sum of products over the last dims."""
    kind = product_type(c)
    a, b = c.t(x1, kind), c.t(x2, kind)
    if rank_of(a) == 0 or rank_of(b) == 0:
        return c.g.Mul(a, b)
    return contraction(c, a, b, [rank_of(a) - 1], [rank_of(b) - 1])


@backend_function
def vdot(c: Context, x1: Any, x2: Any) -> Value:
    """Sum of products of all elements."""
    kind = product_type(c)
    return c.g.MatMul(c.flat(c.t(x1, kind)), c.flat(c.t(x2, kind)))


@backend_function
def outer(c: Context, x1: Any, x2: Any) -> Value:
    """Products of all pairs."""
    a, b = c.as_out(x1, x2)
    return c.g.Mul(c.g.Reshape(a, [-1, 1]), c.g.Reshape(b, [1, -1]))


@backend_function
def tensordot(c: Context, x1: Any, x2: Any, axes: Any) -> Value:
    """Sum of products over pairs of dims."""
    kind = product_type(c)
    a, b = c.t(x1, kind), c.t(x2, kind)
    if isinstance(axes, int):
        first, second = list(range(rank_of(a) - axes, rank_of(a))), list(range(axes))
    else:
        first, second = c.axes(axes[0], rank_of(a)), c.axes(axes[1], rank_of(b))
    if not first:
        shape = [*c.sizes_of(a), *c.sizes_of(b)]
        whole = c.g.Mul(c.g.Reshape(a, [-1, 1]), c.g.Reshape(b, [1, -1]))
        return c.g.Reshape(whole, c.g.shape_vector(shape))
    return contraction(c, a, b, first, second)


@backend_function
def einsum(c: Context, subscripts: Any, operands: Any, *more: Any) -> Value:
    """Sum of products by subscripts."""
    kind = product_type(c)
    values = [c.t(x, kind) for x in operands]
    text = str(subscripts).replace(" ", "")
    if len(values) == 2 and "..." not in text:
        product = _as_matrix_product(c, text, *values)
        if product is not None:
            return product
    return c.g.Einsum(*values, equation=text)


def _as_matrix_product(c: Context, text: str, a: Value, b: Value) -> Value | None:
    """Return the einsum as transposes around one MatMul, or None for forms that are none."""
    g = c.g
    inputs, _, output = text.partition("->")
    if not output:
        return None
    left, right = inputs.split(",")
    if any(len(set(part)) != len(part) for part in (left, right, output)):
        return None
    batch = [d for d in output if d in left and d in right]
    summed = [d for d in left if d in right and d not in output]
    free_a = [d for d in left if d not in right]
    free_b = [d for d in right if d not in left]
    if any(d not in output for d in free_a + free_b) or not summed:
        return None
    dims = dict(zip(left, shape_of(a), strict=True)) | {
        d: s for d, s in zip(right, shape_of(b), strict=True) if d not in left or isinstance(s, int)
    }
    first, second = a, b
    a = c.transpose(a, [left.index(d) for d in [*batch, *free_a, *summed]])
    b = permuted(c, b, [right.index(d) for d in [*batch, *summed, *free_b]])
    order = [*batch, *free_a, *free_b]
    # MatMul takes any leading dims of the left operand where the right one is a matrix.
    as_it_is = len(summed) == 1 and len(free_b) == 1 and (len(free_a) == 1 or (not batch and free_a))
    if not as_it_is:
        together, right_size = _grouped(dims, summed), _grouped(dims, free_b)
        if together is None or right_size is None or (len(batch) > 1 and _grouped(dims, batch) is None):
            return None
        lead = [0] * len(batch)
        rows = [0] * len(free_a) if free_a and not batch else [-1]
        a = g.Reshape(a, [*lead, *rows, together])
        b = _reshaped(c, b, [*lead, together, right_size])
    result = g.MatMul(a, b)
    if not as_it_is and (len(free_b) != 1 or batch or not free_a):
        shape: list[int | Value] = []
        for k, label in enumerate(order):
            dim = dims[label]
            if isinstance(dim, int):
                shape.append(dim)
            elif dim is not None and shape_of(result)[k : k + 1] == (dim,):
                # A dim that stays where it is needs no Shape node.
                shape.append(0)
            else:
                shape.append(_size(c, label, left, first, right, second))
        result = g.Reshape(result, g.shape_vector(shape) if shape else [])
    return c.transpose(result, [order.index(d) for d in output])


def _size(c: Context, label: str, left: str, a: Value, right: str, b: Value) -> Value:
    return c.g.dim(a, left.index(label)) if label in left else c.g.dim(b, right.index(label))


def _reshaped(c: Context, x: Value, shape: list[int]) -> Value:
    """Reshape; of a constant, a view."""
    if x.const_value is not None and 0 not in shape:
        return c.g.const(x.const_value.numpy().reshape(shape), name=str(x.name))
    return c.g.Reshape(x, shape)


def _grouped(dims: dict[str, Any], labels: Sequence[str]) -> int | None:
    """Return the size of several dims together, or None where one is dynamic."""
    if all(isinstance(dims[d], int) for d in labels):
        return math.prod(int(dims[d]) for d in labels)
    return None


@backend_function
def kron(c: Context, x1: Any, x2: Any) -> Value:
    """Kronecker product."""
    g = c.g
    a, b = c.as_out(x1, x2)
    rank = max(rank_of(a), rank_of(b))
    a = g.Unsqueeze(a, list(range(rank - rank_of(a)))) if rank_of(a) < rank else a
    b = g.Unsqueeze(b, list(range(rank - rank_of(b)))) if rank_of(b) < rank else b
    sizes: list[int | Value] = []
    for m, n in zip(c.sizes_of(a), c.sizes_of(b), strict=True):
        if isinstance(m, int) and isinstance(n, int):
            sizes.append(m * n)
        else:
            sizes.append(g.Mul(*(v if isinstance(v, Value) else g.const(np.asarray([v], np.int64)) for v in (m, n))))
    wide = g.Mul(g.Unsqueeze(a, list(range(1, 2 * rank, 2))), g.Unsqueeze(b, list(range(0, 2 * rank, 2))))
    return g.Reshape(wide, g.shape_vector(sizes))


@backend_function
def cross(c: Context, x1: Any, x2: Any, axisa: Any, axisb: Any, axisc: Any, axis: Any) -> Value:
    """Vector product of vectors of two or three elements."""
    g = c.g
    a, b = c.as_out(x1, x2)
    if axis is not None:
        axisa = axisb = axisc = axis
    a = c.move(a, c.axis(axisa, rank_of(a)), rank_of(a) - 1)
    b = c.move(b, c.axis(axisb, rank_of(b)), rank_of(b) - 1)

    def parts(x: Value) -> list[Value | None]:
        size = c.static_dim(x, rank_of(x) - 1, "of the vectors")
        last = rank_of(x) - 1
        found: list[Value | None] = [g.Squeeze(v, [last]) for v in g.Split(x, [1] * size, axis=last)]
        return found if size == 3 else [*found, None]

    p, q = parts(a), parts(b)

    def times(u: Value | None, v: Value | None) -> Value | None:
        return None if u is None or v is None else g.Mul(u, v)

    def minus(u: Value | None, v: Value | None) -> Value:
        if u is None:
            assert v is not None
            return g.Neg(v)
        return u if v is None else g.Sub(u, v)

    third = minus(times(p[0], q[1]), times(p[1], q[0]))
    if p[2] is None and q[2] is None:
        return third
    first = minus(times(p[1], q[2]), times(p[2], q[1]))
    second = minus(times(p[2], q[0]), times(p[0], q[2]))
    rank = max(rank_of(v) for v in (first, second, third))
    shape = g.Shape(g.Add(g.Add(first, second), third))
    joined = g.Concat(*[g.Unsqueeze(g.Expand(v, shape), [rank]) for v in (first, second, third)], axis=rank)
    return c.move(joined, rank, c.axis(axisc, rank + 1))


# --- matrices --------------------------------------------------------------------------------------------------------


@backend_function
def det(c: Context, a: Any) -> Value:
    """Determinant."""
    return c.g.Det(c.as_float(a))


@backend_function
def norm(c: Context, x: Any, order: Any, axis: Any, keepdims: Any) -> Value:
    """Norm of vectors (one axis) or matrices (two)."""
    g = c.g
    value = c.as_float(x)
    keep = bool(keepdims)
    rank = rank_of(value)
    if axis is None and (order is None or rank not in (1, 2)):
        axes = list(range(rank))
        if order is None:
            return g.Sqrt(reduce(c, "Sum", g.Mul(value, value), axes, keep))
    axes = c.axes(axis, rank)
    if len(axes) == 1:
        return _vector_norm(c, value, order, axes, keep)
    return _matrix_norm(c, value, order, axes, keep)


def _vector_norm(c: Context, x: Value, order: Any, axes: list[int], keep: bool) -> Value:
    g = c.g
    size = g.Abs(x)
    if order in (None, "euclidean", 2):
        return g.Sqrt(reduce(c, "Sum", g.Mul(x, x), axes, keep))
    if order == 0:
        return reduce(c, "Sum", g.Cast(g.Not(g.Equal(x, c.number(0, x))), dtype_of(x)), axes, keep)
    if order == math.inf:
        return reduce(c, "Max", size, axes, keep)
    if order == -math.inf:
        return reduce(c, "Min", size, axes, keep)
    if order == 1:
        return reduce(c, "Sum", size, axes, keep)
    power = float(c.static(order, "ord"))
    total = reduce(c, "Sum", g.Pow(size, c.number(power, x)), axes, keep)
    return g.Pow(total, c.number(1 / power, x))


def _matrix_norm(c: Context, x: Value, order: Any, axes: list[int], keep: bool) -> Value:
    g = c.g
    if order in (None, "euclidean", "fro"):
        return g.Sqrt(reduce(c, "Sum", g.Mul(x, x), axes, keep))
    if order in (1, -1, math.inf, -math.inf):
        summed, other = (axes[0], axes[1]) if order in (1, -1) else (axes[1], axes[0])
        sums = reduce(c, "Sum", g.Abs(x), summed, True)
        result = reduce(c, "Max" if order in (1, math.inf) else "Min", sums, other, True)
        return result if keep else g.Squeeze(result, sorted(axes))
    raise c.refuse(f"ord={order!r} of a matrix needs its singular values", "'fro', 1, -1, inf or -inf")
