"""What happens to an exported program before it is walked: mutation, decomposition of operators without a mapping."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from any2onnx.converters.capturing import CAPTURE
from any2onnx.converters.pytorch.complex_pairs import COMPLEX_PREFIX, node_is_complex
from any2onnx.converters.pytorch.decomposition import computed, decomposed
from any2onnx.converters.pytorch.keys import bound, known_key, returns_written, target_key, written
from any2onnx.converters.pytorch.trace_errors import short_path
from any2onnx.errors import ExportFailed
from any2onnx.operator_mappings.registry import Needed, Registry

# Operators that may hand back their input although their schema does not say so.
_HIDDEN_ALIASES = frozenset(
    {"aten.dropout.default", "aten.feature_dropout.default", "aten.alpha_dropout.default", "aten.to.dtype"}
)
# Decompositions of decompositions of …: more than any operator needs.
_DEEPEST = 8


def prepared(program: Any) -> Any:
    """Return the program, functionalised where it writes into a tensor that other tensors share memory with.

    A program that only writes into tensors that nobody else sees (``relu_``, ``x += 1``) stays as it is: the walker
    then lets the new value take the place of the old one. Transforms of torch.func (vmap, grad, jvp), which the trace
    writes down as calls that open and close a level, are carried out by the same pass.
    """
    if not _shares_what_it_writes(program.graph_module) and not _transforms(program.graph_module):
        return program
    with CAPTURE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return program.run_decompositions({})
        except Exception as error:  # torch raises what the operators inside raise
            raise ExportFailed(
                f"torch cannot carry out what the trace holds: {str(error).strip().splitlines()[0]}",
                needs="a program that torch can functionalise",
                remedy="write derivatives (torch.func.grad, jacobians) out; ExportedProgram.run_decompositions() shows "
                "whether torch can",
            ) from error


def _transforms(module: Any) -> bool:
    """Tell whether a graph or one of its sub-graphs holds levels of torch.func."""
    return any(
        getattr(node.target, "__module__", "") == "torch._functorch.predispatch"
        for graph in (m.graph for m in module.modules() if hasattr(m, "graph"))
        for node in graph.nodes
        if node.op == "call_function"
    )


def identities(graph: Any) -> dict[Any, Any]:
    """Return for each node the node whose value it is: the result of an in-place operator is its first argument."""
    result: dict[Any, Any] = {}
    for node in graph.nodes:
        targets = written(node)
        result[node] = result[targets[0]] if len(targets) == 1 and returns_written(node) else node
    return result


def live_nodes(graph: Any) -> set[Any]:
    """Return the nodes that results depend on; what only assertions read is left out, and so are the assertions."""
    live: set[Any] = set()
    for node in reversed(graph.nodes):
        matters = node.op in ("placeholder", "output") or (node.op == "call_function" and _has_effect(node.target))
        if matters or any(user in live for user in node.users):
            live.add(node)
    return live


def _has_effect(target: Any) -> bool:
    """Tell whether a node without readers matters: it writes into a tensor, or names a size that others are made of."""
    schema = getattr(target, "_schema", None)
    if schema is None:
        return False
    return bool(schema.is_mutable) or schema.name in {"aten::item", "aten::_local_scalar_dense"}


def _viewed(node: Any) -> list[Any]:
    """Return the nodes whose memory the result of a node may share."""
    import operator

    if node.op != "call_function":
        return []
    if node.target is operator.getitem:
        return [node.args[0]]
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        # Sub-graphs may hand back what they get.
        return list(node.all_input_nodes)
    if str(node.target) in _HIDDEN_ALIASES:
        return list(node.all_input_nodes)
    if not any(r.alias_info is not None for r in schema.returns):
        return []
    arguments = bound(node.target, node.args, node.kwargs)
    shared = [arguments[a.name] for a in schema.arguments if a.alias_info is not None]
    return [v for s in shared for v in (s if isinstance(s, list | tuple) else [s]) if hasattr(v, "meta")]


def written_buffers(program: Any) -> list[str]:
    """Return the names of the buffers that a program changes when it runs."""
    graph = program.graph
    targets = {s.arg.name: s.target for s in program.graph_signature.input_specs if s.kind.name == "BUFFER"}
    found = [s.target for s in program.graph_signature.output_specs if s.kind.name == "BUFFER_MUTATION"]
    changed = [target for node in graph.nodes for target in written(node)]
    if changed:
        group, members = _groups(graph)
        found += [
            targets[n.name] for c in changed for n in members[group[c]] if n.op == "placeholder" and n.name in targets
        ]
    return list(dict.fromkeys(found))


def _groups(graph: Any) -> tuple[dict[Any, Any], dict[Any, list[Any]]]:
    """Return the groups of nodes that may share memory: node → its group's first node → members."""
    group: dict[Any, Any] = {}
    members: dict[Any, list[Any]] = {}
    for node in graph.nodes:
        viewed = _viewed(node)
        roots = list(dict.fromkeys(group[v] for v in viewed if v in group))
        root = roots[0] if roots else node
        for other in roots[1:]:
            for member in members.pop(other):
                group[member] = root
                members[root].append(member)
        group[node] = root
        members.setdefault(root, []).append(node)
    return group, members


