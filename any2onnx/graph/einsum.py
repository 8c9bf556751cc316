"""Einsum in the form that onnxruntime survives on empty tensors.

The kernel of onnxruntime 1.32 ends the process (a division by zero) where it has to permute the dims of an operand of a
product and the tensor is empty: an empty batch is enough. In the order [shared, own, summed] × [shared, summed, own] it
permutes nothing. It then multiplies matrices, which is one MatMul where each group has one dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from string import ascii_letters
from typing import TYPE_CHECKING

import numpy as np

from any2onnx.graph.types import Value, dims_of, rank_of, shape_of

if TYPE_CHECKING:
    from any2onnx.graph.builder import GraphBuilder
    from any2onnx.graph.constants import Operand


def einsum(g: GraphBuilder, equation: str, operands: Sequence[Operand]) -> Value:
    """Add an Einsum, with its operands permuted before it where some may be empty.

    Args:
        g: Builder.
        equation: Of the operator; spaces, ellipses and no arrow are allowed.
        operands: As operators take them.
    """
    equation = equation.replace(" ", "")
    values = [v if isinstance(v, Value) else g.const(np.asarray(v)) for v in operands]
    shapes = [dims_of(v.shape) for v in values]
    static = all(shape is not None and all(isinstance(d, int) and d for d in shape) for shape in shapes)
    if len(values) < 2 or static or None in shapes:
        return g.op("Einsum", *values, equation=equation)
    terms, output = _letters(equation, [rank_of(v) for v in values])
    first, value = terms[0], values[0]
    for k, (term, other) in enumerate(zip(terms[1:], values[1:], strict=True), 2):
        later = {*output, *"".join(terms[k:])}
        # What neither the later operands nor the output have is summed at once.
        kept = output if k == len(terms) else "".join(c for c in dict.fromkeys(first + term) if c in later)
        value = _product(g, first, value, term, other, kept)
        first = kept
    return value


def _letters(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Return the dims of the operands and of the output, with letters for ellipses, aligned at their ends."""
    left, arrow, output = equation.partition("->")
    terms = left.split(",")
    hidden = [rank - len(term) + 3 if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)]
    free = [c for c in ascii_letters if c not in equation]
    names = "".join(free[: max(hidden)])
    spelled = [t.replace("...", names[len(names) - h :]) for t, h in zip(terms, hidden, strict=True)]
    if not arrow:
        letters = left.replace("...", "").replace(",", "")
        output = "..." + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    return spelled, output.replace("...", names)


def _product(g: GraphBuilder, left: str, a: Value, right: str, b: Value, output: str) -> Value:
    """Contract two operands."""
    left, a = _simplified(g, left, a, {*right, *output})
    right, b = _simplified(g, right, b, {*left, *output})
    shared = "".join(c for c in output if c in left and c in right)
    own_a = "".join(c for c in output if c in left and c not in right)
    own_b = "".join(c for c in output if c in right and c not in left)
    summed = "".join(c for c in left if c in right and c not in output)
    a = _permuted(g, a, left, shared + own_a + summed)
    b = _permuted(g, b, right, shared + summed + own_b)
    if len(own_a) == len(own_b) == len(summed) == 1 and _equal(a, b, shared + own_a + summed, shared + summed + own_b):
        result = g.MatMul(a, b)
    else:
        plain = f"{shared}{own_a}{summed},{shared}{summed}{own_b}->{shared}{own_a}{own_b}"
        result = g.op("Einsum", a, b, equation=plain)
    return _permuted(g, result, shared + own_a + own_b, output)


def _simplified(g: GraphBuilder, term: str, value: Value, wanted: set[str]) -> tuple[str, Value]:
    """Return an operand without dims twice, and without dims that only it has."""
    single = "".join(dict.fromkeys(term))
    kept = "".join(c for c in single if c in wanted)
    if single != term:
        return kept, g.op("Einsum", value, equation=f"{term}->{kept}")
    alone = [k for k, c in enumerate(term) if c not in wanted]
    return kept, g.ReduceSum(value, alone, keepdims=False) if alone else value


def _permuted(g: GraphBuilder, value: Value, have: str, want: str) -> Value:
    return value if have == want else g.Transpose(value, perm=[have.index(c) for c in want])


def _equal(a: Value, b: Value, left: str, right: str) -> bool:
    """Tell whether no dim that both have is 1 in one of them and more in the other: Einsum repeats it, MatMul not."""
    return all(one == other or 1 not in (one, other) for one, other in _shared_dims(a, b, left, right))


def _shared_dims(a: Value, b: Value, left: str, right: str) -> Iterator[tuple[object, object]]:
    dims = dict(zip(right, shape_of(b), strict=True))
    return ((d, dims[c]) for c, d in zip(left, shape_of(a), strict=True) if c in dims)


__all__ = ["einsum"]
