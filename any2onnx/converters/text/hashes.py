"""Hash functions of byte strings in uint64 arithmetic: FarmHash's Fingerprint64, SipHash-2-4, TensorFlow's cross.

They are written down from their definitions (Pike and Alakuijala, FarmHash; Aumasson and Bernstein, SipHash). All
strings of a batch are hashed at once, in each of the classes of length that occur; then every string takes the result
of its own class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from any2onnx.converters.text.byte_strings import ByteStrings
from any2onnx.converters.text.strings import number
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Value

FIRST_WITH_BITS: Final = 18
"""The first opset with BitwiseXor."""

_K0: Final = 0xC3A5C85C97CB3127
_K1: Final = 0xB492B66FBE98F273
_K2: Final = 0x9AE16A3B2F90404F
_CROSS: Final = 0xC6A4A7935BD1E995
_CROSS_KEY: Final = 0xDECAFCAFFE
_MASK: Final = 0xFFFFFFFFFFFFFFFF


class Arithmetic:
    """Arithmetic of uint64 values of one graph.

    Args:
        g: Builder.
    """

    def __init__(self, g: GraphBuilder) -> None:
        self.g = g

    def u(self, value: int) -> Value:
        """Return a constant."""
        return self.g.const(np.asarray(value & _MASK, np.uint64))

    def add(self, first: Value, *others: Value) -> Value:
        """Return the sum."""
        for other in others:
            first = self.g.Add(first, other)
        return first

    def mul(self, a: Value, b: Value | int) -> Value:
        """Return the product."""
        return self.g.Mul(a, self.u(b) if isinstance(b, int) else b)

    def xor(self, first: Value, *others: Value) -> Value:
        """Return the bitwise exclusive or."""
        for other in others:
            first = self.g.BitwiseXor(first, other)
        return first

    def left(self, x: Value, bits: int) -> Value:
        """Shift to the left."""
        return self.g.op("BitShift", x, self.u(bits), direction="LEFT")

    def right(self, x: Value, bits: int) -> Value:
        """Shift to the right."""
        return self.g.op("BitShift", x, self.u(bits), direction="RIGHT")

    def rotated(self, x: Value, bits: int) -> Value:
        """Rotate to the right."""
        return self.g.BitwiseOr(self.right(x, bits), self.left(x, 64 - bits))

    def mixed(self, x: Value, bits: int = 47) -> Value:
        """Return x ^ x >> bits."""
        return self.xor(x, self.right(x, bits))

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        """Return a where true, else b; Where has no kernel for uint64, and casts to int64 keep the bits."""
        chosen = self.g.Where(condition, self.g.Cast(a, DataType.INT64), self.g.Cast(b, DataType.INT64))
        return self.g.Cast(chosen, DataType.UINT64)

    def words(self, eights: Value) -> Value:
        """Return little-endian words of [..., 8] bytes."""
        return self.g.MatMul(eights, self.g.const(np.array([1 << (8 * k) for k in range(8)], np.uint64)))

    def columns(self, matrix: Value, count: int) -> list[Value]:
        """Return the columns [M] of a matrix [M, count]."""
        return [self.g.Squeeze(part, 1) for part in self.g.Split(matrix, [1] * count, axis=1)]


# --- FarmHash --------------------------------------------------------------------------------------------------------


def farm_fingerprint(g: GraphBuilder, strings: ByteStrings) -> Value:
    """Return FarmHash's Fingerprint64 of byte strings, uint64 [M]."""
    # Words are read up to 8 bytes behind the last one.
    padded = g.Pad(strings.matrix, [0, 0, 0, 8])
    lengths = strings.lengths
    longest = g.ReduceMax(lengths, 0, keepdims=False)

    def at_most_16(inner: GraphBuilder) -> Value:
        return _Farm(inner, padded, lengths).up_to_16()

    def at_most_64(inner: GraphBuilder) -> Value:
        return _Farm(inner, padded, lengths).up_to_64()

    def any_length(inner: GraphBuilder) -> Value:
        return _Farm(inner, padded, lengths).any_length(longest)

    def longer(inner: GraphBuilder) -> Value:
        return inner.If(inner.Greater(longest, number(inner, 64)), any_length, at_most_64)[0]

    return g.If(g.Greater(longest, number(g, 16)), longer, at_most_16)[0]


