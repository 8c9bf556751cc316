"""Files: loading with trust levels (`load`), atomic saving (`save_model`), metadata (`set_metadata`).

Importing this package imports no framework, neither onnx nor onnx_ir; each function loads what it needs.
"""

from __future__ import annotations

from any2onnx.io.load import load
from any2onnx.io.load_onnx import load_onnx
from any2onnx.io.metadata import set_metadata
from any2onnx.io.save import SavedFiles, save_model, saved_files, to_proto, write_streamed
from any2onnx.io.trust import Trust

__all__ = [
    "SavedFiles",
    "Trust",
    "load",
    "load_onnx",
    "save_model",
    "saved_files",
    "set_metadata",
    "to_proto",
    "write_streamed",
]
