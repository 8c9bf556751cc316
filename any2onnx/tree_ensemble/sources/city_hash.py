"""CityHash64 in its first version (G. Pike and J. Alakuijala, 2011), by which CatBoost names categories."""

from __future__ import annotations

from typing import Final

_MASK: Final = (1 << 64) - 1
_K0: Final = 0xC3A5C85C97CB3127
_K1: Final = 0xB492B66FBE98F273
_K2: Final = 0x9AE16A3B2F90404F
_K3: Final = 0xC949D7C7509E6557
_MIX: Final = 0x9DDFEA08EB382D69


def city_hash64(text: bytes) -> int:
    """Return the hash: 0 ≤ hash < 2^64."""
    n = len(text)
    if n <= 16:
        return _up_to_16(text, n)
    if n <= 32:
        return _up_to_32(text, n)
    return _up_to_64(text, n) if n <= 64 else _long(text, n)


def _word(text: bytes, start: int, size: int = 8) -> int:
    return int.from_bytes(text[start : start + size], "little")


def _turned(value: int, bits: int) -> int:
    value &= _MASK
    return ((value >> bits) | (value << (64 - bits))) & _MASK


def _folded(value: int) -> int:
    value &= _MASK
    return value ^ (value >> 47)


def _pair(u: int, v: int) -> int:
    u, v = u & _MASK, v & _MASK
    return (_folded((v ^ _folded((u ^ v) * _MIX)) * _MIX) * _MIX) & _MASK


def _up_to_16(text: bytes, n: int) -> int:
    if n > 8:
        last = _word(text, n - 8)
        return _pair(_word(text, 0), _turned(last + n, n)) ^ last
    if n >= 4:
        return _pair(n + (_word(text, 0, 4) << 3), _word(text, n - 4, 4))
    if n:
        y, z = text[0] + (text[n >> 1] << 8), n + (text[-1] << 2)
        return (_folded((y * _K2) ^ (z * _K3)) * _K2) & _MASK
    return _K2


def _up_to_32(text: bytes, n: int) -> int:
    a, b = _word(text, 0) * _K1, _word(text, 8)
    c, d = _word(text, n - 8) * _K2, _word(text, n - 16) * _K0
    return _pair(_turned(a - b, 43) + _turned(c, 30) + d, a + _turned(b ^ _K3, 20) - c + n)


def _up_to_64(text: bytes, n: int) -> int:
    def half(a: int, more: int, first: int, second: int, z: int) -> tuple[int, int]:
        a += more * _K0
        b, c = _turned(a + z, 52), _turned(a, 37)
        a += _word(text, first)
        c += _turned(a, 7)
        a += _word(text, second)
        return a + z, b + _turned(a, 31) + c

    v = half(_word(text, 0), n + _word(text, n - 16), 8, 16, _word(text, 24))
    w = half(_word(text, 16) + _word(text, n - 32), 0, n - 24, n - 16, _word(text, n - 8))
    r = _folded((v[0] + w[1]) * _K2 + (w[0] + v[1]) * _K0)
    return (_folded(r * _K0 + v[1]) * _K2) & _MASK


def _long(text: bytes, n: int) -> int:
    def weak(at: int, a: int, b: int) -> tuple[int, int]:
        w, x, y, z = (_word(text, at + k) for k in (0, 8, 16, 24))
        a += w
        b = _turned(b + a + z, 21)
        c = a
        a += x + y
        return (a + z) & _MASK, (b + _turned(a, 44) + c) & _MASK

    x, y, z = _word(text, 0), _word(text, n - 16) ^ _K1, _word(text, n - 56) ^ _K0
    v, w = weak(n - 64, n, y), weak(n - 32, n * _K1, _K0)
    z += _folded(v[1]) * _K1
    x, y = _turned(z + x, 39) * _K1 & _MASK, _turned(y, 33) * _K1 & _MASK
    z &= _MASK
    for at in range(0, (n - 1) & ~63, 64):
        x = _turned(x + y + v[0] + _word(text, at + 16), 37) * _K1 & _MASK
        y = _turned(y + v[1] + _word(text, at + 48), 42) * _K1 & _MASK
        x, y, z = x ^ w[1], y ^ v[0], _turned(z ^ w[0], 33)
        v = weak(at, v[1] * _K1, x + w[0])
        w = weak(at + 32, z + w[1], y)
        x, z = z, x
    return _pair(_pair(v[0], w[0]) + _folded(y) * _K1 + z, _pair(v[1], w[1]) + x)
