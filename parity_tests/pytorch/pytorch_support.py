"""Conversion and comparison for the PyTorch tests: small models, onnxruntime on one thread."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import torch

from any2onnx.converters.pytorch.walk import build_pytorch
from any2onnx.graph.opsets import Opsets
from any2onnx.operator_mappings.registry import Registry, default_registry

ort.set_default_logger_severity(4)
LONGEST_RUN = 60.0
OPSETS = (13, 18, 21, 28)


def build(model: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None, **arguments: Any) -> ir.Model:
    opset = arguments.pop("opset", None)
    registry: Registry = arguments.pop("registry", default_registry())
    return build_pytorch(model, args, kwargs, opsets=Opsets.of(opset), registry=registry, **arguments)


def convert(model: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None, **arguments: Any) -> onnx.ModelProto:
    proto = ir.to_proto(build(model, args, kwargs, **arguments))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run(proto: onnx.ModelProto, *inputs: Any) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    arrays = [as_array(x) for x in inputs]
    limit = ort.RunOptions()
    # A loop that does not end ends here; Python's own alarms do not reach into onnxruntime.
    timer = threading.Timer(LONGEST_RUN, lambda: setattr(limit, "terminate", True))
    timer.start()
    try:
        return session.run(None, dict(zip((i.name for i in proto.graph.input), arrays, strict=True)), limit)
    finally:
        timer.cancel()


def as_array(x: Any) -> np.ndarray:
    if isinstance(x, torch.Tensor) and x.is_complex():
        # Complex tensors cross the model's edges as pairs of reals.
        x = torch.view_as_real(x.resolve_conj())
    return x.detach().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


def answers(model: Any, *args: Any, **kwargs: Any) -> list[np.ndarray]:
    """The tensors that the model returns in evaluation mode, flat, None left out."""
    model.eval()
    with torch.no_grad():
        leaves = torch.utils._pytree.tree_leaves(model(*args, **kwargs))
    return [as_array(x) for x in leaves if x is not None]


def same(got: Sequence[np.ndarray], want: Sequence[np.ndarray], rtol: float = 2e-5, atol: float = 2e-6) -> None:
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, equal_nan=True)


def operators(proto: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in proto.graph.node]
