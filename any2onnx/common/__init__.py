"""Paths that skl2onnx's users know: ``from any2onnx.common.data_types import FloatTensorType``."""
