"""Save a model: atomically, the same bytes every time, with external data when it is large.

The pair of a large model
    Weights go to ``NAME.onnx.<16 hex digits>.data`` in the same folder; the digits are the start of the SHA-256 of that
    file (``sha256sum`` shows it). The data file is in place before the ``.onnx`` is renamed over the old one: that
    rename is the only commit point. Since another content has another name, an old ``.onnx`` can never meet new
    weights, nor the reverse, whenever the writer is killed; with one fixed name for the data this cannot be had,
    because two files cannot be replaced in one step. Afterwards data files of earlier saves of the same model are
    removed, unless another ``.onnx`` in the folder names them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from any2onnx.errors import GraphError, NotAModel
from any2onnx.io.atomic import (
    TemporaryFile,
    check_space,
    check_target,
    file_errors,
    locked,
    remove_dead_temporaries,
    sync_folder,
    temporary_file,
)
from any2onnx.io.data_files import data_path_of, remove_stale_data
from any2onnx.io.external import ExternalFiles
from any2onnx.io.limits import EXTERNAL_DATA_LIMIT, EXTERNAL_TENSOR_THRESHOLD, PROTOBUF_LIMIT
from any2onnx.io.proto_numbers import Message, to_message
from any2onnx.io.proto_stream import Parts, model_parts
from any2onnx.io.proto_walk import tensor_nbytes, walk_graphs, walk_tensors
from any2onnx.io.skeleton import (
    PENDING,
    inline_external,
    set_location,
    split_weights,
    strip_provenance,
    without_weight_types,
)
from any2onnx.io.tensor_stream import TensorWriter

if TYPE_CHECKING:
    import onnx
    import onnx_ir

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SavedFiles:
    """The files of a saved model: the ``.onnx`` file, its data files (often none), the bytes of all together."""

    model: Path
    data: tuple[Path, ...]
    nbytes: int


def saved_files(path: str | os.PathLike[str]) -> SavedFiles:
    """Return the files that a saved model consists of, without reading its data.

    Raises:
        MalformedFile: No ONNX model, or its external references are not allowed.
        FileAccessError: A file is absent or cannot be read.
    """
    import onnx

    from any2onnx.io.external import parse_reference
    from any2onnx.io.load_onnx import parse_onnx

    source = Path(path)
    with file_errors(source, "read"):
        with source.open("rb") as stream:
            model = parse_onnx(stream, str(source))
        parts = {
            parse_reference(tensor, str(source)).parts
            for tensor in walk_tensors(model)
            if tensor.data_location == onnx.TensorProto.EXTERNAL
        }
        data = tuple(source.parent.joinpath(*names) for names in sorted(parts))
        return SavedFiles(source, data, sum(file.stat().st_size for file in (source, *data)))


def to_proto(model: onnx_ir.Model) -> onnx.ModelProto:
    """Return the model as a protobuf with all weights inside (each copied once; external data is read in).

    Raises:
        NotAModel: ``model`` is no onnx_ir model.
    """
    import onnx_ir

    if not isinstance(model, onnx_ir.Model):
        raise NotAModel(f"to_proto takes an onnx_ir.Model, got {type(model).__name__}")
    return _message(model).proto


def _message(model: onnx_ir.Model) -> Message:
    """Return what `to_proto` does, with the serialised nodes that it has met on the way."""
    _refuse_external_attributes(model)
    with _loaded_externals(model):
        message = to_message(model)
    without_weight_types(message.proto)
    return message


def save_model(
    model: onnx.ModelProto | onnx_ir.Model,
    path: str | os.PathLike[str],
    *,
    external_data: bool | None = None,
    external_data_threshold: int = EXTERNAL_TENSOR_THRESHOLD,
    overwrite: bool = True,
    strip: bool = False,
    base_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> onnx.ModelProto:
    """Save a model atomically; a reader sees the old model or the new one, whole.

    Args:
        model: The model; it is left as it is.
        path: The ``.onnx`` file. Its folder must exist.
        external_data: Put the weights into a data file beside it: yes, no, or (None) when they exceed 1.8 GiB.
        external_data_threshold: Tensors above this many bytes go to the data file.
        overwrite: Whether an existing file may be replaced.
        strip: Leave out provenance: doc strings and metadata of nodes, values, tensors and functions. What describes
            the model as a whole stays.
        base_dir: Folder of the data files that ``model`` (a protobuf) refers to already; default: that of ``path``.
        progress: Called with (bytes written, bytes in all) while the data file grows.

    Returns:
        The model as it was written: with its weights inside, or referring to the data file.

    Raises:
        NotAModel: ``model`` is neither of the two types.
        FileAccessError: No space, no permission, a symbolic link, or the file exists and ``overwrite`` is false.
        GraphError: Too large without external data, or nested too deeply to be read back.
    """
    return _save(
        model,
        Path(path),
        external_data=external_data,
        threshold=external_data_threshold,
        overwrite=overwrite,
        strip=strip,
        base_dir=Path(base_dir) if base_dir is not None else Path(path).parent,
        progress=progress,
    )


def write_streamed(
    model: onnx_ir.Model,
    path: str | os.PathLike[str],
    *,
    external_data_threshold: int = EXTERNAL_TENSOR_THRESHOLD,
    overwrite: bool = True,
    strip: bool = False,
    progress: Progress | None = None,
) -> onnx.ModelProto:
    """Save with external data always, and return the protobuf that refers to it; no weight is ever copied whole.

    Arguments and errors are those of `save_model`.
    """
    return _save(
        model,
        Path(path),
        external_data=True,
        threshold=external_data_threshold,
        overwrite=overwrite,
        strip=strip,
        base_dir=Path(path).parent,
        progress=progress,
    )


def adopt(source: str | os.PathLike[str], target: str | os.PathLike[str], *, overwrite: bool = True) -> None:
    """Move a saved model, with its data file, from another folder of the same disk into place, atomically.

    Args:
        source: A model written by `save_model` or `write_streamed`, under the same file name.
        target: Where it goes.
        overwrite: Whether an existing file may be replaced.

    Raises:
        FileAccessError: As `save_model`.
    """
    files, path = saved_files(source), Path(target)
    with file_errors(path, "write"), locked(path.parent):
        check_target(path, overwrite=overwrite)
        for data in files.data:
            check_target(path.parent / data.name, overwrite=True)
            os.replace(data, path.parent / data.name)
        sync_folder(path.parent)
        os.replace(files.model, path)
        sync_folder(path.parent)
        remove_stale_data(path, path.parent / files.data[0].name if files.data else None)


def model_nbytes(model: onnx.ModelProto | onnx_ir.Model) -> int:
    """Return the bytes of all tensors of the model (initializers at every depth; for a protobuf, attributes too)."""
    import onnx

    if isinstance(model, onnx.ModelProto):
        return sum(tensor_nbytes(tensor) for tensor in walk_tensors(model))
    return sum(value.const_value.nbytes for value in _initializers(model) if value.const_value is not None)


def _save(
    model: onnx.ModelProto | onnx_ir.Model,
    path: Path,
    *,
    external_data: bool | None,
    threshold: int,
    overwrite: bool,
    strip: bool,
    base_dir: Path,
    progress: Progress | None,
) -> onnx.ModelProto:
    import onnx
    import onnx_ir

    if not isinstance(model, onnx.ModelProto | onnx_ir.Model):
        raise NotAModel(
            f"save_model takes an onnx.ModelProto or an onnx_ir.Model, got {type(model).__name__}",
            remedy="convert it first: any2onnx.convert(model)",
        )
    weights = model_nbytes(model)
    if external_data is None:
        external_data = weights > EXTERNAL_DATA_LIMIT
    check_target(path, overwrite=overwrite)
    with file_errors(path, "write"), _nesting_errors(path):
        with locked(path.parent):
            remove_dead_temporaries(path)  # before the space is counted that they take
        check_space(path.parent, weights)
        if external_data:
            return _save_pair(model, path, threshold, strip, base_dir, overwrite, progress, weights)
        message = _inline_message(model, base_dir, strip)
        proto = message.proto
        # A message from outside is written as it is, unknown fields and all.
        data = _serialised(proto, path) if proto is model else _parts(message, path)
        with temporary_file(path) as temporary:
            _fill(temporary, data)
            _commit(path, temporary, None, None, overwrite=overwrite)
        return proto


def _save_pair(
    model: onnx.ModelProto | onnx_ir.Model,
    path: Path,
    threshold: int,
    strip: bool,
    base_dir: Path,
    overwrite: bool,
    progress: Progress | None,
    weights: int,
) -> onnx.ModelProto:
    import onnx

    with (
        temporary_file(path) as data_file,
        temporary_file(path) as model_file,
        TensorWriter(data_file.stream, weights, progress) as writer,
    ):
        if isinstance(model, onnx.ModelProto):
            proto = split_weights(model, writer, threshold, ExternalFiles(base_dir, str(path)))
        else:
            proto = _split_ir(model, writer, threshold)
        data_path = data_path_of(path, writer.digest) if writer.size else None
        if data_path is not None:
            set_location(proto, data_path.name)
        if strip:
            strip_provenance(proto)
        data = _serialised(proto, path)
        _fill(model_file, data)
        data_file.finish()
        _commit(path, model_file, data_file, data_path, overwrite=overwrite)
    return proto


def _split_ir(model: onnx_ir.Model, writer: TensorWriter, threshold: int) -> onnx.ModelProto:
    """Write the large weights of an onnx_ir model and return the protobuf that refers to them."""
    import onnx_ir

    _refuse_external_attributes(model)
    swapped: list[tuple[onnx_ir.Value, onnx_ir.TensorProtocol]] = []
    try:
        for value in _initializers(model):
            tensor = value.const_value
            if tensor is None or tensor.dtype == onnx_ir.DataType.STRING:
                continue
            if tensor.nbytes <= threshold:
                if isinstance(tensor, onnx_ir.ExternalTensor):
                    swapped.append((value, tensor))
                    value.const_value = _in_memory(tensor)
                continue
            placement = writer.add_tensor(tensor)
            swapped.append((value, tensor))
            # The location is not known before the last byte is hashed; it is filled in afterwards.
            value.const_value = onnx_ir.ExternalTensor(
                PENDING,
                placement.offset,
                placement.length,
                tensor.dtype,
                shape=onnx_ir.Shape(tensor.shape.numpy()),
                name=value.name or "",
                doc_string=tensor.doc_string,
                metadata_props=dict(tensor.metadata_props),
            )
        return without_weight_types(to_message(model).proto)
    finally:
        for value, tensor in swapped:
            value.const_value = tensor


def _initializers(model: onnx_ir.Model) -> Iterator[onnx_ir.Value]:
    for graph in model.graphs():
        yield from graph.initializers.values()


def _refuse_external_attributes(model: onnx_ir.Model) -> None:
    """Refuse attributes that keep their tensor in a file: `load_onnx` reads them in, and nothing here makes them."""
    import onnx_ir

    kinds = (onnx_ir.AttributeType.TENSOR, onnx_ir.AttributeType.TENSORS)
    for graph in model.graphs():
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.type not in kinds or attribute.is_ref():
                    continue
                tensors = attribute.value if attribute.type == onnx_ir.AttributeType.TENSORS else [attribute.value]
                if any(isinstance(tensor, onnx_ir.ExternalTensor) for tensor in tensors):
                    raise GraphError(
                        f"attribute {attribute.name!r} of node {node.name!r} keeps its tensor in another file",
                        needs="tensors of attributes inside the model",
                        remedy="load the model with any2onnx.io.load_onnx, which reads them in",
                    )


def _in_memory(tensor: onnx_ir.ExternalTensor) -> onnx_ir.TensorProtocol:
    """Return a tensor over the mapped data; only its small packed forms are copied."""
    import onnx_ir

    if tensor.dtype.bitwidth < 8:
        from onnx_ir import serde

        return serde.deserialize_tensor(
            serde.serialize_tensor(onnx_ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name))
        )
    return onnx_ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)


@contextmanager
def _loaded_externals(model: onnx_ir.Model) -> Iterator[None]:
    """Show external tensors as tensors in memory, so that they are serialised inside."""
    import onnx_ir

    swapped: list[tuple[onnx_ir.Value, onnx_ir.TensorProtocol]] = []
    try:
        for value in _initializers(model):
            tensor = value.const_value
            if isinstance(tensor, onnx_ir.ExternalTensor):
                swapped.append((value, tensor))
                value.const_value = _in_memory(tensor)
        yield
    finally:
        for value, tensor in swapped:
            value.const_value = tensor


def _inline_message(model: onnx.ModelProto | onnx_ir.Model, base_dir: Path, strip: bool) -> Message:
    import onnx

    if not isinstance(model, onnx.ModelProto):
        message = _message(model)
        proto = message.proto
    else:
        refers = any(t.data_location == onnx.TensorProto.EXTERNAL for t in walk_tensors(model))
        if not (refers or strip):
            return Message(model, {})
        proto = onnx.ModelProto()
        proto.CopyFrom(model)
        message = Message(proto, {})
        if refers:
            inline_external(proto, ExternalFiles(base_dir, str(base_dir)))
    if strip:
        strip_provenance(proto)
        return Message(proto, {})  # serialised nodes would still have theirs
    return message


def _too_large(path: Path) -> GraphError:
    return GraphError(
        "the model does not fit into one .onnx file",
        where=str(path),
        needs=f"less than {PROTOBUF_LIMIT:,} bytes without its external data",
        remedy="save with external data (external_data=True, --external-data)",
    )


def _parts(message: Message, path: Path) -> bytes | Parts:
    """Return what `_serialised` returns, with large weights still in the message."""
    if any(depth for _, depth in walk_graphs(message.proto)):
        return _serialised(message.proto, path)
    parts = model_parts(message.proto, message.nodes)
    if parts.nbytes > PROTOBUF_LIMIT:
        raise _too_large(path)
    return parts


def _serialised(proto: onnx.ModelProto, path: Path) -> bytes:
    """Return the deterministic bytes, proved readable.

    Protobuf writes any depth of nested messages but reads only 100, that is about 33 nested sub-graphs.
    """
    import onnx
    from google.protobuf.message import EncodeError  # type: ignore[import-untyped]

    try:
        data: bytes = proto.SerializeToString(deterministic=True)
    except (EncodeError, ValueError) as error:
        raise _too_large(path) from error
    if len(data) > PROTOBUF_LIMIT:
        raise _too_large(path)
    if any(depth for _, depth in walk_graphs(proto)):
        onnx.ModelProto.FromString(data)
    return data


@contextmanager
def _nesting_errors(path: Path) -> Iterator[None]:
    """Name the reason when protobuf cannot copy or read back what it holds: sub-graphs nested beyond its limit."""
    from google.protobuf.message import DecodeError

    try:
        yield
    except DecodeError as error:
        raise GraphError(
            "the model's sub-graphs are nested too deeply: no reader could load the file",
            where=str(path),
            needs="at most about 30 nested If, Loop or Scan",
        ) from error


def _fill(temporary: TemporaryFile, data: bytes | Parts) -> None:
    if isinstance(data, bytes):
        temporary.stream.write(data)
    else:
        data.write(temporary.stream)
    temporary.finish()


def _commit(
    path: Path,
    model_file: TemporaryFile,
    data_file: TemporaryFile | None,
    data_path: Path | None,
    *,
    overwrite: bool,
) -> None:
    """Put the finished files in place, data first; then remove what earlier saves have left."""
    with locked(path.parent):
        check_target(path, overwrite=overwrite)
        if data_file is not None and data_path is not None:
            check_target(data_path, overwrite=True)
            data_file.rename_to(data_path)
        model_file.rename_to(path)
        remove_stale_data(path, data_path)
