"""Which nodes of a Keras graph are converted, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


def graph_nodes(function: Any) -> Iterator[Any]:
    """Yield the nodes of a Function that compute something, in data-flow order."""
    for depth in sorted(function._nodes_by_depth, reverse=True):
        for node in function._nodes_by_depth[depth]:
            if node.operation and not node.is_input:
                yield node


def graph_of_sequential(model: Any) -> Any:
    """Return the Function behind a Sequential model; None before the model is built.

    A model that was built by a call has the batch of that call in its graph. Keras runs it on any batch, as long as no
    layer keeps states, so then the graph is made again with a batch that varies.
    """
    function = model._functional
    if function is None or len(function.inputs) != 1:
        return function
    (given,) = function.inputs
    if not given.shape or given.shape[0] is None or any(getattr(one, "stateful", False) for one in model.layers):
        return function
    from keras import Input
    from keras.src.models.functional import Functional

    x = Input(shape=tuple(given.shape[1:]), dtype=given.dtype, sparse=given.sparse, name=given.name)
    y = x
    for layer in model.layers:
        y = layer(y)
    return Functional(inputs=x, outputs=y, name=model.name)


@dataclass(frozen=True, slots=True)
class Plan:
    """What of a Function's graph is converted.

    Keras records the computation of masks as nodes of the graph. They are left out: a mask is taken from the tensor
    that carries it, by the rules of masks.py.

    Attributes:
        nodes: Those that the outputs depend on, in data-flow order.
        owners: Mask (by id of its tensor) → the first tensor that carries it.
        producers: Tensor (by id) → its node.
    """

    nodes: tuple[Any, ...]
    owners: Mapping[int, Any]
    producers: Mapping[int, Any]


def plan_of(function: Any) -> Plan:
    """Return the plan of a Function."""
    from keras.src.backend import get_keras_mask

    nodes = list(graph_nodes(function))
    producers = {id(tensor): node for node in nodes for tensor in node.outputs}
    owners: dict[int, Any] = {}
    for node in nodes:
        for tensor in node.outputs:
            mask = get_keras_mask(tensor)
            if mask is not None:
                owners.setdefault(id(mask), tensor)
    given = {id(tensor) for tensor in function.inputs}
    used: set[int] = set()
    waiting = list(function.outputs)
    while waiting:
        tensor = waiting.pop()
        tensor = owners.get(id(tensor), tensor)
        node = producers.get(id(tensor))
        if node is None or id(tensor) in given or id(node) in used:
            continue
        used.add(id(node))
        waiting.extend(node.input_tensors)
    return Plan(tuple(node for node in nodes if id(node) in used), owners, producers)
