"""What a layout rule works with: the permutation, the plan for one node, and constants in the other layout.

Throughout, a value x of rank r is *permuted* by P when ``Transpose(x, perm=P)`` takes its place: dimension j of the
permuted value is dimension P[j] of x, so what was axis a becomes axis ``inverse[a]``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx_ir as ir

from any2onnx.graph.arrays import contiguous
from any2onnx.passes.editing import Array, Names, Scope, add_constant, constant, tensor_shape
from any2onnx.passes.views import invert

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Constants that are re-laid out and weights whose rows are permuted are computed when the model is saved, not before,
# if they are larger than this many bytes: no second copy is kept in memory.
_LAZY_BYTES = 1 << 20


# A Transpose that only moves dimensions of length 1 is a Reshape: almost free, but not worth inserting for nothing.
TRANSPOSE_COST = 64
RESHAPE_COST = 1


@dataclass(slots=True, eq=False)
class Context:
    """What a rule needs to rewrite a node: where it is, and the permutation.

    Attributes:
        scope: The graph.
        names: The names of the model.
        permutation: P.
        inverse: Its inverse.
    """

    scope: Scope
    names: Names
    permutation: tuple[int, ...]
    inverse: tuple[int, ...] = ()
    _constants: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inverse = invert(self.permutation)

    @property
    def rank(self) -> int:
        """Length of the permutation."""
        return len(self.permutation)

    def axis(self, axis: int) -> int:
        """Return where an axis (negative: counted from the end) of the original is in the permuted value."""
        return self.inverse[axis % self.rank]

    def constant(self, value: ir.Value, before: ir.Node) -> ir.Value:
        """Return the permuted form of a constant operand that is broadcast to rank r."""
        if value in self._constants and not self.scope.in_function:
            return self._constants[value]
        tensor = constant(value)
        assert tensor is not None
        shape = tensor_shape(tensor)
        padded = (1,) * (self.rank - len(shape)) + shape
        target = tuple(padded[axis] for axis in self.permutation)
        while len(target) > 1 and target[0] == 1:
            target = target[1:]
        if target == shape and sum(dim != 1 for dim in shape) <= 1:
            return value
        permutation = self.permutation

        def permute(array: Array) -> Array:
            return array.reshape(padded).transpose(permutation).reshape(target)

        made = transformed(tensor, permute, target)
        held = add_constant(self.scope, self.names, made, f"{value.name}/{layout_name(permutation)}", before=before)
        self._constants[value] = held
        return held

    def shape(self, value: ir.Value) -> ir.Shape:
        """Return the shape of the permuted form of ``value``."""
        assert value.shape is not None
        return ir.Shape([value.shape[axis] for axis in self.permutation])


def layout_name(permutation: Sequence[int]) -> str:
    """Return a short name of a permutation for the names of values: ``perm0312``."""
    return "perm" + "".join(str(axis) for axis in permutation)


def transformed(
    tensor: ir.TensorProtocol, function: Callable[[Array], Array], shape: Sequence[int]
) -> ir.TensorProtocol:
    """Return ``function(tensor)``, of the same type: now if it is small, else when it is written."""
    if tensor.nbytes <= _LAZY_BYTES:
        return ir.Tensor(contiguous(function(tensor.numpy())).reshape(tuple(shape)), dtype=tensor.dtype)

    def compute() -> ir.TensorProtocol:
        return ir.Tensor(contiguous(function(tensor.numpy())), dtype=tensor.dtype)

    return ir.LazyTensor(compute, dtype=tensor.dtype, shape=ir.Shape(tuple(shape)))


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """How one node can work on permuted values.

    Attributes:
        inputs: Positions of the inputs that would be permuted, all together.
        outputs: Positions of the outputs that come out permuted then. Empty for a node whose result is the same
            either way (a reduction that drops the permuted axes): it takes whichever form there is.
        rewrite: Changes attributes and constant inputs; called with the node when it is decided.
        cost: Of running the node on permuted values rather than as it is, where a Transpose costs
            `TRANSPOSE_COST`. An operator that has to become several ones is only worth it where Transposes go.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    rewrite: Callable[[ir.Node, Context], None]
    cost: int = 0
