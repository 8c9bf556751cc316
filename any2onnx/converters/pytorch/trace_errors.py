"""What torch.export says when it cannot trace a model, in words for the person who wrote it: line, reason, remedy."""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from any2onnx.errors import ExportFailed


@dataclass(frozen=True, slots=True)
class _Explanation:
    """A kind of failure.

    Attributes:
        message: Of torch's error, or its class.
        line: Of the user's own line; empty where any will do.
        summary: What is wrong.
        needs: Why it cannot be traced.
        remedy: What to write instead.
    """

    message: str
    line: str
    summary: str
    needs: str
    remedy: str

    def fits(self, text: str, line: str) -> bool:
        """Tell whether an error is of this kind."""
        return bool(re.search(self.message, text, re.IGNORECASE | re.DOTALL) and re.search(self.line, line))


# Loggers that print tracebacks and graphs of a failing trace.
_LOUD = ("torch.fx.experimental.symbolic_shapes", "torch._subclasses.fake_tensor", "torch.export._trace")

_DATA = r"data-dependent|GuardOnDataDependent|DataDependentOutput|unbacked"
_ONE_PATH = "one path for all data: the trace sees shapes and types, not values"
# The first that fits is taken: lines that say more stand before those that say less.
_EXPLANATIONS = (
    _Explanation(
        _DATA,
        r"^\s*while\b",
        "a while loop runs as long as the data of a tensor says",
        _ONE_PATH,
        "torch._higher_order_ops.while_loop(cond_fn, body_fn, (x,)), or a fixed number of steps",
    ),
    _Explanation(
        _DATA,
        r"\bfor\b.*\bin\b",
        "a for loop runs over, or as often as, the data of a tensor",
        _ONE_PATH,
        "an operation on the whole tensor; torch._higher_order_ops.scan or while_loop for steps that depend on each "
        "other; a fixed number of steps",
    ),
    _Explanation(
        _DATA,
        r"\bassert\b",
        "an assert tests the data of a tensor",
        _ONE_PATH,
        "torch._check(condition) for sizes; leave tests of values to the caller",
    ),
    _Explanation(
        _DATA,
        r"\bif\b|\belif\b|\bbool\(|\band\b|\bor\b|\bnot\b|torch\.equal",
        "a branch is chosen by the data of a tensor",
        _ONE_PATH,
        "torch.where(condition, a, b) for values, torch.cond(condition, true_fn, false_fn, operands) for branches",
    ),
    _Explanation(
        _DATA,
        r"\bint\(|\.item\(|\bsorted\(",
        "a number is taken from the data of a tensor where the trace needs to know it",
        _ONE_PATH,
        "keep it a tensor: a comparison with torch.arange as a mask instead of a slice up to int(n), torch.sort "
        "instead of sorted; torch._check(...) to state what holds for a size",
    ),
    _Explanation(
        _DATA,
        r"\w\[[^\]]+\]",
        "the data of a tensor chooses an element of a Python list",
        _ONE_PATH,
        "torch.stack the elements and index the result; for modules run all and choose with torch.where, or torch.cond",
    ),
    _Explanation(
        _DATA,
        "",
        "a number is taken from the data of a tensor where the trace needs to know it",
        _ONE_PATH,
        "keep it a tensor instead of .item(), int() or float(); torch._check(...) to state what holds for a size",
    ),
    _Explanation(
        r"numpy\(\)|numpy|__array__",
        "",
        "the model leaves torch for NumPy",
        "torch functions only: NumPy computes outside the trace",
        "the function of the same name in torch, such as torch.sin for numpy.sin",
    ),
    _Explanation(
        r"Found <class .* in output|is not a known type|pytree-flattenable|unsupported.*output|not a supported output",
        "",
        "the model returns an object that torch.export cannot take apart",
        "tensors in tuples, lists, dicts, dataclasses or named tuples",
        "return one of these, or torch.utils._pytree.register_pytree_node(cls, flatten, unflatten)",
    ),
    _Explanation(
        r"Unsupported input type|not.*supported.*input|Cannot associate shape",
        "",
        "an input is of a type, or dynamic_shapes of a form, that torch.export cannot match",
        "tensors, numbers and strings in tuples, lists, dicts or dataclasses, and dynamic_shapes nested the same way",
        "one entry per input in dynamic_shapes; None where nothing is dynamic",
    ),
    _Explanation(
        r"specialized it to be a constant|Constraints violated",
        "",
        "the model fixes, or limits, a dimension that was declared dynamic",
        "a model that is right for every size of this dimension",
        "drop the dimension from dynamic_shapes, or make the model independent of it: no assert, int() or Python loop "
        "on x.shape",
    ),
    _Explanation(
        r"unhashable type: .*Sym(Int|Float|Bool)",
        "",
        "a number from the data of a tensor is a key of a dict or set",
        _ONE_PATH,
        "torch.where or torch.stack(...)[index] instead of the dict",
    ),
    _Explanation(
        r"__format__|format string",
        "",
        "a text is made of the data of a tensor",
        _ONE_PATH,
        "leave messages to the caller, or behind `if not torch.compiler.is_exporting():`",
    ),
    _Explanation(
        r"(maximum|minimum)\(\) missing",
        "",
        "Python's max or min compares the elements of a tensor",
        _ONE_PATH,
        "torch.amax or torch.amin",
    ),
    _Explanation(
        r"does not require grad|backward",
        "",
        "the model computes gradients while it runs",
        "a forward without torch.autograd: the trace holds no graph of gradients",
        "the derivative written as a formula",
    ),
    _Explanation(
        r"not linked with support for|No NVIDIA driver|not compiled with CUDA|Invalid device",
        "",
        "the model moves tensors to a device that is not here",
        "a forward that stays on the device of its inputs",
        "x.to(other.device) or torch.zeros(..., device=x.device) instead of a fixed device",
    ),
    _Explanation(
        r"fake tensor in the exported program constant",
        "",
        "the model changes the data of a weight while it runs",
        "weights that stay as they are during forward",
        "a new tensor: w = self.weight * 0.5, and torch.nn.functional.linear(x, w)",
    ),
    _Explanation(
        r"UnsupportedNodeError|torch\.jit|single top-level function",
        "",
        "the model compiles TorchScript while it runs",
        "plain functions of torch",
        "leave torch.jit.script out; the conversion needs none",
    ),
    _Explanation(
        r"quantized nyi|PackedParamsBase|QuantizedCPU|aten\.(de)?quantize",
        "",
        "the model holds torch's own quantized tensors or modules (torch.ao.quantization)",
        "quantization that the trace can show: quantize_per_tensor and dequantize between plain tensors",
        "the float model quantized by pt2e: torchao's prepare_pt2e and convert_pt2e on the exported program",
    ),
    _Explanation(
        r"uninitialized parameter|LazyModule",
        "",
        "the model has layers that do not know their sizes yet (nn.LazyLinear and the like)",
        "layers that have been called once",
        "model(*args) before the conversion",
    ),
    _Explanation(
        r"must have same reduction dim|shapes cannot be multiplied|size of tensor|must match the size|is invalid for"
        r" input|not broadcastable|Sizes of tensors must match|expected input.* to have",
        "",
        "the shapes of the example inputs do not fit the model",
        "inputs with which the model itself runs",
        "run model(*args) first; then check which dimensions of the inputs are dynamic",
    ),
    _Explanation(
        r"Couldn't swap|_apply\(\)",
        "",
        "the model moves or casts one of its modules while it runs",
        "modules that stay as they are during forward",
        "move .to(...) of modules to the constructor",
    ),
)


