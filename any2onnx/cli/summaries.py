"""What a model consists of, before and after: steps or operators with counts, parameters, bytes."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Summary:
    """One side of the table.

    Attributes:
        kind: What the steps are: "step", "layer", "module", "ONNX operator".
        steps: (name, count), the most frequent first.
        parameters: Numbers that the model holds.
        note: A line about the whole.
    """

    kind: str
    steps: tuple[tuple[str, int], ...]
    parameters: int
    note: str = ""

    @property
    def total(self) -> int:
        """Number of steps."""
        return sum(count for _, count in self.steps)


def _ordered(names: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(names.items(), key=lambda item: (-item[1], item[0])))


def onnx_summary(proto: Any) -> Summary:
    """Summarise an onnx.ModelProto: operators of every graph and function, elements of the initializers."""
    from any2onnx.io.proto_walk import walk_graphs, walk_tensors

    operators: Counter[str] = Counter()
    for graph, _ in walk_graphs(proto):
        operators.update(
            f"{node.domain}.{node.op_type}" if node.domain not in {"", "ai.onnx"} else node.op_type
            for node in graph.node
        )
    elements = sum(math.prod(tensor.dims) for tensor in walk_tensors(proto))
    opsets = ", ".join(f"{entry.domain or 'ai.onnx'} {entry.version}" for entry in proto.opset_import)
    return Summary("ONNX operator", _ordered(operators), elements, f"IR {proto.ir_version}, {opsets}")


def source_summary(model: Any) -> Summary:
    """Summarise a loaded model of any framework."""
    from any2onnx.api import framework_of

    framework = framework_of(model)
    if framework == "keras":
        layers = Counter(type(layer).__name__ for layer in _keras_leaves(model))
        return Summary("layer", _ordered(layers), int(model.count_params()))
    if framework == "pytorch":
        module = model.graph_module if hasattr(model, "graph_module") else model
        leaves = Counter(type(child).__name__ for child in module.modules() if not any(child.children()))
        return Summary("module", _ordered(leaves), sum(p.numel() for p in _torch_tensors(model)))
    estimators = list(_estimators(model))
    steps = Counter(type(estimator).__name__ for estimator in estimators)
    return Summary("step", _ordered(steps), sum(array.size for array in _fitted_arrays(estimators)))


def weight_bytes(model: Any) -> int:
    """Return the bytes of the weights of a Keras or PyTorch model; 0 for scikit-learn, whose models stay small."""
    from any2onnx.api import framework_of

    framework = framework_of(model)
    if framework == "keras":
        return sum(_nbytes_of(weight) for weight in model.weights)
    if framework == "pytorch":
        return sum(tensor.numel() * tensor.element_size() for tensor in _torch_tensors(model))
    return 0


def _nbytes_of(weight: Any) -> int:
    bits = re.search(r"\d+", str(weight.dtype))  # float32, bfloat16, float8_e4m3fn, int8; bool has none
    count: int = math.prod(weight.shape)
    return count * (int(bits[0]) // 8 if bits else 1)


def _torch_tensors(model: Any) -> Iterator[Any]:
    if hasattr(model, "graph_module"):  # an exported program
        yield from model.state_dict.values()
        return
    yield from model.parameters()
    yield from model.buffers()


def _keras_leaves(model: Any) -> Iterator[Any]:
    pending = list(getattr(model, "layers", []))
    while pending:
        layer = pending.pop()
        inner = getattr(layer, "layers", None)
        if inner:
            pending.extend(inner)
        else:
            yield layer


def _estimators(model: Any) -> Iterator[Any]:
    """Yield the estimators inside, each once, through pipelines, unions and ensembles."""
    pending: list[Any] = [model]
    seen: set[int] = set()
    while pending:
        item = pending.pop()
        if id(item) in seen or isinstance(item, type):
            continue
        if isinstance(item, list | tuple):
            seen.add(id(item))
            pending.extend(reversed(item))
        elif isinstance(item, dict):
            seen.add(id(item))
            pending.extend(reversed(list(item.values())))
        elif getattr(getattr(item, "dtype", None), "kind", "") == "O" and hasattr(item, "flat"):
            pending.extend(reversed(list(item.flat)))  # gradient boosting keeps its trees in an array of objects
        elif hasattr(item, "get_params"):
            seen.add(id(item))
            fitted = vars(item)
            if not _is_container(item):
                yield item
            pending.extend(value for name, value in reversed(list(fitted.items())) if not _is_template(name, fitted))


def _is_template(name: str, fitted: dict[str, Any]) -> bool:
    """Return whether an attribute holds an unfitted estimator of which fitted copies stand elsewhere."""
    if name == "estimator_":
        return "estimators_" in fitted  # an ensemble's; of other meta-estimators it is the fitted one
    return name == "estimator" or f"{name}_" in fitted


def _is_container(estimator: Any) -> bool:
    return type(estimator).__name__ in {"Pipeline", "ColumnTransformer", "FeatureUnion"}


def _fitted_arrays(estimators: list[Any]) -> Iterator[Any]:
    import numpy as np

    for estimator in estimators:
        for value in vars(estimator).values():
            if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
                yield value
            elif type(value).__module__ == "sklearn.tree._tree":
                yield value.threshold
                yield value.value