class _Farm(Arithmetic):
    """The formulas of FarmHash (farmhashna) for byte strings [M, W] of the given lengths."""

    def __init__(self, g: GraphBuilder, padded: Value, lengths: Value) -> None:
        super().__init__(g)
        self.padded = padded
        self.lengths = lengths
        self.size = g.Cast(lengths, DataType.UINT64)
        self.factor = self.add(self.u(_K2), self.left(self.size, 1))

    def _bytes(self, offset: Value, count: int) -> Value:
        """Return [M, count] bytes from each string's own offset [M] on; negative offsets mean another class."""
        start = self.g.Unsqueeze(self.g.Max(offset, number(self.g, 0)), 1)
        index = self.g.Add(start, self.g.const(np.arange(count, dtype=np.int64)))
        return self.g.GatherElements(self.padded, index, axis=1)

    def word(self, k: int) -> Value:
        """Return the 8 bytes from k on."""
        return self.words(self.g.Slice(self.padded, [k], [k + 8], [1]))

    def word_from_end(self, k: int) -> Value:
        """Return the 8 bytes from the k-th last one on."""
        return self.words(self._bytes(self.g.Sub(self.lengths, number(self.g, k)), 8))

    def pair(self, u: Value, v: Value, factor: Value) -> Value:
        """HashLen16."""
        a = self.mixed(self.mul(self.xor(u, v), factor))
        b = self.mixed(self.mul(self.xor(v, a), factor))
        return self.mul(b, factor)

    def up_to_16(self) -> Value:
        """HashLen0to16."""
        g, factor = self.g, self.factor
        first = self.word(0)
        a, b = self.add(first, self.u(_K2)), self.word_from_end(8)
        c = self.add(self.mul(self.rotated(b, 37), factor), a)
        d = self.mul(self.add(self.rotated(a, 25), b), factor)
        from_8 = self.pair(c, d, factor)
        low = self.u(0xFFFFFFFF)
        last = g.BitwiseAnd(self.word_from_end(4), low)
        from_4 = self.pair(self.add(self.size, self.left(g.BitwiseAnd(first, low), 3)), last, factor)
        middle = self.g.Squeeze(self._bytes(g.Div(self.lengths, number(g, 2)), 1), 1)
        end = self.g.Squeeze(self._bytes(g.Sub(self.lengths, number(g, 1)), 1), 1)
        y = self.add(g.BitwiseAnd(first, self.u(0xFF)), self.left(middle, 8))
        z = self.add(self.size, self.left(end, 2))
        from_1 = self.mul(self.mixed(self.xor(self.mul(y, _K2), self.mul(z, _K0))), _K2)
        result = self.select(self._at_least(1), from_1, self.u(_K2))
        result = self.select(self._at_least(4), from_4, result)
        return self.select(self._at_least(8), from_8, result)

    def _at_least(self, length: int) -> Value:
        return self.g.GreaterOrEqual(self.lengths, number(self.g, length))

    def _middle(self, first: int) -> tuple[Value, Value, Value]:
        """Return what strings of 17 … 32 bytes (`first` = K1) and of 33 … 64 bytes (K2) begin with: a, y, z's sum."""
        a, b = self.mul(self.word(0), first), self.word(8)
        c, d = self.mul(self.word_from_end(8), self.factor), self.mul(self.word_from_end(16), _K2)
        y = self.add(self.rotated(self.add(a, b), 43), self.rotated(c, 30), d)
        z = self.add(a, self.rotated(self.add(b, self.u(_K2)), 18), c)
        return a, y, z

    def up_to_64(self) -> Value:
        """HashLen17to32 and HashLen33to64."""
        # Words are read up to byte 32, and a batch may be narrower than that.
        self.padded = self.g.Pad(self.padded, [0, 0, 0, 32])
        _, y, z = self._middle(_K1)
        from_17 = self.pair(y, z, self.factor)
        a, y, z = self._middle(_K2)
        z = self.pair(y, z, self.factor)
        e, f = self.mul(self.word(16), self.factor), self.word(24)
        g = self.mul(self.add(y, self.word_from_end(32)), self.factor)
        h = self.mul(self.add(z, self.word_from_end(24)), self.factor)
        first = self.add(self.rotated(self.add(e, f), 43), self.rotated(g, 30), h)
        second = self.add(e, self.rotated(self.add(f, a), 18), g)
        from_33 = self.pair(first, second, self.factor)
        result = self.select(self._at_least(17), from_17, self.up_to_16())
        return self.select(self._at_least(33), from_33, result)

    def any_length(self, longest: Value) -> Value:
        """Hash64."""
        g, padded = self.g, self.padded
        y = (81 * _K1 + 113) & _MASK
        z = (y * _K2 + 113) & _MASK
        z = (z ^ (z >> 47)) * _K2 & _MASK
        shape = g.Shape(self.lengths)
        x = self.add(self.u(81 * _K2), self.word(0))
        states = [x, *(g.Expand(self.u(k), shape) for k in (y, z, 0, 0, 0, 0))]
        last_byte = g.Sub(self.lengths, number(g, 1))
        blocks = g.Div(last_byte, number(g, 64))

        def body(inner: GraphBuilder, k: Value, _condition: Value, *before: Value) -> list[Value]:
            own = _Farm(inner, padded, self.lengths)
            start = inner.Unsqueeze(inner.Mul(k, number(inner, 64)), 0)
            part = inner.Slice(padded, start, inner.Add(start, np.asarray([64], np.int64)), [1])
            words = own.columns(own.words(inner.Reshape(part, [-1, 8, 8])), 8)
            after = own.step(words, list(before), own.u(_K1), 1)
            running = inner.Less(k, blocks)
            kept = [own.select(running, a, b) for a, b in zip(after, before, strict=True)]
            return [inner.const(np.asarray(True)), *kept]

        trips = g.Div(g.Sub(longest, number(g, 1)), number(g, 64))
        x, y1, z1, v0, v1, w0, w1 = g.Loop(body, states, trip_count=trips)
        factor = self.add(self.u(_K1), self.left(g.BitwiseAnd(z1, self.u(0xFF)), 1))
        w0 = self.add(w0, g.BitwiseAnd(g.Cast(last_byte, DataType.UINT64), self.u(63)))
        v0 = self.add(v0, w0)
        w0 = self.add(w0, v0)
        last = self._bytes(g.Sub(self.lengths, number(g, 64)), 64)
        words = self.columns(self.words(g.Reshape(last, [-1, 8, 8])), 8)
        x, y1, z1, v0, v1, w0, w1 = self.step(words, [x, y1, z1, v0, v1, w0, w1], factor, 9)
        first = self.add(self.pair(v0, w0, factor), self.mul(self.mixed(y1), _K0), z1)
        second = self.add(self.pair(v1, w1, factor), x)
        return self.select(self._at_least(65), self.pair(first, second, factor), self.up_to_64())

    def step(self, s: Sequence[Value], states: Sequence[Value], factor: Value, nine: int) -> list[Value]:
        """Take in 64 bytes, as 8 words; the last step counts two terms nine times."""
        x, y, z, v0, v1, w0, w1 = states
        x = self.mul(self.rotated(self.add(x, y, v0, s[1]), 37), factor)
        y = self.mul(self.rotated(self.add(y, v1, s[6]), 42), factor)
        x = self.xor(x, self.mul(w1, nine) if nine > 1 else w1)
        y = self.add(y, self.mul(v0, nine) if nine > 1 else v0, s[5])
        z = self.mul(self.rotated(self.add(z, w0), 33), factor)
        v0, v1 = self._weak(s[:4], self.mul(v1, factor), self.add(x, w0))
        w0, w1 = self._weak(s[4:], self.add(z, w1), self.add(y, s[2]))
        return [z, y, x, v0, v1, w0, w1]

    def _weak(self, s: Sequence[Value], a: Value, b: Value) -> tuple[Value, Value]:
        """WeakHashLen32WithSeeds."""
        a = self.add(a, s[0])
        b = self.rotated(self.add(b, a, s[3]), 21)
        total = self.add(a, s[1], s[2])
        return self.add(total, s[3]), self.add(b, self.rotated(total, 44), a)


