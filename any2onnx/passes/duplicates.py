"""Things that are there twice: equal expressions, equal initializers."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from any2onnx.graph.attributes import Numbers
from any2onnx.passes.contract import GraphPass
from any2onnx.passes.editing import (
    Array,
    Names,
    Scope,
    constant_array,
    get_input,
    inherit,
    merge_known_shape,
    remove_node,
    replace_value,
    subgraphs,
    tensor_shape,
)

if TYPE_CHECKING:
    from collections.abc import Hashable

_RANDOM = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
# Operators of other domains may keep a state; of these two it is known that none does.
_PURE_DOMAINS = frozenset({"", "ai.onnx.ml"})
# Tensors in attributes up to this many bytes are compared.
_ATTRIBUTE_LIMIT = 1024
# Elements compared at a time, and elements at either end that make up the quick fingerprint.
_CHUNK = 1 << 20
_SAMPLE = 512


class MergeDuplicateNodesPass(GraphPass):
    """Merge nodes with the same operator, attributes and inputs (common sub-expressions).

    Never merged: random operators, training-mode Dropout, nodes with sub-graphs, operators of unknown domains, and
    calls of functions that hold any of these. An Identity is left to the pass that removes identities.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pure: dict[ir.OperatorIdentifier, bool] = {}

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Find out which functions are pure, then merge."""
        self._pure = {}
        for identifier in model.functions:
            _decide_purity(model, identifier, self._pure, set())
        return super().call(model)

    def rewrite(self, scope: Scope, names: Names) -> int:
        """Merge the duplicates of one graph."""
        merged = 0
        seen: dict[Hashable, ir.Node] = {}
        for node in list(scope.graph):
            key = self._key(node)
            if key is None:
                continue
            twin = seen.get(key)
            if twin is None:
                seen[key] = node
            else:
                _merge(names, node, twin)
                merged += 1
        return merged

    def _key(self, node: ir.Node) -> Hashable | None:
        """Return what makes two nodes equal, or None for a node that is never merged."""
        identifier = node.op_identifier()
        if identifier in self._pure:
            if not self._pure[identifier]:
                return None
        elif not _is_pure(node):
            return None
        attributes = []
        for name, attribute in sorted(node.attributes.items()):
            content = _attribute_key(attribute)
            if content is None:
                return None
            attributes.append((name, content))
        inputs = tuple(node.inputs)
        outputs = tuple(bool(value.name) for value in node.outputs)
        return identifier, node.version, inputs, outputs, tuple(attributes)


def _decide_purity(
    model: ir.Model,
    identifier: ir.OperatorIdentifier,
    pure: dict[ir.OperatorIdentifier, bool],
    pending: set[ir.OperatorIdentifier],
) -> bool:
    if identifier in pure:
        return pure[identifier]
    if identifier in pending:
        return False  # recursion, which ONNX forbids
    pending.add(identifier)
    verdict = True
    for node in model.functions[identifier].all_nodes():
        inner = node.op_identifier()
        if inner in model.functions:
            verdict = verdict and _decide_purity(model, inner, pure, pending)
        else:
            # The nodes of its sub-graphs are among all_nodes(); an Identity is pure, only never worth merging.
            verdict = verdict and (bool(subgraphs(node)) or node.op_type == "Identity" or _is_pure(node))
    pure[identifier] = verdict
    return verdict


def _is_pure(node: ir.Node) -> bool:
    """Whether ``node`` returns the same for the same inputs, every time."""
    if node.domain not in _PURE_DOMAINS or node.op_type == "Identity" or subgraphs(node):
        return False
    if node.op_type == "Dropout":
        training = get_input(node, 2)
        known = constant_array(training)
        return training is None or (known is not None and not known.any())
    return node.op_type not in _RANDOM


def _attribute_key(attribute: ir.Attr) -> Hashable | None:
    """Return a hashable form of an attribute that is equal only for bit-equal content, or None for a large one."""
    if attribute.is_ref():
        return "reference", attribute.ref_attr_name, attribute.type
    value: Any = attribute.value
    if isinstance(value, Numbers) and value.array.nbytes > _ATTRIBUTE_LIMIT:
        return None
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        if tensor.nbytes > _ATTRIBUTE_LIMIT:
            return None
        return tensor.dtype, tensor_shape(tensor), _content(tensor)
    if attribute.type in (ir.AttributeType.FLOAT, ir.AttributeType.FLOATS):
        return attribute.type, np.asarray(value, dtype=np.float64).tobytes()  # tells 0.0 from -0.0
    if attribute.type in (ir.AttributeType.INTS, ir.AttributeType.STRINGS):
        return attribute.type, tuple(value)
    if attribute.type in (ir.AttributeType.INT, ir.AttributeType.STRING):
        return attribute.type, value
    return None


def _content(tensor: ir.TensorProtocol) -> bytes:
    if tensor.dtype == ir.DataType.STRING:
        return _text_bytes(tensor)
    return np.ascontiguousarray(tensor.numpy()).tobytes()


def _text_bytes(tensor: ir.TensorProtocol) -> bytes:
    """Return the strings, each preceded by its length, so that no two lists of strings look alike."""
    assert isinstance(tensor, ir.StringTensor) or hasattr(tensor, "string_data")
    strings: list[bytes] = list(tensor.string_data())
    lengths = np.fromiter(map(len, strings), dtype=np.int64, count=len(strings))
    return lengths.tobytes() + b"".join(strings)


def _merge(names: Names, node: ir.Node, twin: ir.Node) -> None:
    for old, new in zip(node.outputs, twin.outputs, strict=True):
        if old.uses() or old.is_graph_output():
            replace_value(names, old, new)
            merge_known_shape(new, old)
    inherit(twin, node)
    remove_node(node)


# --- initializers ------------------------------------------------------------------------------------------------


class MergeDuplicateInitializersPass(GraphPass):
    """Keep one of several initializers of one graph with the same type, shape and content.

    Content is compared only between tensors of the same type and shape whose samples agree, in place: nothing is
    copied, and no weight is serialised or computed. Strings are compared too. Tensors that share their memory (tied
    weights) are recognised without reading it.
    """

    def rewrite(self, scope: Scope, names: Names) -> int:
        """Merge the initializers of one graph."""
        groups: dict[Hashable, list[ir.Value]] = {}
        for value in scope.graph.initializers.values():
            tensor = value.const_value
            if tensor is None or value.is_graph_input() or value.is_graph_output():
                continue
            if isinstance(tensor, ir.LazyTensor):
                continue  # it would be computed only to be compared
            groups.setdefault((tensor.dtype, tensor_shape(tensor)), []).append(value)
        return sum([_merge_group(scope, group) for group in groups.values() if len(group) > 1])


def _merge_group(scope: Scope, group: list[ir.Value]) -> int:
    """Merge equal initializers among those of one type and shape."""
    kept: dict[bytes, list[ir.Value]] = {}
    merged = 0
    for value in group:
        tensor = value.const_value
        assert tensor is not None
        candidates = kept.setdefault(_fingerprint(tensor), [])
        for other in candidates:
            assert other.const_value is not None
            if _equal(tensor, other.const_value):
                value.replace_all_uses_with(other)
                assert value.name is not None
                del scope.graph.initializers[value.name]
                merged += 1
                break
        else:
            candidates.append(value)
    return merged


def _fingerprint(tensor: ir.TensorProtocol) -> bytes:
    """Return some bytes of the content; equal tensors have equal ones."""
    if tensor.dtype == ir.DataType.STRING:
        return hashlib.sha256(_text_bytes(tensor)).digest()
    array = tensor.numpy()
    return _part(array, 0, _SAMPLE).tobytes() + _part(array, max(0, array.size - _SAMPLE), array.size).tobytes()


def _part(array: Array, start: int, stop: int) -> Array:
    """Return some elements in C order as bytes; of an array that is not contiguous only these are copied."""
    part = array.reshape(-1)[start:stop] if array.flags.c_contiguous else np.asarray(array.flat[start:stop])
    return np.ascontiguousarray(part).view(np.uint8)


def _equal(left: ir.TensorProtocol, right: ir.TensorProtocol) -> bool:
    """Compare two tensors of one type and shape bit by bit."""
    if left is right:
        return True
    if left.dtype == ir.DataType.STRING:
        return _text_bytes(left) == _text_bytes(right)
    first, second = left.numpy(), right.numpy()
    shared = first.__array_interface__["data"] == second.__array_interface__["data"]
    if shared and first.strides == second.strides:
        return True
    return all(
        np.array_equal(_part(first, start, start + _CHUNK), _part(second, start, start + _CHUNK))
        for start in range(0, first.size, _CHUNK)
    )
