"""Images: padding, interpolation, sampling, pixel shuffles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from any2onnx.converters.pytorch.call import TorchCall, as_int_vector, as_type, refuse
from any2onnx.errors import OpsetNotSupported
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value, dtype_of, rank_of


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
    if mode == "circular" and g.opsets.main < 19:
        return _circular(g, x, starts, ends)
    names = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    fill = None
    if mode == "constant" and value is not None and (isinstance(value, Value) or value != 0):
        fill = as_type(g, value, dtype_of(x))
    amounts: Any = both if all(isinstance(p, int) for p in both) else as_int_vector(g, both)
    return g.Pad(x, amounts, fill, mode=names[mode])


def _circular(g: GraphBuilder, x: Value, starts: Sequence[Any], ends: Sequence[Any]) -> Value:
    from any2onnx.converters.pytorch.shapes import LARGEST, sliced

    if not all(isinstance(p, int) and p >= 0 for p in (*starts, *ends)):
        raise OpsetNotSupported("circular padding by computed amounts needs opset 19", needs="opset ≥ 19")
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
    x = call.first
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
            attributes["cubic_coeff_a"] = -0.5 if "_aa" in key else -0.75
    if "_aa" in key:
        if aligned:
            raise refuse(call, "align_corners", "ONNX's antialiased Resize does not follow torch with aligned corners")
        attributes["antialias"] = 1
    factors = _factors(call, spatial)
    sizes, results = call.dims_of(next(iter(call.metas)))[2:], call.dims[2:]
    if factors is None or aligned or _exact(sizes, results, factors):
        return g.Resize(x, sizes=call.shape(g), **attributes)
    return g.Resize(x, scales=[1.0, 1.0, *factors], **attributes)


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
    x = call.first
    if rank_of(x) == 4:
        return g.DepthToSpace(x, blocksize=call.params["upscale_factor"], mode="CRD")
    if rank_of(x) == 3:
        return g.Squeeze(g.DepthToSpace(g.Unsqueeze(x, 0), blocksize=call.params["upscale_factor"], mode="CRD"), 0)
    flat = g.op("Concat", g.const([-1]), g.Shape(x, start=rank_of(x) - 3), axis=0)
    y = g.DepthToSpace(g.Reshape(x, flat), blocksize=call.params["upscale_factor"], mode="CRD")
    return g.Reshape(y, call.shape(g))
