"""The limits that every file must keep before a framework or a native parser sees it.

They are generous: a real model stays far below. Each one stops a known attack (see SECURITY.md).
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30

#: Size in bytes of all tensors from which a model is saved with external data by itself. Protobuf ends at 2 GiB; the
#: graph itself, and readers that count in signed 32-bit integers, need the margin.
EXTERNAL_DATA_LIMIT = int(1.8 * GIB)

#: The same for a conversion that writes its file itself: above it the weights go from the framework's own memory to the
#: data file. In one file with the graph they would be copied, since the message that is returned would hold them.
STREAMED_DATA_LIMIT = 16 * MIB

#: Tensors of at most this many bytes stay inside the .onnx file: shapes and axes must be readable without the data.
EXTERNAL_TENSOR_THRESHOLD = 1024

#: Largest size in bytes of one serialised protobuf message.
PROTOBUF_LIMIT = 2 * GIB - 1


@dataclass(frozen=True)
class Limits:
    """Upper bounds for files that are read.

    Attributes:
        zip_members: Entries of an archive.
        zip_total: Bytes of an archive when unpacked.
        zip_ratio: Unpacked bytes for one byte of the file.
        zip_small: Unpacked bytes that are always allowed, whatever the ratio (small files compress well).
        json_bytes: Bytes of a configuration (config.json, schema.json).
        json_depth: Nesting of brackets in a configuration.
        hdf5_bytes: Bytes that the data sets of one HDF5 file declare.
        hdf5_ratio: Declared bytes for one byte of the HDF5 file.
        hdf5_objects: Groups and data sets of one HDF5 file.
        hdf5_depth: Nesting of groups.
        onnx_depth: Nesting of sub-graphs.
        onnx_nodes: Nodes of all graphs and functions together.
        pickle_globals: Imported names that a listing shows at most.
    """

    zip_members: int = 10_000
    zip_total: int = 8 * GIB
    zip_ratio: int = 100
    zip_small: int = 16 * MIB
    json_bytes: int = 64 * MIB
    json_depth: int = 200
    hdf5_bytes: int = 8 * GIB
    hdf5_ratio: int = 100
    hdf5_objects: int = 1_000_000
    hdf5_depth: int = 200
    onnx_depth: int = 128
    onnx_nodes: int = 1_000_000
    pickle_globals: int = 200


DEFAULT_LIMITS = Limits()