def _shares_what_it_writes(module: Any, *, inner: bool = False) -> bool:
    graph = module.graph
    order = {node: k for k, node in enumerate(graph.nodes)}
    writers = [node for node in graph.nodes if written(node)]
    group, members = _groups(graph) if writers else ({}, {})
    same = identities(graph)
    for node in writers:
        for target in written(node):
            if not returns_written(node):
                return True
            relatives = [n for n in members[group[target]] if order[n] < order[node] and same[n] is not same[target]]
            if any(order[user] > order[node] for n in relatives for user in n.users):
                return True
            if inner and any(n.op == "placeholder" for n in members[group[target]]):
                return True
    return any(_shares_what_it_writes(child, inner=True) for _, child in _subgraphs(module))


def _subgraphs(module: Any) -> Iterator[tuple[str, Any]]:
    for name, child in module.named_children():
        if hasattr(child, "graph"):
            yield name, child


# --- decomposition --------------------------------------------------------------------------------------------------


class Plan:
    """Which nodes are decomposed, and into what; made once, before anything is converted.

    Args:
        registry: Converters.
        opset: Version of ai.onnx.
    """

    def __init__(self, registry: Registry, opset: int) -> None:
        self._registry = registry
        self._opset = opset
        self._expansions: dict[Any, Any] = {}
        self.needed: list[Needed] = []

    def expansion(self, node: Any) -> Any:
        """Return the graph module that stands for a node; None for a node with a mapping."""
        return self._expansions.get(node)

    def scan(self, module: Any, depth: int = 0, location: str = "") -> None:
        """Look through a graph and its sub-graphs; note every operator that is needed."""
        live = live_nodes(module.graph)
        for node in module.graph.nodes:
            if node.op != "call_function" or node not in live or target_key(node.target) == "_operator.getitem":
                continue
            where = node_location(node) or location
            prefix = COMPLEX_PREFIX if node_is_complex(node) else ""
            key = known_key(node.target, self._registry, self._opset, prefix)
            if key is None and depth < _DEEPEST:
                expansion = computed(node) or decomposed(node)
                if expansion is not None:
                    self._expansions[node] = expansion
                    self.scan(expansion, depth + 1, where)
                    continue
            self.needed.append(Needed(key or prefix + target_key(node.target), where))
        for _, child in _subgraphs(module):
            self.scan(child, depth, location)

    def require(self) -> None:
        """Check that everything can be converted; one error names all that cannot.

        Raises:
            UnsupportedOperator: Some operators have no mapping.
            OpsetNotSupported: They have one at another opset.
        """
        self._registry.require("pytorch", self.needed, self._opset)


# --- places ---------------------------------------------------------------------------------------------------------


def node_scope(node: Any) -> str:
    """Return the path of the module that a node belongs to: ``layer1.0.conv1``."""
    stack: Mapping[str, Any] = node.meta.get("nn_module_stack") or {}
    for path, _ in reversed(list(stack.values())):
        if path and not path.startswith("_empty_nn_module_stack"):
            text = str(path).removeprefix("L['self'].").removeprefix("L__self__.")
            # A module that is called twice carries a counter behind its path.
            return text.split("@", 1)[0]
    return ""


def node_location(node: Any) -> str:
    """Return where a node comes from: ``layer1.0.conv1 ← src/net.py:41   return self.conv(x)``."""
    line = _user_frame(node.meta.get("stack_trace") or "")
    scope = node_scope(node)
    return f"{scope} ← {line}" if scope and line else (scope or line)


def _user_frame(trace: str) -> str:
    """Return file, line and code of the innermost frame outside torch itself."""
    frames: list[tuple[str, str, str]] = []
    lines = trace.splitlines()
    for k, text in enumerate(lines):
        stripped = text.strip()
        if stripped.startswith('File "'):
            path, _, rest = stripped[6:].partition('"')
            number = rest.partition("line ")[2].partition(",")[0]
            code = lines[k + 1].strip() if k + 1 < len(lines) else ""
            frames.append((path, number, "" if code.startswith('File "') else code))
    chosen = next((f for f in reversed(frames) if not _of_torch(f[0])), frames[-1] if frames else None)
    if chosen is None or _of_torch(chosen[0]):
        return ""
    path, number, code = chosen
    return f"{short_path(path)}:{number}" + (f"   {code}" if code else "")


def _of_torch(path: str) -> bool:
    """Tell whether a file is torch's own, by where torch is installed: a user's folder may be called torch too."""
    import torch

    return path.startswith(("<", "torch/")) or Path(path).is_relative_to(Path(torch.__file__).parent)
