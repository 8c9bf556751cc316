"""The table of onnxruntime's kernels, held against the installed runtime, and everything emitted against the table."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from any2onnx.graph.kernels import _EXPANDED, has_kernel, kernel_table, runs
from any2onnx.graph.lowerings import FORMS
from any2onnx.graph.types import DataType

SNAPSHOT_OF = "1.32"
same_runtime = pytest.mark.skipif(
    not ort.__version__.startswith(SNAPSHOT_OF + "."), reason=f"the snapshot is of onnxruntime {SNAPSHOT_OF}"
)


def test_kernel_lookup_follows_versions_and_dtypes() -> None:
    assert has_kernel("", "Add", 21, (("T", DataType.DOUBLE),))
    assert has_kernel("", "Add", 21, (("T", DataType.INT8),))
    assert not has_kernel("", "Add", 13, (("T", DataType.INT8),))
    assert not has_kernel("", "Erf", 21, (("T", DataType.DOUBLE),))
    assert not has_kernel("", "RoiAlign", 22, (("T1", DataType.FLOAT),)), "the kernel is of an older version"
    assert has_kernel("ai.onnx.ml", "TreeEnsemble", 5, (("T", DataType.DOUBLE),))
    assert has_kernel("com.microsoft", "CDist", 1, (("T", DataType.DOUBLE),))


@same_runtime
def test_snapshot_is_what_the_runtime_says() -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_opkernel_def

    names = {"": "", "ai.onnx": ""}
    listed = {
        (names.get(k.domain, k.domain), k.op_name, k.version_range[0])
        for k in get_all_opkernel_def()
        if k.provider == "CPUExecutionProvider"
    }
    ours = {(domain, op, kernel.since) for (domain, op), kernels in kernel_table().items() for kernel in kernels}
    assert ours == listed


def _inputs(op_type: str, dtype: type) -> list[np.ndarray]:
    x = np.full((2, 4, 3, 3), 0.5, dtype)
    special = {
        "AffineGrid": [np.full((2, 2, 3), 0.5, dtype), np.array([2, 1, 4, 4])],
        "Attention": [x, x, x],
        "CastLike": [x, np.array([1])],
        "CenterCropPad": [x, np.array([2, 2, 2, 2])],
        "GroupNormalization": [x, np.ones(4, dtype), np.ones(4, dtype)],
        "NegativeLogLikelihoodLoss": [x[..., 0], np.zeros((2, 3), np.int64)],
        "SoftmaxCrossEntropyLoss": [x[..., 0], np.zeros((2, 3), np.int64)],
        "RMSNormalization": [x, np.ones(3, dtype)],
        "ReduceLogSum": [x, np.array([1])],
        "ReduceLogSumExp": [x, np.array([1])],
        **{f"{name}Window": [np.array(4)] for name in ("Blackman", "Hamming", "Hann")},
    }
    return special.get(op_type, [x])


def _runs_in_onnxruntime(op_type: str, dtype: type, opset: int) -> bool:
    feeds = {f"x{k}": array for k, array in enumerate(_inputs(op_type, dtype))}
    attributes = {"num_groups": 2} if op_type == "GroupNormalization" else {}
    types = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()
    ]
    node = helper.make_node(op_type, list(feeds), ["y"], **attributes)
    graph = helper.make_graph([node], "g", types, [onnx.ValueInfoProto(name="y")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        session.run(None, feeds)
    except Exception:  # onnxruntime's many classes; here the question is only whether it runs
        return False
    return True


@same_runtime
@pytest.mark.parametrize("op_type", sorted(_EXPANDED))
def test_functions_without_a_kernel_run_where_the_table_says(op_type: str) -> None:
    first, last, types = _EXPANDED[op_type]
    for dtype, numpy_dtype in ((DataType.FLOAT, np.float32), (DataType.DOUBLE, np.float64)):
        for opset in {first, 18, 21, 25, last} & set(range(first, last + 1)):
            if dtype in types:
                assert _runs_in_onnxruntime(op_type, numpy_dtype, opset), (dtype, opset)
    if last < 28:
        assert not _runs_in_onnxruntime(op_type, np.float32, last + 1)


@pytest.mark.parametrize("op_type", sorted({op for op, _ in FORMS}))
def test_every_form_stands_for_an_operator_without_a_kernel(op_type: str) -> None:
    """A form for something that runs anyway would be dead code."""
    dtypes = [dtype for op, dtype in FORMS if op == op_type]
    for dtype in dtypes:
        newest = onnx.defs.get_schema(op_type, 28, "")
        name = newest.inputs[0].type_str
        missing = [
            v for v in range(13, 29) if v >= newest.since_version - 15 and not runs("", op_type, v, ((name, dtype),))
        ]
        assert missing, (op_type, dtype)
