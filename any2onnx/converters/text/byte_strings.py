"""The bytes of texts and of decimal numbers, as hash functions read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from any2onnx.converters.text.strings import compacted, flags, number, split_characters
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.opsets import CONTRIB
from any2onnx.graph.types import DataType, TensorSpec, Value, dims_of, dtype_of

_DIGITS: Final = 20
_MINUS, _ZERO = ord("-"), ord("0")


@dataclass(frozen=True, slots=True)
class ByteStrings:
    """M byte strings.

    Attributes:
        matrix: uint64 [M, W], W ≥ 1: numbers 0 … 255, 0 behind the end.
        lengths: int64 [M].
    """

    matrix: Value
    lengths: Value


def utf8_bytes(g: GraphBuilder, texts: Value) -> ByteStrings:
    """Return the UTF-8 bytes of texts [M], M ≥ 1.

    No operator gives the number of a character, but com.microsoft's MurmurHash3 of a character can be undone: for up
    to four bytes of known number it is a one-to-one map, each of whose steps has an inverse in uint32 arithmetic.
    """
    blank = g.Expand(g.const(np.asarray("", object)), g.shape_vector([g.dim(texts, 0), 1]))
    # One column more, so that there is always one.
    characters = g.op("Concat", split_characters(g, texts), blank, axis=1)
    sizes = _byte_counts(g, characters)
    packed = _packed_bytes(g, characters, sizes)
    shifts = g.const(np.array([0, 8, 16, 24], np.uint32))
    each = g.op("BitShift", g.Unsqueeze(packed, 2), shifts, direction="RIGHT")
    values = g.Cast(g.BitwiseAnd(each, g.const(np.asarray(255, np.uint32))), DataType.UINT64)
    present = g.Less(g.const(np.arange(4, dtype=np.int64)), g.Unsqueeze(sizes, 2))
    matrix = compacted(g, g.Reshape(values, [0, -1]), g.Reshape(present, [0, -1]), g.const(np.asarray(0, np.uint64)))
    return ByteStrings(matrix, g.ReduceSum(sizes, 1, keepdims=False))


def _byte_counts(g: GraphBuilder, characters: Value) -> Value:
    """Return the number of UTF-8 bytes of characters, 0 for ""; int64."""
    one = g.RegexFullMatch(characters, pattern=r"[\x00-\x7f]")
    two = g.RegexFullMatch(characters, pattern=r"[\x{80}-\x{7ff}]")
    three = g.RegexFullMatch(characters, pattern=r"[\x{800}-\x{ffff}]")
    several = g.Where(two, number(g, 2), g.Where(three, number(g, 3), number(g, 4)))
    empty = g.Equal(characters, g.const(np.asarray("", object)))
    return g.Where(empty, number(g, 0), g.Where(one, number(g, 1), several))


def _packed_bytes(g: GraphBuilder, characters: Value, sizes: Value) -> Value:
    """Return the UTF-8 bytes of characters as one uint32 each, the first byte lowest."""

    def u(value: int) -> Value:
        return g.const(np.asarray(value & 0xFFFFFFFF, np.uint32))

    def inverse(factor: int) -> Value:
        return u(pow(factor, -1, 1 << 32))

    def right(x: Value, bits: int) -> Value:
        return g.op("BitShift", x, u(bits), direction="RIGHT")

    def rotated(x: Value, bits: int) -> Value:
        """Rotate to the right."""
        return g.BitwiseOr(right(x, bits), g.op("BitShift", x, u(32 - bits), direction="LEFT"))

    def unshifted(x: Value, bits: int) -> Value:
        """Undo x ^= x >> bits."""
        result = x
        for _ in range(31 // bits):
            result = g.BitwiseXor(x, right(result, bits))
        return result

    dims = dims_of(characters.shape)
    (hashed,) = g.ops(
        "MurmurHash3", characters, domain=CONTRIB, types=[TensorSpec(DataType.UINT32, dims)], seed=0, positive=1
    )
    # The finalizer, backwards.
    mixed = g.Mul(unshifted(hashed, 16), inverse(0xC2B2AE35))
    mixed = g.Mul(unshifted(mixed, 13), inverse(0x85EBCA6B))
    mixed = g.BitwiseXor(unshifted(mixed, 16), g.Cast(sizes, DataType.UINT32))
    # A block of four bytes goes through one step more than fewer bytes do.
    block = rotated(g.Mul(g.Sub(mixed, u(0xE6546B64)), inverse(5)), 13)
    four = g.Equal(sizes, number(g, 4))
    value = g.Where(four, block, mixed)
    return g.Mul(rotated(g.Mul(value, inverse(0x1B873593)), 15), inverse(0xCC9E2D51))


def decimal_bytes(g: GraphBuilder, numbers: Value) -> ByteStrings:
    """Return the decimal digits of integers [M] as text has them, "-" before negative ones."""
    if dtype_of(numbers) == DataType.UINT64:
        size, negative = numbers, g.Expand(g.const(np.asarray(False)), g.Shape(numbers))
    else:
        signed = g.Cast(numbers, DataType.INT64)
        negative = g.Less(signed, number(g, 0))
        # The most negative number is its own opposite, and in uint64 the right size.
        size = g.Cast(g.Where(negative, g.Neg(signed), signed), DataType.UINT64)
    powers = np.array([10**k for k in range(_DIGITS)], np.uint64)
    quotients = g.Div(g.Unsqueeze(size, 1), g.const(powers))
    digits = g.Cast(g.Mod(quotients, g.const(np.asarray(10, np.uint64))), DataType.INT64)
    above = g.Slice(quotients, [1], [_DIGITS], [1])
    more = flags(g, g.Greater(above, g.const(np.asarray(0, np.uint64))))
    sign = flags(g, negative)
    lengths = g.Add(g.Add(g.ReduceSum(more, 1, keepdims=False), number(g, 1)), sign)
    position = g.const(np.arange(_DIGITS, dtype=np.int64))
    column = g.Sub(g.Sub(g.Unsqueeze(lengths, 1), number(g, 1)), position)
    inside = g.GreaterOrEqual(column, number(g, 0))
    # Of a number with a sign, the first place has no digit of its own: that place is overwritten.
    place = g.Min(g.Max(column, number(g, 0)), number(g, _DIGITS - 1))
    text = g.Add(g.GatherElements(digits, place, axis=1), number(g, _ZERO))
    first = g.And(g.Equal(position, number(g, 0)), g.Unsqueeze(negative, 1))
    text = g.Where(inside, g.Where(first, number(g, _MINUS), text), number(g, 0))
    return ByteStrings(g.Cast(text, DataType.UINT64), lengths)
