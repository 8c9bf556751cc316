"""Inputs and outputs that are no tensors: maps for DictVectorizer, skl2onnx's `zipmap`, sequences.

A zipmap is a sequence of maps, or one output per class. The typed graph holds tensors only, so sequences and maps are
made in the finished message.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from any2onnx.converters.sklearn.map_inputs import MAP_KEY, prepend_map
from any2onnx.converters.sklearn.proto_names import free_name, rename_value
from any2onnx.errors import UnsupportedParameter
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value

ZIPMAP_KEY: Final = "any2onnx.zipmap"
SEQUENCES_KEY: Final = "any2onnx.sequences"
RAGGED_KEY: Final = "any2onnx.ragged"
_ML: Final = "ai.onnx.ml"


def one_output_per_class(g: GraphBuilder, probabilities: Value, classes: np.ndarray[Any, Any]) -> dict[str, Value]:
    """Return one vector per class, called ``i0``, ``i1`` for integer classes and ``sname`` for text."""
    kind = "i" if classes.dtype.kind in "iub" else "s"
    parts = g.Split(probabilities, [1] * len(classes), axis=1)
    return {
        f"{kind}{int(label) if kind == 'i' else label}": g.Reshape(part, [-1])
        for label, part in zip(classes, parts, strict=True)
    }


def zipmap_record(output: str, classes: np.ndarray[Any, Any]) -> str:
    """Return what `zipmap_steps` needs to know, as JSON.

    Raises:
        UnsupportedParameter: Float labels that are no whole numbers, which a map cannot have as keys.
    """
    if classes.dtype.kind == "f":
        if not np.array_equal(classes, classes.astype(np.int64)):
            raise UnsupportedParameter("zipmap needs integer or text labels", remedy='options={"zipmap": False}')
        classes = classes.astype(np.int64)
    keys = [str(c) if isinstance(c, str) else int(c) for c in classes]
    return json.dumps({"output": output, "classes": keys})


def zipmap_steps(model: ir.Model) -> list[Callable[[onnx.ModelProto], onnx.ModelProto]]:
    """Return the changes of the finished message that a model asks for, and remove the notes that say so."""
    steps: list[Callable[[onnx.ModelProto], onnx.ModelProto]] = []
    record = model.metadata_props.pop(ZIPMAP_KEY, None)
    if record is not None:
        note = json.loads(record)
        # `final_types` may have renamed it; the position of the probabilities is the second.
        names = [v.name for v in model.graph.outputs]
        output = note["output"] if note["output"] in names else str(names[1])
        steps.append(lambda proto: append_zipmap(proto, output, note["classes"]))
    maps = model.metadata_props.pop(MAP_KEY, None)
    if maps is not None:
        steps.append(lambda proto: prepend_map(proto, json.loads(maps)))
    ragged = json.loads(model.metadata_props.pop(RAGGED_KEY, "[]"))
    for name, members in json.loads(model.metadata_props.pop(SEQUENCES_KEY, "{}")).items():
        steps.append(functools.partial(append_sequence, name=name, members=members, split=name in ragged))
    return steps


def append_sequence(
    proto: onnx.ModelProto, name: str, members: Sequence[str], *, split: bool = False
) -> onnx.ModelProto:
    """Turn outputs of one element type into one sequence, at the place of the first of them, in place.

    Args:
        proto: The finished model.
        name: Of the sequence.
        members: Names of the outputs.
        split: They are the items of all tensors behind each other, and how many each tensor has.
    """
    graph = proto.graph
    outputs = list(graph.output)
    first = next(output for output in outputs if output.name == members[0])
    taken = {name for node in graph.node for name in (*node.input, *node.output, node.name)}
    # An inner value may have got the name that the sequence is to have.
    rename_value(graph, name, free_name(f"{name}_tensor", taken))
    operator = "SplitToSequence" if split else "SequenceConstruct"
    graph.node.append(helper.make_node(operator, list(members), [name], name=free_name(operator, taken)))
    element = helper.make_tensor_type_proto(first.type.tensor_type.elem_type, None)
    sequence = helper.make_value_info(name, helper.make_sequence_type_proto(element))
    del graph.output[:]
    for output in outputs:
        if output.name == members[0]:
            graph.output.append(sequence)
        elif output.name not in members:
            graph.output.append(output)
    graph.value_info.extend(output for output in outputs if output.name in members)
    return proto


def append_zipmap(proto: onnx.ModelProto, output_name: str, classes: Sequence[Any]) -> onnx.ModelProto:
    """Turn a float output [N, classes] into a sequence of maps from class to probability, in place.

    Args:
        proto: The finished model.
        output_name: Of the output; it keeps its name.
        classes: Integers or text, one per column.

    ZipMap takes float32 only, so float64 probabilities are rounded.
    """
    graph = proto.graph
    position = [output.name for output in graph.output].index(output_name)
    element = graph.output[position].type.tensor_type.elem_type
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    inner = free_name(f"{output_name}_tensor", taken)
    rename_value(graph, output_name, inner)
    if element != TensorProto.FLOAT:
        rounded = free_name(f"{output_name}_float", taken)
        graph.node.append(helper.make_node("Cast", [inner], [rounded], name=rounded, to=TensorProto.FLOAT))
        inner = rounded
    text = bool(classes) and isinstance(classes[0], str)
    keys: dict[str, Any] = {"classlabels_strings" if text else "classlabels_int64s": list(classes)}
    graph.node.append(
        helper.make_node("ZipMap", [inner], [output_name], name=free_name("ZipMap", taken), domain=_ML, **keys)
    )
    key_type = TensorProto.STRING if text else TensorProto.INT64
    value_type = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    sequence = helper.make_sequence_type_proto(helper.make_map_type_proto(key_type, value_type))
    graph.output[position].CopyFrom(helper.make_value_info(output_name, sequence))
    if not any(entry.domain == _ML for entry in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid(_ML, 1))
    return proto