def explained(error: BaseException) -> ExportFailed:
    """Return the error for a model that torch.export has refused."""
    text = f"{type(error).__name__}: {str(error).strip()}"
    place = user_line(error)
    code = place.partition("   ")[2] if place else ""
    detail = _detail(str(error).strip()) or type(error).__name__
    for explanation in _EXPLANATIONS:
        if explanation.fits(text, code):
            return ExportFailed(
                f"torch.export cannot trace the model: {explanation.summary} ({detail})",
                where=place,
                needs=explanation.needs,
                remedy=explanation.remedy,
            )
    return ExportFailed(
        f"torch.export cannot trace the model: {detail}",
        where=place,
        needs=f"no {type(error).__name__} while tracing",
        remedy="run model(*args) first; then make forward traceable by torch.export",
    )


def _detail(text: str) -> str:
    """Return the telling lines of torch's message: the first ones, and its suggested fixes."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    chosen = lines[:2]
    for k, line in enumerate(lines):
        if line.startswith("Suggested fixes"):
            chosen += lines[k : k + 4]
    kept = [line for line in dict.fromkeys(chosen) if not line.startswith(("The error above", "For more", "Caused by"))]
    joined = " ".join(kept)
    joined = re.sub(r"\s*\(unhinted: .*?(?=Suggested fixes|$)", " ", joined)
    joined = re.sub(r"For more information, run with TORCH_LOGS=\S+\s*-?\s*", "", joined)
    return joined.split("If you're using mark_dynamic")[0].strip()[:400]


def user_line(error: BaseException) -> str | None:
    """Return the user's line behind an error of the trace: the innermost frame outside torch and any2onnx."""
    import torch

    inner = (str(Path(torch.__file__).parent), str(Path(__file__).parent.parent.parent))
    place = None
    current: BaseException | None = error
    while current is not None and place is None:
        for frame in reversed(traceback.extract_tb(current.__traceback__)):
            if frame.filename.startswith(inner) or frame.filename.startswith("<") or "contextlib" in frame.filename:
                continue
            if frame.name != "<module>" and "any2onnx" not in Path(frame.filename).parts[-2:-1]:
                place = f"{short_path(frame.filename)}:{frame.lineno}   {frame.line or ''}".rstrip()
                break
        current = current.__cause__ or current.__context__
    return place


def short_path(path: str) -> str:
    """Return the last two parts of a path: enough for people, the same on every machine."""
    return "/".join(Path(path).parts[-2:])


@contextlib.contextmanager
def without_dumps() -> Iterator[None]:
    """Keep torch from printing the half-traced graph: the error says what matters; only inside the capture lock."""
    from torch.export import _trace

    loggers = [logging.getLogger(name) for name in _LOUD]
    before = [logger.disabled for logger in loggers]
    tracing: Any = _trace
    tracing.print = lambda *args, **kwargs: None
    try:
        for logger in loggers:
            logger.disabled = True
        yield
    finally:
        del tracing.print
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled
