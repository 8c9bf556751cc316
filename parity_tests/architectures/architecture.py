"""What an architecture test needs: a model, its inputs at any size, its dynamic dims, and the comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

import any2onnx

ort.set_default_logger_severity(4)

Inputs = dict[str, Any]


@dataclass(frozen=True)
class Architecture:
    """A model with random weights and how to call it.

    Attributes:
        name: Of the test.
        make: Returns the model, in evaluation mode.
        inputs: ``inputs(*sizes)`` returns the keyword inputs at these sizes.
        traced: Sizes of the example.
        others: Sizes at which the converted model must be right as well.
        dynamic: ``dynamic_shapes`` of the inputs.
        sampled: Part of the quick run.
        atol: Absolute tolerance relative to the output's scale.
    """

    name: str
    make: Callable[[], torch.nn.Module]
    inputs: Callable[..., Inputs]
    traced: tuple[int, ...]
    others: tuple[tuple[int, ...], ...]
    dynamic: Mapping[str, Any]
    sampled: bool = False
    atol: float = 2e-5


def leaves(value: Any) -> list[np.ndarray[Any, Any]]:
    """Return the tensors of a nested value, flat."""
    found = torch.utils._pytree.tree_leaves(value)
    return [x.detach().numpy() for x in found if isinstance(x, torch.Tensor)]


def session(proto: onnx.ModelProto) -> ort.InferenceSession:
    """Return a session on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def converted(architecture: Architecture, model: torch.nn.Module, opset: int | None = None) -> onnx.ModelProto:
    """Convert with the example inputs at the traced sizes."""
    return any2onnx.convert_pytorch(
        model,
        (),
        kwargs=architecture.inputs(*architecture.traced),
        dynamic_shapes=dict(architecture.dynamic),
        target_opset=opset,
    )


def compare(got: list[np.ndarray[Any, Any]], want: list[np.ndarray[Any, Any]], atol: float, where: str) -> None:
    """Hold every output against the model's, relative to the output's own scale."""
    assert len(got) == len(want), f"{where}: {len(got)} outputs, the model has {len(want)}"
    for k, (a, b) in enumerate(zip(got, want, strict=True)):
        assert a.shape == b.shape, f"{where}: output {k} is {a.shape}, not {b.shape}"
        assert a.dtype == b.dtype, f"{where}: output {k} is {a.dtype}, not {b.dtype}"
        if a.dtype.kind != "f":
            np.testing.assert_array_equal(a, b, err_msg=f"{where}: output {k}")
            continue
        finite = b[np.isfinite(b) & (np.abs(b) < 1e30)]
        scale = max(1e-3, float(np.abs(finite).max())) if finite.size else 1.0
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=atol * scale, err_msg=f"{where}: output {k}")


def check(architecture: Architecture, opset: int | None = None) -> onnx.ModelProto:
    """Convert at one size, compare at that one and at every other."""
    torch.manual_seed(0)
    model = architecture.make().eval()
    proto = converted(architecture, model, opset)
    runner = session(proto)
    names = [i.name for i in runner.get_inputs()]
    for sizes in (architecture.traced, *architecture.others):
        torch.manual_seed(sum(sizes))
        inputs = architecture.inputs(*sizes)
        arrays = leaves(inputs)
        # First the session: a model may change its cache in place.
        got = runner.run(None, dict(zip(names, [a.copy() for a in arrays], strict=True)))
        with torch.no_grad():
            want = leaves(model(**inputs))
        compare(got, want, architecture.atol, f"{architecture.name} at {sizes}")
    return proto
