"""Images: padding, interpolation, sampling, pixel shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from any2onnx.converters.pytorch.call import TorchCall, as_int_vector, as_type, refuse, scalar
from any2onnx.converters.pytorch.shapes import LARGEST, sliced
from any2onnx.errors import OpsetNotSupported, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import FLOATS, DataType, Value, dims_of, dtype_of, rank_of


def pad(g: GraphBuilder, call: TorchCall) -> Value:
    """Padding by numbers, by reflection, by the edge or around the end; negative padding crops."""
    mode = call.params.get("mode", "constant")
    return padded(g, call.params["self"], call.params["pad"], mode, call.params.get("value"))


def constant_pad(g: GraphBuilder, call: TorchCall) -> Value:
    """Padding by a number."""
    return padded(g, call.params["self"], call.params["pad"], "constant", call.params["value"])


def reflection_pad(g: GraphBuilder, call: TorchCall) -> Value:
    """Padding by reflection."""
    return padded(g, call.params["self"], call.params["padding"], "reflect", None)


def replication_pad(g: GraphBuilder, call: TorchCall) -> Value:
    """Padding by the edge."""
    return padded(g, call.params["self"], call.params["padding"], "replicate", None)


def padded(g: GraphBuilder, x: Value, pads: Sequence[Any], mode: str, value: Any) -> Value:
    """Pad as torch counts: pairs from the last dim on."""
    rank = rank_of(x)
    starts: list[Any] = [0] * rank
    ends: list[Any] = [0] * rank
    for k in range(len(pads) // 2):
        starts[rank - 1 - k], ends[rank - 1 - k] = pads[2 * k], pads[2 * k + 1]
    both = [*starts, *ends]
    if all(isinstance(p, int) and p == 0 for p in both):
        return x
    if mode == "replicate" and any(isinstance(p, int) and p < 0 for p in both):
        return _edge_by_index(g, x, starts, ends)
    if mode != "constant" and any(isinstance(p, int) and p < 0 for p in both):
        x, starts, ends = _cropped(g, x, starts, ends)
        both = [*starts, *ends]
    if mode == "circular":
        # onnxruntime's Pad does not wrap in every shape, so the parts are joined.
        return _circular(g, x, starts, ends)
    names = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
    fill = None
    if mode == "constant" and value is not None and (isinstance(value, Value) or value != 0):
        fill = as_type(g, value, dtype_of(x))
    amounts: Any = both if all(isinstance(p, int) for p in both) else as_int_vector(g, both)
    return g.Pad(x, amounts, fill, mode=names[mode])


def _edge_by_index(g: GraphBuilder, x: Value, starts: Sequence[Any], ends: Sequence[Any]) -> Value:
    """Pad by the edge where some amounts crop: torch repeats the edge of the whole image, not of the cropped one."""
    dims = dims_of(x.shape) or ()
    for axis, (before, after) in enumerate(zip(starts, ends, strict=True)):
        size = dims[axis]
        if isinstance(before, int) and isinstance(after, int) and before == after == 0:
            continue
        if isinstance(size, int) and isinstance(before, int) and isinstance(after, int):
            index = g.const(np.clip(np.arange(-before, size + after), 0, size - 1).astype(np.int64))
        else:
            zero, one = (scalar(g, number, DataType.INT64) for number in (0, 1))
            length = g.Squeeze(g.dim(x, axis), 0)
            first, end = (as_type(g, amount, DataType.INT64) for amount in (before, after))
            line = g.Range(g.Neg(first), g.Add(length, end), one)
            index = g.Min(g.Max(line, zero), g.Sub(length, one))
        x = g.Gather(x, index, axis=axis)
    return x


def _cropped(g: GraphBuilder, x: Value, starts: list[Any], ends: list[Any]) -> tuple[Value, list[Any], list[Any]]:
    """Apply the negative amounts, and return the others."""
    for axis, (before, after) in enumerate(zip(starts, ends, strict=True)):
        first = -before if isinstance(before, int) and before < 0 else 0
        last = after if isinstance(after, int) and after < 0 else LARGEST
        x = sliced(g, x, axis, first, last)

    def kept(amounts: list[Any]) -> list[Any]:
        return [max(p, 0) if isinstance(p, int) else p for p in amounts]

    return x, kept(starts), kept(ends)


def _circular(g: GraphBuilder, x: Value, starts: Sequence[Any], ends: Sequence[Any]) -> Value:
    if not all(isinstance(p, int) and p >= 0 for p in (*starts, *ends)):
        raise UnsupportedParameter("circular padding by amounts that are not known when the model is converted")
    for axis, (before, after) in enumerate(zip(starts, ends, strict=True)):
        parts = [sliced(g, x, axis, -before, LARGEST)] if before else []
        parts.append(x)
        if after:
            parts.append(sliced(g, x, axis, 0, after))
        x = parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=axis)
    return x


# --- interpolation --------------------------------------------------------------------------------------------------


def upsample(g: GraphBuilder, call: TorchCall) -> Value:
    """Resize the spatial dims: nearest, nearest-exact, linear, cubic; antialiased."""
    key = call.key
    if "_aa" in key:
        return _antialiased(g, call)
    x = call.first
    if dtype_of(x) == DataType.DOUBLE:
        return _by_weights(g, call)
    spatial = rank_of(x) - 2
    attributes: dict[str, Any] = {}
    aligned = bool(call.params.get("align_corners"))
    if "nearest_exact" in key:
        attributes = {
            "mode": "nearest",
            "coordinate_transformation_mode": "half_pixel",
            "nearest_mode": "round_prefer_ceil",
        }
    elif "nearest" in key:
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    else:
        attributes = {
            "mode": "cubic" if "bicubic" in key else "linear",
            "coordinate_transformation_mode": "align_corners" if aligned else "half_pixel",
        }
        if "bicubic" in key:
            attributes["cubic_coeff_a"] = -0.75
    factors = _factors(call, spatial)
    sizes, results = call.dims_of(next(iter(call.metas)))[2:], call.dims[2:]
    if factors is None or aligned or _exact(sizes, results, factors):
        return g.Resize(x, sizes=call.shape(g), **attributes)
    return g.Resize(x, scales=[1.0, 1.0, *factors], **attributes)


def _by_weights(g: GraphBuilder, call: TorchCall) -> Value:
    """Multiply every spatial dim by torch's weights: onnxruntime has no Resize in float64."""
    x, key = call.first, call.key
    sizes, results = call.dims_of(next(iter(call.metas)))[2:], call.dims[2:]
    if not all(isinstance(s, int) for s in (*sizes, *results)):
        raise refuse(call, "output_size", "the size of a float64 image is dynamic")
    factors: Sequence[float | None] = _factors(call, len(sizes)) or [None] * len(sizes)
    aligned = bool(call.params.get("align_corners"))
    for k, (size, result, factor) in enumerate(zip(sizes, results, factors, strict=True)):
        scale = 1 / factor if factor else size / result
        if "nearest" in key:
            offset = 0.5 if "exact" in key else 0.0
            # torch computes these positions in float32 in any case.
            places = (np.arange(result, dtype=np.float32) + np.float32(offset)) * np.float32(scale)
            index = np.minimum(np.floor(places).astype(np.int64), size - 1)
            x = g.Gather(x, g.const(index, name="pixels"), axis=2 + k)
            continue
        if aligned:
            scale = (size - 1) / (result - 1) if result > 1 else 0.0
        weights = _sampling_weights(size, result, scale, aligned=aligned, cubic="bicubic" in key)
        rank = rank_of(x)
        order = [*(a for a in range(rank) if a != 2 + k), 2 + k]
        product = g.MatMul(g.Transpose(x, perm=order), g.const(np.ascontiguousarray(weights.T), name="weights"))
        x = g.Transpose(product, perm=[order.index(a) for a in range(rank)])
    return x


