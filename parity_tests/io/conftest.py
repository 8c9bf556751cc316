from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def make_model() -> Callable[..., onnx.ModelProto]:
    """Return a function that makes a small y = x @ w model; ``seed`` decides the weights."""

    def make(n: int = 64, seed: int = 0, **metadata: str) -> onnx.ModelProto:
        weights = np.random.default_rng(seed).standard_normal((n, n)).astype(np.float32)
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"], name="step", doc_string="made by a test")],
            "graph",
            [helper.make_tensor_value_info("x", 1, ["batch", n])],
            [helper.make_tensor_value_info("y", 1, ["batch", n])],
            [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.arange(3), "small")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        for key, value in metadata.items():
            model.metadata_props.add(key=key, value=value)
        return model

    return make
