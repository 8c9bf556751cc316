"""Backend functions that are recorded as what they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from any2onnx.converters.keras.tracing_control import scan

if TYPE_CHECKING:
    from any2onnx.converters.keras.tracing_recorder import Recorder

_LOG_ZERO = -1e5


def ctc_loss(
    recorder: Recorder,
    original: Any,
    target: Any,
    output: Any,
    target_length: Any,
    output_length: Any,
    mask_index: int = 0,
) -> Any:
    """Record the connectionist temporal classification loss: a forward pass over time in log space.

    `phi[n]` is the log probability of all ways to have written n labels and a blank, `emit[n]` of those that end in
    label n.
    """

    def op(name: str, *args: Any, module: str = "numpy", **kwargs: Any) -> Any:
        return recorder.invoke(module, name, *args, **kwargs)

    target, output = recorder.lift(target), recorder.lift(output)
    target = op("cast", target, "int32", module="core")
    if output.dtype not in ("float32", "float64"):
        output = op("cast", output, "float32", module="core")
    kind = output.dtype
    lengths = [op("cast", recorder.lift(v), "int32", module="core") for v in (target_length, output_length)]
    batch, steps, classes = output.shape
    labels = target.shape[1]

    log_probabilities = op("log_softmax", output, axis=-1, module="nn")
    blank = log_probabilities[:, :, mask_index : mask_index + 1]
    hot = op("one_hot", target, classes, dtype=kind, module="nn")
    emitted = op("einsum", "btk,bnk->btn", log_probabilities, hot)
    # 1 where a label is followed by itself: a blank has to come between.
    same = op("cast", target[:, :-1] == target[:, 1:], kind, module="core")
    repeats = op("pad", same, ((0, 0), (0, 1)))
    number = op("expand_dims", op("arange", steps, dtype="int32"), 0)
    beyond = op("cast", number >= op("expand_dims", lengths[1], -1), kind, module="core")

    def joined(phi: Any, added: Any) -> Any:
        return op("concatenate", [phi[:, :1], op("logaddexp", phi[:, 1:], added)], axis=-1)

    def step(carry: Any, x: Any) -> Any:
        before, emit = carry
        label, empty, pad = x
        phi = joined(before, emit + repeats * _LOG_ZERO)
        next_emit = op("logaddexp", phi[:, :-1] + label, emit + label)
        next_phi = joined(phi + empty, emit + empty + (1.0 - repeats) * _LOG_ZERO)
        pad = op("expand_dims", pad, -1)
        next_emit = pad * emit + (1.0 - pad) * next_emit
        next_phi = pad * before + (1.0 - pad) * next_phi
        return (next_phi, next_emit), None

    nothing = op("full", (batch, labels), _LOG_ZERO, dtype=kind)
    start = op("concatenate", [op("zeros", (batch, 1), dtype=kind), nothing], axis=-1)
    sequences = [op("swapaxes", v, 0, 1) for v in (emitted, blank, beyond)]
    (phi, emit), _ = scan(recorder, None, step, (start, nothing), sequences)
    last = joined(phi, emit)
    chosen = op("one_hot", lengths[0], labels + 1, dtype=kind, module="nn")
    return op("negative", op("sum", last * chosen, axis=-1))