def _sampling_weights(size: int, result: int, scale: float, *, aligned: bool, cubic: bool) -> Any:
    """Return the weight of every pixel in every resized pixel of linear or cubic interpolation, [result, size]."""
    places = np.arange(result) * scale if aligned else (np.arange(result) + 0.5) * scale - 0.5
    if not cubic:
        places = np.maximum(places, 0.0)
    first = np.floor(places).astype(np.int64)
    t = places - first
    if cubic:
        a = -0.75
        near = [((a + 2) * d - (a + 3)) * d * d + 1 for d in (t, 1 - t)]
        far = [((a * d - 5 * a) * d + 8 * a) * d - 4 * a for d in (t + 1, 2 - t)]
        parts = [(first - 1, far[0]), (first, near[0]), (first + 1, near[1]), (first + 2, far[1])]
    else:
        parts = [(first, 1 - t), (first + 1, t)]
    weights = np.zeros((result, size))
    for index, weight in parts:
        # Beyond the edge the last pixel counts again.
        np.add.at(weights, (np.arange(result), np.clip(index, 0, size - 1)), weight)
    return weights


def _antialiased(g: GraphBuilder, call: TorchCall) -> Value:
    """Multiply every spatial dim by torch's matrix of weights: ONNX's antialiased Resize weighs differently."""
    x = call.first
    sizes, results = call.dims_of(next(iter(call.metas)))[2:], call.dims[2:]
    if not all(isinstance(s, int) for s in (*sizes, *results)):
        raise refuse(call, "antialias", "the size of the image is dynamic")
    factors: Sequence[float | None] = _factors(call, len(sizes)) or [None] * len(sizes)
    aligned, cubic = bool(call.params.get("align_corners")), "bicubic" in call.key
    for k, (size, result, factor) in enumerate(zip(sizes, results, factors, strict=True)):
        if aligned:
            scale = (size - 1) / (result - 1) if result > 1 else 0.0
        else:
            scale = 1 / factor if factor else size / result
        weights = _weights(size, result, scale, cubic).astype(dtype_of(x).numpy())
        if k == 0:
            x = g.MatMul(g.const(weights, name="weights"), x)
        else:
            x = g.MatMul(x, g.const(np.ascontiguousarray(weights.T), name="weights"))
    return x


