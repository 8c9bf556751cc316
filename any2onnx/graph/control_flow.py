"""If, Loop and Scan: the body is a Python function of a builder and its values; types follow from the body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from any2onnx.errors import GraphError
from any2onnx.graph.types import DataType, Dim, Value, dims_of, dtype_of

Body = Callable[..., "Value | Sequence[Value]"]


class ControlFlow:
    """Mixin of the builder."""

    if TYPE_CHECKING:
        names: Any

        def add_node(self, node: ir.Node) -> None:
            """See GraphBuilder."""

        def const(
            self, array: Any, *, name: str = ..., dtype: DataType | None = ..., like: Value | None = ...
        ) -> Value:
            """See GraphBuilder."""

        def _scoped(self, name: str) -> str: ...

    def If(self, condition: Value, then_branch: Body, else_branch: Body) -> tuple[Value, ...]:
        """Return the results of `then_branch(builder)` or `else_branch(builder)`; both may read outer values.

        Raises:
            GraphError: The branches differ in the number or element type of their results.
        """
        graphs = [self._subgraph(name, branch, []) for name, branch in (("then", then_branch), ("else", else_branch))]
        first, second = (graph.outputs for graph in graphs)
        if len(first) != len(second) or any(a.dtype != b.dtype for a, b in zip(first, second, strict=True)):
            raise GraphError(
                "the branches of If have different results",
                needs=f"{[str(v.dtype) for v in first]} in both, the else branch has {[str(v.dtype) for v in second]}",
            )
        shapes = [_common(dims_of(a.shape), dims_of(b.shape)) for a, b in zip(first, second, strict=True)]
        attributes = [ir.AttrGraph("then_branch", graphs[0]), ir.AttrGraph("else_branch", graphs[1])]
        return self._call("If", [condition], attributes, [(dtype_of(v), s) for v, s in zip(first, shapes, strict=True)])

    def Loop(
        self,
        body: Body,
        states: Sequence[Value],
        *,
        trip_count: Value | int | None = None,
        condition: Value | bool | None = None,
        state_shapes: Sequence[Sequence[Dim] | None] | None = None,
    ) -> tuple[Value, ...]:
        """Run `body(builder, iteration, condition, *states)` → (condition, *states, *scan outputs).

        Args:
            body: `iteration` is an int64 scalar, `condition` a bool scalar.
            states: Initial values of the loop-carried states.
            trip_count: At most so many iterations.
            condition: Whether to run the first iteration.
            state_shapes: Shapes that hold in every iteration, where those of the initial values do not.

        Returns:
            The final states, then the scan outputs stacked along a new first dim.

        Raises:
            GraphError: A state changes its element type.
        """
        shapes = [dims_of(v.shape) for v in states] if state_shapes is None else list(state_shapes)
        parameters: list[tuple[str, DataType, Sequence[Dim] | None]] = [
            ("iteration", DataType.INT64, ()),
            ("condition", DataType.BOOL, ()),
            *((f"state{k}", dtype_of(v), s) for k, (v, s) in enumerate(zip(states, shapes, strict=True))),
        ]
        graph = self._subgraph("loop", body, parameters)
        results = list(graph.outputs)[1:]
        self._check_states("Loop", states, results)
        specs = [(dtype_of(v), s) for v, s in zip(states, shapes, strict=True)]
        specs += [(dtype_of(v), _stacked(None, v)) for v in results[len(states) :]]
        trips = self.const(np.asarray(trip_count, np.int64)) if isinstance(trip_count, int) else trip_count
        first = self.const(np.asarray(condition)) if isinstance(condition, bool) else condition
        return self._call("Loop", [trips, first, *states], [ir.AttrGraph("body", graph)], specs)

    def Scan(
        self,
        body: Body,
        states: Sequence[Value],
        sequences: Sequence[Value],
        *,
        reverse: bool = False,
        reverse_outputs: bool | None = None,
    ) -> tuple[Value, ...]:
        """Run `body(builder, *states, *slices)` → (*states, *outputs) for each slice of the first dim of `sequences`.

        Args:
            body: Gets one slice of each sequence, without the first dim.
            states: Initial values of the states.
            sequences: At least one, all equally long.
            reverse: From the last slice to the first.
            reverse_outputs: Stack outputs from last to first; as `reverse` by default, so that position k of an
                output belongs to position k of the sequences.

        Returns:
            The final states, then the stacked outputs.
        """
        parameters = [(f"state{k}", dtype_of(v), dims_of(v.shape)) for k, v in enumerate(states)]
        for k, value in enumerate(sequences):
            dims = dims_of(value.shape)
            parameters.append((f"slice{k}", dtype_of(value), None if dims is None else dims[1:]))
        graph = self._subgraph("scan", body, parameters)
        results = list(graph.outputs)
        self._check_states("Scan", states, results)
        length = next((dims[0] for v in sequences if (dims := dims_of(v.shape))), None)
        specs = [(dtype_of(v), dims_of(v.shape)) for v in states]
        specs += [(dtype_of(v), _stacked(length, v)) for v in results[len(states) :]]
        attributes = [ir.AttrGraph("body", graph), ir.AttrInt64("num_scan_inputs", len(sequences))]
        outputs = len(results) - len(states)
        if reverse:
            attributes.append(ir.AttrInt64s("scan_input_directions", [1] * len(sequences)))
        if reverse if reverse_outputs is None else reverse_outputs:
            attributes.append(ir.AttrInt64s("scan_output_directions", [1] * outputs))
        return self._call("Scan", [*states, *sequences], attributes, specs)

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _subgraph(
        self, name: str, body: Body, parameters: Sequence[tuple[str, DataType, Sequence[Dim] | None]]
    ) -> ir.Graph:
        from any2onnx.graph.builder import GraphBuilder, as_tuple

        assert isinstance(self, GraphBuilder)  # the only class that mixes this in
        child = GraphBuilder(parent=self)
        label = self.names.unique(self._scoped(name))
        values = [child.input(f"{label}.{p}", dtype, shape) for p, dtype, shape in parameters]
        inner = {id(v) for v in values}
        results: list[Value] = []
        for value in as_tuple(body(child, *values)):
            # A sub-graph must produce its outputs itself, each once.
            made_here = any(value.producer() is node for node in child.nodes)
            if not made_here or id(value) in inner or any(value is r for r in results):
                value = child.op("Identity", value)
            results.append(value)
        return ir.Graph(values, results, nodes=child.nodes, name=label)

    def _call(
        self,
        op_type: str,
        inputs: Sequence[Value | None],
        attributes: Sequence[ir.Attr],
        specs: Sequence[tuple[DataType, Sequence[Dim] | None]],
    ) -> tuple[Value, ...]:
        label = self.names.unique(self._scoped(op_type))
        outputs = [
            ir.Value(
                name=self.names.unique(f"{label}.{k}"),
                type=ir.TensorType(dtype),
                shape=None if shape is None else ir.Shape(shape),
            )
            for k, (dtype, shape) in enumerate(specs)
        ]
        self.add_node(ir.Node("", op_type, list(inputs), attributes, outputs=outputs, name=label))
        return tuple(outputs)

    @staticmethod
    def _check_states(op_type: str, states: Sequence[Value], results: Sequence[Value]) -> None:
        if len(results) < len(states):
            raise GraphError(f"the body of {op_type} returns {len(results)} states, {len(states)} are carried")
        for k, (before, after) in enumerate(zip(states, results, strict=False)):
            if before.dtype != after.dtype:
                raise GraphError(f"state {k} of {op_type} changes its type from {before.dtype} to {after.dtype}")


def _stacked(length: Dim, value: Value) -> tuple[Dim, ...] | None:
    dims = dims_of(value.shape)
    return None if dims is None else (length, *dims)


def _common(a: Sequence[Dim] | None, b: Sequence[Dim] | None) -> tuple[Dim, ...] | None:
    if a is None or b is None or len(a) != len(b):
        return None
    return tuple(x if x == y else None for x, y in zip(a, b, strict=True))
