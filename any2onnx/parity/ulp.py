"""Distances in units in the last place, and perturbations by parts of one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from any2onnx.errors import InvalidType

Array = npt.NDArray[Any]

INCOMPARABLE = int(np.iinfo(np.uint64).max)
"""The distance between NaN and a number, or between an infinity and anything else."""


def is_float(dtype: np.dtype[Any]) -> bool:
    """Return True for real floating dtypes, those of ml_dtypes (bfloat16, float8) included."""
    # numpy files the ml_dtypes types under kind "V" (newer ones under "f"); their scalar type has its own module.
    return dtype.kind == "f" or (dtype.type.__module__.startswith("ml_dtypes") and "float" in dtype.name)


def specials(values: Array) -> npt.NDArray[np.int8]:
    """Classify elements: 0 finite, 1 +inf, -1 -inf, 2 NaN (same shape as ``values``)."""
    kinds = np.zeros(values.shape, dtype=np.int8)
    kinds[values == np.inf] = 1
    kinds[values == -np.inf] = -1
    kinds[np.isnan(values)] = 2
    return kinds


def _ordered_bits(values: Array) -> npt.NDArray[np.uint64]:
    """Map floats to unsigned integers in numeric order, neighbours one apart and both zeros on one number."""
    bits_per_item = values.dtype.itemsize * 8
    bits = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}").astype(np.uint64).reshape(values.shape)
    half = np.uint64(1 << (bits_per_item - 1))
    magnitude = bits & np.uint64((1 << (bits_per_item - 1)) - 1)
    return np.where(bits >= half, half - magnitude, half + magnitude)


def ulp_distance(a: npt.ArrayLike, b: npt.ArrayLike, *, signed_zeros_equal: bool = True) -> npt.NDArray[np.uint64]:
    """Return element by element how many representable numbers lie from ``a`` to ``b``.

    The distance is that of the sign-magnitude integers, so it is symmetric and needs no division. NaN against NaN is
    0 (payloads are ignored), NaN against a number and an infinity against anything but itself are ``INCOMPARABLE``:
    ``numpy.testing.assert_array_max_ulp`` calls infinity and the largest float neighbours, which hides overflow.

    Args:
        a: Array of float16, float32, float64 or a float dtype of ml_dtypes.
        b: Array of the same dtype and a shape that broadcasts with ``a``.
        signed_zeros_equal: False counts +0 and -0 as one apart.

    Returns:
        uint64 array of the broadcast shape.

    Raises:
        InvalidType: The dtypes differ or are not floating.
    """
    left, right = np.asarray(a), np.asarray(b)
    if left.dtype != right.dtype or not is_float(left.dtype):
        raise InvalidType(
            f"ulp_distance compares arrays of one floating dtype, not {left.dtype} with {right.dtype}",
            remedy="cast both to the dtype in which the distance is to be counted",
        )
    left, right = np.broadcast_arrays(left, right)
    low, high = _ordered_bits(left), _ordered_bits(right)
    distance = np.where(low < high, high - low, low - high)
    if not signed_zeros_equal:
        zeros = (left == 0) & (right == 0) & (np.signbit(left) != np.signbit(right))
        distance[zeros] = 1
    kind_left, kind_right = specials(left), specials(right)
    distance = np.where(kind_left != kind_right, np.uint64(INCOMPARABLE), distance)
    return np.where((kind_left == 2) & (kind_right == 2), np.uint64(0), distance)


def half_ulp(values: Array) -> npt.NDArray[np.float64]:
    """Return half a unit in the last place of each element, as float64; 0 where the element is not finite."""
    # frexp gives x = m * 2^e with 0.5 <= m < 1, so one ulp is 2^(e - p) for a significand of p bits.
    info = _finfo(values.dtype)
    wide = values.astype(np.float64)
    finite = np.isfinite(wide)
    exponent = np.frexp(np.where(finite, wide, 0.0))[1]
    lowest = np.int64(info.minexp) + 1
    exponent = np.maximum(np.where(wide == 0, lowest, exponent), lowest)
    size = np.ldexp(1.0, (exponent - (info.nmant + 1) - 1).astype(np.int32))
    return np.where(finite, size, 0.0)


def _finfo(dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "f" and not dtype.type.__module__.startswith("ml_dtypes"):
        return np.finfo(dtype)
    import ml_dtypes

    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def largest(dtype: np.dtype[Any]) -> float:
    """Return the largest finite number of a floating dtype."""
    return float(_finfo(dtype).max)


def neighbours(values: Array) -> tuple[Array, Array]:
    """Return the next smaller and the next larger number of each element, in its own dtype."""
    with np.errstate(over="ignore", under="ignore"):
        down = np.nextafter(values, np.asarray(-np.inf, dtype=values.dtype))
        up = np.nextafter(values, np.asarray(np.inf, dtype=values.dtype))
    return down, up