def _weights(size: int, result: int, scale: float, cubic: bool) -> Any:
    """Return the weight of every pixel in every resized pixel, [result, size]."""
    reach = (2.0 if cubic else 1.0) * max(scale, 1.0)
    centres = scale * (np.arange(result) + 0.5)
    starts = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    ends = np.minimum((centres + reach + 0.5).astype(np.int64), size)
    pixels = np.arange(size)[None, :]
    distance = np.abs((pixels - centres[:, None] + 0.5) / max(scale, 1.0))
    if cubic:
        a = -0.5
        near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
        far = (((distance - 5) * distance + 8) * distance - 4) * a
        weights = np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
    else:
        weights = np.maximum(1 - distance, 0.0)
    weights = np.where((pixels >= starts[:, None]) & (pixels < ends[:, None]), weights, 0.0)
    return weights / weights.sum(1, keepdims=True)


def _factors(call: TorchCall, spatial: int) -> list[float] | None:
    given = call.params.get("scale_factors")
    if given is None:
        named = [call.params.get(n) for n in ("scales_d", "scales_h", "scales_w") if n in call.params]
        given = named if named else ([call.params["scales"]] if call.params.get("scales") is not None else None)
    if given is None or any(f is None for f in given):
        return None
    return [float(f) for f in given if f is not None][-spatial:]


def _exact(sizes: Sequence[Any], results: Sequence[Any], factors: Sequence[float]) -> bool:
    """Tell whether the sizes say the same as the factors."""
    return all(
        isinstance(s, int) and isinstance(r, int) and s * f == r
        for s, r, f in zip(sizes, results, factors, strict=True)
    )


def grid_sampler(g: GraphBuilder, call: TorchCall) -> Value:
    """Sample at normalised positions."""
    p = call.params
    mode = ("linear", "nearest", "cubic")[p["interpolation_mode"]]
    padding = ("zeros", "border", "reflection")[p["padding_mode"]]
    if g.opsets.main < 16:
        raise OpsetNotSupported("sampling a grid needs opset 16", needs="opset ≥ 16")
    return g.GridSample(p["input"], p["grid"], mode=mode, padding_mode=padding, align_corners=bool(p["align_corners"]))


def pixel_shuffle(g: GraphBuilder, call: TorchCall) -> Value:
    """Channels to pixels."""
    x, factor = call.first, int(call.params["upscale_factor"])
    if 0 in call.dims:
        return g.Expand(scalar(g, 0, dtype_of(x)), call.shape(g))
    if rank_of(x) == 4 and dtype_of(x) in FLOATS:
        return g.DepthToSpace(x, blocksize=factor, mode="CRD")
    lead = rank_of(x) - 3
    batch, (channels, height, width) = call.dims[:lead], call.dims[lead:]
    source = call.dims_of("self")[lead:]
    parts = call.sizes.vector(g, [*batch, channels, factor, factor, source[1], source[2]])
    order = [*range(lead + 1), lead + 3, lead + 1, lead + 4, lead + 2]
    spread = g.Transpose(g.Reshape(x, parts), perm=order)
    return g.Reshape(spread, call.sizes.vector(g, [*batch, channels, height, width]))
