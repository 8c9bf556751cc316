"""Read an ``.onnx`` file that may be hostile: parse the protobuf, check it against limits, read its external data.

No native code but the protobuf parser sees the file. A runtime should be given the result, never the path:
onnxruntime follows hard links in external data.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from any2onnx.errors import MalformedFile, UnsupportedOperator
from any2onnx.io.atomic import file_errors
from any2onnx.io.external import ExternalFiles, ExternalReference, parse_reference
from any2onnx.io.limits import DEFAULT_LIMITS, EXTERNAL_DATA_LIMIT, PROTOBUF_LIMIT, Limits
from any2onnx.io.proto_walk import attribute_tensors, tensor_nbytes, walk_graphs, walk_tensors
from any2onnx.io.skeleton import inline_external, inline_tensor

if TYPE_CHECKING:
    from typing import BinaryIO

    import onnx
    import onnx_ir


def load_onnx(path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> onnx.ModelProto | onnx_ir.Model:
    """Load an ONNX model with its data.

    Args:
        path: The ``.onnx`` file.
        limits: Upper bounds.

    Returns:
        A `onnx.ModelProto` with all data inside; when the data exceed 1.8 GiB, which no protobuf can hold, an
        `onnx_ir.Model` whose weights are mapped from the verified data files.

    Raises:
        MalformedFile: The file is no ONNX model, is truncated, breaks a limit, or its external data are not allowed.
        FileAccessError: A file cannot be read.
    """
    source = Path(path)
    with file_errors(source, "read"), source.open("rb") as stream:
        model = parse_onnx(stream, str(source))
    verify_onnx(model, str(source), limits=limits)
    files = ExternalFiles(source.parent, str(source))
    if sum(tensor_nbytes(tensor) for tensor in walk_tensors(model)) <= EXTERNAL_DATA_LIMIT:
        inline_external(model, files)
        return model
    return _mapped_model(model, files, str(source))


def parse_onnx(stream: BinaryIO, where: str) -> onnx.ModelProto:
    """Parse the protobuf of an open file; external data are not touched.

    Raises:
        MalformedFile: Not a protobuf, or a protobuf that is no model (an empty file parses as an empty model).
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    size = os.fstat(stream.fileno()).st_size
    if size == 0:
        raise MalformedFile("the file is empty", where=where)
    if size > PROTOBUF_LIMIT:
        raise MalformedFile(
            f"the file has {size:,} bytes; no ONNX file has more than {PROTOBUF_LIMIT:,} without external data",
            where=where,
        )
    try:
        model: onnx.ModelProto = onnx.ModelProto.FromString(stream.read())
    except (DecodeError, ValueError) as error:
        raise MalformedFile(
            "the file is not an ONNX model, or it is damaged",
            where=where,
            needs="a serialised onnx.ModelProto",
            remedy="convert or download it again",
        ) from error
    if not (model.ir_version and model.opset_import and model.HasField("graph") and model.graph.output):
        raise MalformedFile(
            "the file parses as a protobuf, but it is no ONNX model",
            where=where,
            needs="an IR version, opsets and a graph with outputs",
        )
    return model


def verify_onnx(model: onnx.ModelProto, where: str, *, limits: Limits = DEFAULT_LIMITS) -> None:
    """Check the limits and every tensor's declaration; external references are checked, not followed.

    Raises:
        MalformedFile: A limit is broken, a tensor holds other bytes than it declares, or an external reference is not
            allowed.
    """
    import onnx

    nodes = 0
    for graph, depth in walk_graphs(model):
        nodes += len(graph.node)
        if depth > limits.onnx_depth:
            raise MalformedFile(f"sub-graphs nested more than {limits.onnx_depth} deep", where=where)
        if nodes > limits.onnx_nodes:
            raise MalformedFile(f"the model has more than {limits.onnx_nodes:,} nodes", where=where)
    for tensor in walk_tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            parse_reference(tensor, where)
        else:
            _check_inline(tensor, where)


def _check_inline(tensor: onnx.TensorProto, where: str) -> None:
    import onnx
    import onnx_ir

    place = f"{where}, tensor {tensor.name!r}"
    try:
        needed = tensor_nbytes(tensor)
        dtype = onnx_ir.DataType(tensor.data_type)
    except ValueError as error:
        raise MalformedFile(f"tensor without a valid dtype and shape: {error}", where=place) from error
    if tensor.data_type == onnx.TensorProto.STRING:
        held, wanted, unit = len(tensor.string_data), _size(tensor), "texts"
    elif tensor.HasField("raw_data"):
        held, wanted, unit = len(tensor.raw_data), needed, "bytes"
    else:
        field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
        held, wanted, unit = len(getattr(tensor, field)), _field_entries(_size(tensor), dtype), "numbers"
    if held != wanted:
        raise MalformedFile(f"a tensor holds {held:,} {unit}, its dtype and shape need {wanted:,}", where=place)


def _size(tensor: onnx.TensorProto) -> int:
    return math.prod(tensor.dims)


def _field_entries(size: int, dtype: onnx_ir.DataType) -> int:
    """Return how many numbers the typed field holds: types below a byte share one, complex types take two."""
    import onnx_ir

    if dtype in (onnx_ir.DataType.COMPLEX64, onnx_ir.DataType.COMPLEX128):
        return 2 * size
    if dtype.bitwidth in (2, 4):
        per_entry = 8 // dtype.bitwidth
        return (size + per_entry - 1) // per_entry
    if dtype.bitwidth == 6:
        return (size * 6 + 7) // 8
    return size


def _mapped_model(model: onnx.ModelProto, files: ExternalFiles, where: str) -> onnx_ir.Model:
    """Return an onnx_ir model whose external weights are arrays over the mapped, verified files.

    Raises:
        UnsupportedOperator: The model has parts that onnx_ir would drop: sparse initializers, training info.
    """
    import onnx
    import onnx_ir

    if model.training_info or any(getattr(graph, "sparse_initializer", ()) for graph, _ in walk_graphs(model)):
        raise UnsupportedOperator(
            "a model above 1.8 GiB with sparse initializers or training info cannot be loaded", where=where
        )
    for graph, _ in walk_graphs(model):
        packed = [t for t in getattr(graph, "initializer", ()) if onnx_ir.DataType(t.data_type).bitwidth < 8]
        for tensor in [*packed, *(t for node in graph.node for t in attribute_tensors(node.attribute))]:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                inline_tensor(tensor, files)
    built = onnx_ir.from_proto(model)
    for ir_graph in built.graphs():
        for value in ir_graph.initializers.values():
            tensor = value.const_value
            if not isinstance(tensor, onnx_ir.ExternalTensor):
                continue
            data = files.slice_of(ExternalReference.of(str(tensor.location), tensor.offset or 0, tensor.nbytes))
            array = data.view(tensor.dtype.numpy()).reshape(tensor.shape.numpy())
            value.const_value = onnx_ir.Tensor(array, dtype=tensor.dtype, name=tensor.name)
    return built
