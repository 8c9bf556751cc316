"""Layout: fewest Transposes by letting operators between them work on permuted tensors.

A channels-last model arrives with a Transpose in front of and behind every convolution and pooling. Most operators
between them can work in either layout (:mod:`any2onnx.passes.layout_rules`). For one permutation P at a time, each of
these gets a label, "as it is" or "permuted by P". A value whose producer and readers disagree costs one Transpose.
The labelling with the lowest cost is a minimum cut, found exactly; it is applied only if it costs less than the graph
as it is, so the number of Transposes never grows, and a second run finds nothing to do.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import onnx_ir as ir

from any2onnx.passes.contract import GraphPass
from any2onnx.passes.editing import (
    Names,
    Scope,
    constant,
    copy_shape,
    dims,
    inherit,
    insert_after_value,
    new_node,
    rank,
    remove_node,
    replace_value,
    set_attribute,
    words,
)
from any2onnx.passes.layout_context import RESHAPE_COST, TRANSPOSE_COST, Context, Plan, layout_name
from any2onnx.passes.layout_rules import plan
from any2onnx.passes.min_cut import UNLIMITED, FlowNetwork
from any2onnx.passes.views import invert, moves_only_units, reshape_target, transpose_permutation

# These want channels first, so a value that they make or read is in that layout.
_CHANNELS_FIRST = words(
    """
    AveragePool BatchNormalization Conv ConvInteger ConvTranspose DepthToSpace GlobalAveragePool GlobalLpPool
    GlobalMaxPool GroupNormalization InstanceNormalization LRN LpPool MaxPool MaxUnpool QLinearConv SpaceToDepth
    """
)


class PropagateLayoutPass(GraphPass):
    """Move operators to the other side of Transposes where that makes Transposes cancel.

    Results are the same bit for bit, with two exceptions: reductions over moved axes may be summed in another order by
    the runtime; and where that saves Transposes a MatMul by a matrix of weights becomes a Conv, a LayerNormalization
    the operators that define it (see `any2onnx.passes.layout_dense`). Weights of a matrix product behind a flattening
    are re-ordered; large ones when they are written.
    """

    def rewrite(self, scope: Scope, names: Names) -> int:
        """Find the best layouts of one graph for every permutation in it, until nothing improves."""
        count = 0
        # Candidate → the count at which it had nothing to improve: not tried again before something changes.
        settled: dict[tuple[tuple[int, ...], bool], int] = {}
        while True:
            waiting = (candidate for candidate in _candidates(scope.graph) if settled.get(candidate) != count)
            candidate = next(waiting, None)
            if candidate is None:
                return count
            if _Labelling(scope, names, *candidate).improve():
                count += 1
            else:
                settled[candidate] = count


def _candidates(graph: ir.Graph) -> list[tuple[tuple[int, ...], bool]]:
    """Return the permutations worth trying: those that occur and their inverses, channels-last → first first.

    One that is its own inverse is tried from both sides (see ``_Labelling._channels_first``).
    """
    counts: Counter[tuple[int, ...]] = Counter()
    for node in graph:
        permutation = transpose_permutation(node)
        if permutation is not None:
            counts[permutation] += 1
    for permutation in list(counts):
        counts[invert(permutation)] += 0

    def order(permutation: tuple[int, ...]) -> tuple[bool, int, tuple[int, ...]]:
        length = len(permutation)
        to_first = permutation == (0, length - 1, *range(1, length - 1))
        return not to_first, -counts[permutation], permutation

    # One Transpose alone has nothing to cancel against, but may vanish into a reduction, so none is left out.
    return [
        (permutation, turned)
        for permutation in sorted(counts, key=order)
        for turned in ((False, True) if permutation == invert(permutation) else (False,))
    ]


@dataclass(slots=True, eq=False)
class _Value:
    """A value of rank r that may be needed in both forms.

    Attributes:
        producer: Label variable of its producer: a network node, the sink (always as it is) or the source (always
            permuted: it is the output of the inverse Transpose).
        readers: Label variables of its readers, in order, without those that take either form.
        cost: Of converting it once.
    """

    producer: int
    readers: list[int] = field(default_factory=list)
    cost: int = TRANSPOSE_COST


# Nodes and the positions of the input that they read.
Uses = list[tuple[ir.Node, int]]

_AS_IS, _PERMUTED = FlowNetwork.sink, FlowNetwork.source


class _Labelling:
    """The labels of one graph for one permutation: builds the network, decides, applies."""

    def __init__(self, scope: Scope, names: Names, permutation: tuple[int, ...], turned: bool) -> None:
        self.scope = scope
        self.names = names
        self.turned = turned
        self.context = Context(scope, names, permutation)
        self.network = FlowNetwork()
        self.plans: dict[ir.Node, Plan] = {}
        # Label variable of each flexible node, and of each Transpose by another permutation (for its output).
        self.variables: dict[ir.Node, int] = {}
        # Dictionaries serve as sets with an order.
        self.removable: dict[ir.Node, None] = {}  # Transposes by P
        self.inverse: dict[ir.Node, None] = {}  # Transposes by the inverse of P
        self.neutral: dict[ir.Node, tuple[int, ...]] = {}  # Transposes by any other permutation
        self.values: dict[ir.Value, _Value] = {}

    # --- deciding ------------------------------------------------------------------------------------------------

    def improve(self) -> bool:
        """Apply the best labelling if it costs less than the graph as it is; return whether it did."""
        self._classify()
        transposes = self.removable | self.inverse
        if not transposes:
            return False
        self._collect_values()
        for value in self.values.values():
            self._connect(value)
        permuted = self.network.source_side()
        present = sum(self._conversion_cost(node.inputs[0], node.outputs[0]) for node in transposes)
        if self._cost(permuted) >= present:
            return False
        _Application(self, permuted).run()
        return True

    def _cost(self, permuted: list[bool]) -> int:
        """Return what a labelling costs: conversions of values, and nodes that are dearer in their other form."""
        nodes = sum(made.cost for node, made in self.plans.items() if made.cost and permuted[self.variables[node]])
        return nodes + sum(_cost(value, permuted) for value in self.values.values())

    def _classify(self) -> None:
        """Sort the nodes: Transposes by P, by its inverse, by others; nodes that can work on permuted values."""
        permutation, inverse = self.context.permutation, self.context.inverse
        first = self._channels_first() if permutation == inverse else {}
        for node in self.scope.graph:
            other = transpose_permutation(node)
            if other is None:
                made = plan(node, self.context)
                # A rule that takes a data input has no form for one that is a constant.
                if made is not None and all(constant(node.inputs[index]) is None for index in made.inputs):
                    self.plans[node] = made
                    if made.outputs:
                        variable = self.variables[node] = self.network.add_node()
                        if made.cost:
                            self.network.add_edge(variable, _AS_IS, made.cost)
            elif constant(node.inputs[0]) is not None:
                # A weight that is kept as it is: its Transpose is the cheapest form, and moving it gains nothing.
                continue
            elif other == permutation and not first.get(node.inputs[0]):
                self.removable[node] = None
            elif other == inverse:
                self.inverse[node] = None
            elif len(other) == len(permutation):
                self.neutral[node] = other
                self.variables[node] = self.network.add_node()

    def _channels_first(self) -> dict[ir.Value | None, bool]:
        """Guess which values are channels-first: a permutation that is its own inverse does not tell from which side.

        Graph inputs are taken for channels-last, or, ``turned``, for channels-first. Any guess is safe; it only
        decides which Transposes are taken for entries and which for exits.
        """
        first: dict[ir.Value | None, bool] = dict.fromkeys(self.scope.graph.inputs, self.turned)
        for node in self.scope.graph:
            if transpose_permutation(node) == self.context.permutation:
                state = not first.get(node.inputs[0], self.turned)
            else:
                known = [first[value] for value in node.inputs if value in first]
                state = node.op_type in _CHANNELS_FIRST or (any(known) if known else self.turned)
            for output in node.outputs:
                if rank(output) == self.context.rank:
                    first[output] = state
        return first

    def _collect_values(self) -> None:
        """Find the values of rank r around all these nodes, and who makes and reads them."""
        length = self.context.rank
        for node in self.scope.graph:
            if node not in self.plans and transpose_permutation(node) is None:
                continue
            for value in (*node.inputs, *node.outputs):
                if value is None or value in self.values or constant(value) is not None:
                    continue
                known = rank(value)
                if known == length or (known is None and self._is_transposed(value)):
                    self.values[value] = self._describe(value)

    def _is_transposed(self, value: ir.Value) -> bool:
        """Whether a Transpose by P or its inverse makes or reads ``value``, whose rank is therefore known."""
        transposes = self.removable | self.inverse
        return value.producer() in transposes or any(user in transposes for user, _ in value.uses())

    def _describe(self, value: ir.Value) -> _Value:
        node = value.producer()
        producer = _AS_IS
        if node is not None and node in self.inverse:
            producer = _PERMUTED
        elif node is not None and node in self.variables:
            made = self.plans.get(node)
            if made is None or value.index() in made.outputs:
                producer = self.variables[node]
        described = _Value(producer)
        for user, index in value.uses():
            label = self.reader(user, index)
            if label is not None:
                described.readers.append(label)
        if value.is_graph_output():
            described.readers.append(_AS_IS)
        described.cost = self._conversion_cost(value, None)
        return described

    def reader(self, user: ir.Node, index: int) -> int | None:
        """Return the label variable of a reader, or None if it takes either form."""
        if user.graph is not self.scope.graph or user in self.inverse:
            return _AS_IS
        if user in self.removable:
            return _PERMUTED
        if user in self.neutral:
            return None
        made = self.plans.get(user)
        if made is None:
            return _AS_IS
        return self.variables.get(user) if index in made.inputs else None

    def _conversion_cost(self, value: ir.Value | None, result: ir.Value | None) -> int:
        shape = dims(value)
        if shape is None or len(shape) != self.context.rank:
            return TRANSPOSE_COST
        inverse = result is not None and result.producer() in self.inverse
        order = self.context.inverse if inverse else self.context.permutation
        after = [shape[axis] for axis in order]
        if moves_only_units(shape, order) and reshape_target(shape, after) and reshape_target(after, shape):
            return RESHAPE_COST
        return TRANSPOSE_COST

    def _connect(self, value: _Value) -> None:
        """Add the edges that make a cut through ``value`` cost one conversion, however many readers disagree."""
        network = self.network
        readers = list(dict.fromkeys(value.readers))
        if len(readers) == 1:
            network.add_edge(value.producer, readers[0], value.cost)
            network.add_edge(readers[0], value.producer, value.cost)
        elif readers:
            all_permuted, any_permuted = network.add_node(), network.add_node()
            network.add_edge(value.producer, all_permuted, value.cost)
            network.add_edge(any_permuted, value.producer, value.cost)
            for reader in readers:
                network.add_edge(all_permuted, reader, UNLIMITED)
                network.add_edge(reader, any_permuted, UNLIMITED)


def _cost(value: _Value, permuted: list[bool]) -> int:
    made = permuted[value.producer]
    return value.cost if any(permuted[reader] != made for reader in value.readers) else 0


class _Application:
    """Rewrites the graph as a labelling says."""

    def __init__(self, labelling: _Labelling, permuted: list[bool]) -> None:
        self.labels = labelling
        self.permuted = permuted
        self.context = labelling.context
        self.scope = labelling.scope
        self.names = labelling.names
        # Output of a Transpose by P that went → the permuted value that stands for it.
        self.stand_ins: dict[ir.Value, ir.Value] = {}
        self.reads_permuted: set[ir.Node] = set()  # nodes that take either form, and Transposes by others
        # Readers as they are before anything is changed.
        self.readers = {value: [(use.node, use.idx) for use in value.uses()] for value in labelling.values}

    def run(self) -> None:
        """Convert values in the order in which they are made, then rewrite the nodes themselves."""
        position = {node: index for index, node in enumerate(self.scope.graph)}

        def made_at(value: ir.Value) -> int:
            node = value.producer()
            return -1 if node is None else position.get(node, -1)

        for value in sorted(self.labels.values, key=made_at):
            if self.permuted[self.labels.values[value].producer]:
                self._settle_permuted(value)
            else:
                self._settle_as_is(value)
        for node, made in self.labels.plans.items():
            if self._is_permuted(node) if made.outputs else node in self.reads_permuted:
                made.rewrite(node, self.context)
                for index, output in enumerate(node.outputs):
                    if made.outputs and index not in made.outputs:
                        output.shape = None  # nobody reads it; what was known no longer holds
        for node, permutation in self.labels.neutral.items():
            self._recompose(node, permutation)
        for node in self.labels.inverse:
            if node.graph is not None and not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
                remove_node(node)

    def _is_permuted(self, node: ir.Node) -> bool:
        return self.permuted[self.labels.variables[node]]

    def _wanted(self, value: ir.Value) -> tuple[Uses, Uses, Uses]:
        """Return the readers that want ``value`` permuted, as it is, or in either form."""
        permuted: Uses = []
        as_is: Uses = []
        either: Uses = []
        for use in self.readers[value]:
            label = self.labels.reader(*use)
            group = either if label is None else permuted if self.permuted[label] else as_is
            group.append(use)
        return permuted, as_is, either

    def _settle_permuted(self, value: ir.Value) -> None:
        """``value`` is available permuted: made so by its producer, or before an inverse Transpose."""
        node = value.producer()
        assert node is not None
        wanting, plain, either = self._wanted(value)
        exit_node = node in self.labels.inverse
        permuted = node.inputs[0] if exit_node else value
        assert permuted is not None
        # Where the original form is there anyway, readers that take either form read that one.
        keeps_original = bool(plain) or (exit_node and value.is_graph_output())
        if not exit_node:
            original = value.shape
            if original is not None:
                value.shape = self.context.shape(value)
            if plain or value.is_graph_output():
                self._convert_back(value, original, plain + either if plain else [])
        for user, index in wanting:
            self._give_permuted(user, index, permuted)
        for user, index in either:
            if not keeps_original:
                user.replace_input_with(index, permuted)
                self.reads_permuted.add(user)

    def _convert_back(self, value: ir.Value, original: ir.Shape | None, readers: Uses) -> None:
        """Give ``readers``, and the graph outputs, the original form of a value that is made permuted now."""
        name = value.name
        node = value.producer()
        if value.is_graph_output():
            value.name = self.names.fresh(f"{name}/{layout_name(self.context.permutation)}")
        made = new_node(
            self.names,
            "Transpose",
            [value],
            {"perm": list(self.context.inverse)},
            hint=f"{name}/original",
            dtype=value.dtype,
            shape=copy_shape(original),
            source=node,
        )
        insert_after_value(self.scope.graph, value, made)
        result = made.outputs[0]
        for user, index in readers:
            user.replace_input_with(index, result)
        if value.is_graph_output():
            for index, output in enumerate(self.scope.graph.outputs):
                if output is value:
                    self.scope.graph.outputs[index] = result
            result.name = name

    def _settle_as_is(self, value: ir.Value) -> None:
        """``value`` is made in its original form; convert it once if it is wanted permuted."""
        wanting, _, _ = self._wanted(value)
        if not wanting:
            return
        value = self.stand_ins.get(value, value)
        entry = next((user for user, _ in wanting if user in self.labels.removable), None)
        if entry is not None:
            # Move the Transpose that is there to the earliest place, so that all readers can use it.
            self.scope.graph.remove(entry)
            permuted = entry.outputs[0]
        else:
            entry = new_node(
                self.names,
                "Transpose",
                [value],
                {"perm": list(self.context.permutation)},
                hint=f"{value.name}/{layout_name(self.context.permutation)}",
                dtype=value.dtype,
                shape=None if value.shape is None else self.context.shape(value),
                source=value.producer() or wanting[0][0],
            )
            permuted = entry.outputs[0]
        insert_after_value(self.scope.graph, value, entry)
        for user, index in wanting:
            if user is not entry:
                self._give_permuted(user, index, permuted)

    def _give_permuted(self, user: ir.Node, index: int, permuted: ir.Value) -> None:
        if user not in self.labels.removable:
            user.replace_input_with(index, permuted)
            return
        result = user.outputs[0]
        producer = permuted.producer()
        if producer is not None:
            inherit(producer, user)
        replace_value(self.names, result, permuted)
        self.stand_ins[result] = permuted
        remove_node(user)

    def _recompose(self, node: ir.Node, permutation: tuple[int, ...]) -> None:
        """Let a Transpose by another permutation start from, or end in, the permuted form."""
        merged = permutation
        if node in self.reads_permuted:
            merged = tuple(self.context.inverse[axis] for axis in merged)
        if self._is_permuted(node):
            merged = tuple(merged[axis] for axis in self.context.permutation)
        if merged != permutation:
            set_attribute(node, "perm", merged)