# --- SipHash ---------------------------------------------------------------------------------------------------------


def sip_hash(g: GraphBuilder, strings: ByteStrings, key: Sequence[int]) -> Value:
    """Return SipHash-2-4 of byte strings under a key of two 64-bit numbers, uint64 [M]."""
    own = Arithmetic(g)
    width = g.dim(strings.matrix, 1)
    # Whole words, the last one with the length in its last byte.
    end = g.Mul(g.Add(g.Div(width, np.asarray([8], np.int64)), np.asarray([1], np.int64)), np.asarray([8], np.int64))
    padded = g.Slice(g.Pad(strings.matrix, [0, 0, 0, 8]), [0], end, [1])
    rows = g.dim(padded, 0)
    words = own.words(g.Reshape(padded, g.shape_vector([rows, -1, 8])))
    last = g.Div(strings.lengths, number(g, 8))
    ending = own.left(g.Cast(strings.lengths, DataType.UINT64), 56)
    initial = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    states = [
        g.Expand(own.u(constant ^ (key[k % 2] & _MASK)), g.Shape(strings.lengths)) for k, constant in enumerate(initial)
    ]

    def body(inner: GraphBuilder, k: Value, _condition: Value, *before: Value) -> list[Value]:
        there = Arithmetic(inner)
        word = inner.Gather(words, k, axis=1)
        is_last = inner.Cast(inner.Equal(k, last), DataType.UINT64)
        word = there.add(word, there.mul(ending, is_last))
        v0, v1, v2, v3 = before
        after = _sip_rounds(there, [v0, v1, v2, there.xor(v3, word)], 2)
        after[0] = there.xor(after[0], word)
        running = inner.LessOrEqual(k, last)
        kept = [there.select(running, a, b) for a, b in zip(after, before, strict=True)]
        return [inner.const(np.asarray(True)), *kept]

    trips = g.Add(g.ReduceMax(last, 0, keepdims=False), number(g, 1))
    v = list(g.Loop(body, states, trip_count=trips))
    v[2] = own.xor(v[2], own.u(0xFF))
    return own.xor(*_sip_rounds(own, v, 4))


