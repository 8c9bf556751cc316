"""sklearn.feature_extraction.image: patches of images."""

from __future__ import annotations

import numpy as np

from any2onnx.converters.sklearn.support import Results, to_float, working_type
from any2onnx.errors import InvalidType, UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, dtype_of, rank_of, shape_of
from any2onnx.operator_mappings.mapping import Call


def patch_extractor(g: GraphBuilder, call: Call) -> Results:
    """Convert image.PatchExtractor: all patches of all images, [patches, height, width(, channels)].

    Raises:
        UnsupportedParameter: `max_patches` draws patches at random.
        InvalidType: The images are no tensor of known height and width.
    """
    model = call.source
    if model.max_patches is not None:
        raise UnsupportedParameter(
            f"max_patches={model.max_patches!r} draws patches at random", where=call.location or None, needs="None"
        )
    images = to_float(g, call.input, working_type(call)) if dtype_of(call.input) == DataType.STRING else call.input
    if rank_of(images) not in (3, 4):
        raise InvalidType("the input holds no images", where=call.location or None, needs="[N, height, width, …]")
    sizes = [size for size in shape_of(images)[1:] if isinstance(size, int)]
    if len(sizes) != rank_of(images) - 1:
        raise InvalidType("the size of the images is not known", where=call.location or None, needs="static sizes")
    height, width, *channels = sizes
    if model.patch_size is None:
        rows, columns = height // 10, width // 10
    else:
        rows, columns = (int(k) for k in model.patch_size)
    down, right = np.arange(height - rows + 1), np.arange(width - columns + 1)
    i = down[:, None, None, None] + np.arange(rows)[None, None, :, None]
    j = right[None, :, None, None] + np.arange(columns)[None, None, None, :]
    flat = (i * width + j).reshape(-1)
    pixels = g.Reshape(images, [0, height * width, *channels])
    patches = g.Reshape(g.Gather(pixels, flat, axis=1), [-1, rows, columns, *channels])
    value = g.Cast(patches, working_type(call))
    # scikit-learn drops a single channel.
    return {"transform": g.Squeeze(value, 3) if channels == [1] else value}
