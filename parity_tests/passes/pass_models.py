"""Small models for the tests of passes, and how they are run and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

OPSETS = (13, 18, 21)
_IR_VERSION = 8

ELEM = {
    "float": TensorProto.FLOAT,
    "double": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "int64": TensorProto.INT64,
    "int32": TensorProto.INT32,
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
    "bool": TensorProto.BOOL,
    "string": TensorProto.STRING,
}


class Sketch:
    """Builds a ModelProto node by node, with provenance on each node, then infers shapes."""

    def __init__(self, opset: int = 18) -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.functions: list[onnx.FunctionProto] = []
        self.count = 0

    def input(self, name: str, shape: Sequence[int | str | None] | None, dtype: str = "float") -> str:
        self.inputs.append(helper.make_tensor_value_info(name, ELEM[dtype], shape))
        return name

    def const(self, array: Any, name: str | None = None, dtype: Any = None) -> str:
        self.count += 1
        name = name or f"c{self.count}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array, dtype=dtype), name))
        return name

    def ints(self, *numbers: int) -> str:
        return self.const(np.array(numbers, dtype=np.int64))

    def op(
        self, op_type: str, *inputs: str, out: str | Sequence[str] | None = None, domain: str = "", **attrs: Any
    ) -> Any:
        self.count += 1
        outputs = [out] if isinstance(out, str) else list(out) if out else [f"v{self.count}"]
        node = helper.make_node(op_type, inputs, outputs, name=f"n{self.count}", domain=domain, **attrs)
        for key, text in (("any2onnx.source", f"layer{self.count}"), ("other", "x")):
            node.metadata_props.add(key=key, value=text)
        self.nodes.append(node)
        return outputs[0] if len(outputs) == 1 else outputs

    def output(self, name: str, dtype: str = "float", shape: Sequence[int | str | None] | None = None) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, ELEM[dtype], shape))

    def proto(self, *, infer: bool = True) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "graph", self.inputs, self.outputs, self.initializers)
        imports = [helper.make_opsetid("", self.opset)]
        imports += [helper.make_opsetid(domain, 1) for domain in sorted({f.domain for f in self.functions})]
        model = helper.make_model(graph, opset_imports=imports, functions=self.functions, ir_version=_IR_VERSION)
        if self.opset >= 21:
            model.ir_version = 10
        if not infer:
            return model
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        for output in inferred.graph.output:
            assert output.type.tensor_type.elem_type
        return inferred

    def proto_of_types(self, names: Sequence[str]) -> onnx.ModelProto:
        """Make these values the outputs, of whatever type inference finds, or float."""
        probe = helper.make_graph(self.nodes, "graph", self.inputs, [], self.initializers)
        model = helper.make_model(probe, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=_IR_VERSION)
        known = {info.name: info for info in onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info}
        self.outputs = [known[name] for name in names]
        return self.proto(infer=False)

    def model(self, *, infer: bool = True) -> ir.Model:
        return ir.from_proto(self.proto(infer=infer))


def to_proto(model: ir.Model) -> onnx.ModelProto:
    return ir.to_proto(model)


def run(model: ir.Model | onnx.ModelProto, feeds: Mapping[str, Any], *, optimized: bool = False) -> list[Any]:
    """Run a model in onnxruntime, by default without its own optimiser, which would hide what ours does."""
    import onnxruntime as ort

    proto = model if isinstance(model, onnx.ModelProto) else to_proto(model)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, dict(feeds))


def count_ops(model: ir.Model) -> Counter[str]:
    """Count the operators of the main graph, sub-graphs and functions."""
    counts = Counter(node.op_type for node in model.graph.all_nodes())
    for function in model.functions.values():
        counts.update(node.op_type for node in function.all_nodes())
    return counts


def random_feeds(model: ir.Model, sizes: Mapping[str, int] | None = None, seed: int = 0) -> dict[str, Any]:
    """Make random inputs for ``model``; symbols take their length from ``sizes`` (2 by default)."""
    generator = np.random.default_rng(seed)
    feeds = {}
    for value in model.graph.inputs:
        assert value.shape is not None
        assert value.dtype is not None
        assert value.name is not None
        shape = [dim if isinstance(dim, int) else (sizes or {}).get(str(dim), 2) for dim in value.shape]
        numbers = generator.standard_normal(shape)
        dtype = value.dtype.numpy()
        feeds[value.name] = (numbers * 10).astype(dtype) if dtype.kind in "iu" else numbers.astype(dtype)
    return feeds


def check_same(
    before: onnx.ModelProto,
    after: ir.Model,
    feeds: Mapping[str, Any] | None = None,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
) -> None:
    """Check that ``after`` is valid ONNX, has the signature of ``before`` and answers the same (exactly)."""
    proto = to_proto(after)
    onnx.checker.check_model(proto, full_check=True)
    assert [value.name for value in proto.graph.input] == [value.name for value in before.graph.input]
    assert [value.name for value in proto.graph.output] == [value.name for value in before.graph.output]
    feeds = feeds if feeds is not None else random_feeds(ir.from_proto(before))
    for expected, answer in zip(run(before, feeds), run(proto, feeds), strict=True):
        assert np.asarray(expected).dtype == np.asarray(answer).dtype
        assert np.shape(expected) == np.shape(answer)
        if rtol or atol:
            np.testing.assert_allclose(answer, expected, rtol=rtol, atol=atol)
        else:
            np.testing.assert_array_equal(answer, expected)