def _sip_rounds(own: Arithmetic, states: Sequence[Value], count: int) -> list[Value]:
    v0, v1, v2, v3 = states
    for _ in range(count):
        v0, v2 = own.add(v0, v1), own.add(v2, v3)
        v1, v3 = own.xor(own.rotated(v1, 64 - 13), v0), own.xor(own.rotated(v3, 64 - 16), v2)
        v0 = own.rotated(v0, 32)
        v2, v0 = own.add(v2, v1), own.add(v0, v3)
        v1, v3 = own.xor(own.rotated(v1, 64 - 17), v2), own.xor(own.rotated(v3, 64 - 21), v0)
        v2 = own.rotated(v2, 32)
    return [v0, v1, v2, v3]


# --- combining -------------------------------------------------------------------------------------------------------


def crossed(g: GraphBuilder, fingerprints: Sequence[Value]) -> Value:
    """Return TensorFlow's hash of several 64-bit numbers (`sparse.cross_hashed`), uint64."""
    own = Arithmetic(g)
    result = own.u(_CROSS_KEY)
    for fingerprint in fingerprints:
        other = own.mul(own.mixed(own.mul(fingerprint, _CROSS)), _CROSS)
        result = own.mul(own.xor(result, own.u(_CROSS), other), _CROSS)
        result = own.mixed(own.mul(own.mixed(result), _CROSS))
    return result


def bucket(g: GraphBuilder, hashed: Value, count: int) -> Value:
    """Return hash modulo count, int64."""
    return g.Cast(g.Mod(hashed, g.const(np.asarray(count, np.uint64))), DataType.INT64)
