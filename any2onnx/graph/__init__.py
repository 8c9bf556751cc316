"""The typed graph builder on onnx-ir."""

from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.opsets import Opsets
from any2onnx.graph.types import DataType, Dim, TensorSpec, Value

__all__ = ["DataType", "Dim", "GraphBuilder", "Opsets", "TensorSpec", "Value"]
