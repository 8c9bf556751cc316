"""Backend functions that are not recorded as they are: control flow, whose bodies are recorded once each, recurrent
layers, and functions that are answered at once.

A replacement is `replacement(recorder, original, *args, **kwargs)` with the signature of the backend function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.converters.keras.tracing_sizes import is_size
from any2onnx.converters.keras.tracing_tape import Entry, Tape
from any2onnx.converters.keras.tracing_tensor import NotConcrete, RecordingTensor
from any2onnx.errors import ExportFailed

if TYPE_CHECKING:
    from any2onnx.converters.keras.tracing_recorder import Recorder

Replacement = Callable[..., Any]


def _tree() -> Any:
    from keras import tree

    return tree


# --- answered at once ------------------------------------------------------------------------------------------------


def _concerns(value: Any) -> bool:
    from any2onnx.converters.keras.tracing_recorder import leaves

    return any(isinstance(leaf, RecordingTensor) or is_size(leaf) for leaf in leaves(value))


def convert_to_tensor(
    recorder: Recorder, original: Any, x: Any, dtype: Any = None, sparse: Any = None, ragged: Any = None
) -> Any:
    """Return the tensor itself where nothing changes, else record."""
    x = recorder.constant(x) if isinstance(x, recorder.session.variable_class) and _holds(x) else x
    if isinstance(x, RecordingTensor):
        if dtype is None or recorder.evaluator.backend.standardize_dtype(dtype) == x.dtype:
            return x
        return recorder.invoke("core", "cast", x, dtype)
    if not _concerns(x):
        return original(x, dtype=dtype, sparse=sparse, ragged=ragged)
    return recorder.backend_call("core", "convert_to_tensor", original, (x, dtype), {})


def _holds(variable: Any) -> bool:
    return isinstance(variable.value, RecordingTensor)


def convert_to_numpy(recorder: Recorder, original: Any, x: Any) -> Any:
    """Refuse for tensors of the model."""
    return x.__array__() if isinstance(x, RecordingTensor) else original(x)


def is_tensor(recorder: Recorder, original: Any, x: Any) -> bool:
    """Tell that a recording tensor is one."""
    return isinstance(x, RecordingTensor) or bool(original(x))


def shape(recorder: Recorder, original: Any, x: Any) -> Any:
    """Return the dims, as sizes that remember their origin."""
    return x.shape if isinstance(x, RecordingTensor) else original(x)


def cast(recorder: Recorder, original: Any, x: Any, dtype: Any) -> Any:
    """Return the tensor itself where it has the dtype."""
    x = recorder.constant(x) if isinstance(x, recorder.session.variable_class) and _holds(x) else x
    if isinstance(x, RecordingTensor) and recorder.evaluator.backend.standardize_dtype(dtype) == x.dtype:
        return x
    if not _concerns(x):
        return original(x, dtype)
    return recorder.backend_call("core", "cast", original, (x, dtype), {})


def stop_gradient(recorder: Recorder, original: Any, variable: Any) -> Any:
    """Return the tensor itself."""
    return variable if isinstance(variable, RecordingTensor) else original(variable)


def remat(recorder: Recorder, original: Any, f: Any) -> Any:
    """Return the function itself."""
    return f


def custom_gradient(recorder: Recorder, original: Any, fun: Any) -> Any:
    """Return the forward half of the function."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        return fun(*args, **kwargs)[0]

    return forward


def fused_recurrent(recorder: Recorder, original: Any, *args: Any, **kwargs: Any) -> Any:
    """Decline, as backends without such a kernel do: Keras falls back to `rnn`."""
    raise NotImplementedError


def vectorize(recorder: Recorder, original: Any, pyfunc: Any, *, excluded: Any = None, signature: Any = None) -> Any:
    """Return a function that maps over leading dims by Scan."""
    from keras.src.backend.common.backend_utils import vectorize_impl

    def mapped(function: Any, in_axes: Sequence[int | None]) -> Any:
        def run(*args: Any) -> Any:
            moving = [a for a, axis in zip(args, in_axes, strict=True) if axis is not None]

            def one(elements: Any) -> Any:
                rest = iter(elements)
                return function(*(a if axis is None else next(rest) for a, axis in zip(args, in_axes, strict=True)))

            return scan(recorder, None, lambda carry, x: (carry, one(x)), [], moving)[1]

        return run

    return vectorize_impl(pyfunc, mapped, excluded=excluded, signature=signature)


# --- branches --------------------------------------------------------------------------------------------------------


def cond(recorder: Recorder, original: Any, pred: Any, true_fn: Any, false_fn: Any) -> Any:
    """Record both branches; take the one where Python knows which."""
    pred = recorder.constant(pred)
    if not isinstance(pred, RecordingTensor):
        value = getattr(pred, "value", pred)
        return true_fn() if bool(np.asarray(recorder.evaluator.numpy(value))) else false_fn()
    return _branches(recorder, "#cond", {"pred": pred}, [true_fn, false_fn])


def switch(recorder: Recorder, original: Any, index: Any, branches: Any, *operands: Any) -> Any:
    """Record all branches."""
    index = recorder.constant(index)
    if not isinstance(index, RecordingTensor):
        number = int(np.asarray(recorder.evaluator.numpy(getattr(index, "value", index))))
        return branches[min(max(number, 0), len(branches) - 1)](*operands)
    functions = [lambda branch=branch: branch(*operands) for branch in branches]
    return _branches(recorder, "#switch", {"index": index}, functions)


def _branches(recorder: Recorder, key: str, params: dict[str, Any], functions: Sequence[Callable[[], Any]]) -> Any:
    tree = _tree()
    structures: list[Any] = []

    def flat(function: Callable[[], Any]) -> Any:
        nested = function()
        structures.append(nested)
        return [recorder.lift(leaf) for leaf in tree.flatten(nested)]

    bodies = [recorder.body(flat, [], function) for function in functions]
    first = bodies[0].results
    for body in bodies[1:]:
        types = [(t.dtype, t.ndim) for t in body.results]
        if types != [(t.dtype, t.ndim) for t in first]:
            raise ExportFailed(
                f"the branches of keras.ops.{key[1:]} return different types",
                where=recorder.location() or None,
                needs=f"{[(t.dtype, t.ndim) for t in first]} (dtype, dims) from all, one returns {types}",
            )
    outputs = [recorder.tensor(t.example, dynamic=recorder.session.dynamic) for t in first]
    recorder.note(Entry(key, None, params, outputs, outputs, bodies=bodies))
    return tree.pack_sequence_as(structures[0], outputs) if tree.is_nested(structures[0]) else outputs[0]


# --- loops -----------------------------------------------------------------------------------------------------------


def _states(recorder: Recorder, values: Any) -> list[RecordingTensor]:
    return [recorder.lift(leaf) for leaf in _tree().flatten(values)]


def _same_types(recorder: Recorder, name: str, before: Sequence[RecordingTensor], after: Sequence[Any]) -> None:
    if len(before) != len(after):
        raise ExportFailed(f"the body of keras.ops.{name} returns {len(after)} states, it got {len(before)}")
    for k, (a, b) in enumerate(zip(before, after, strict=True)):
        if a.dtype != b.dtype or tuple(map(int, a.shape)) != tuple(map(int, b.shape)):
            raise ExportFailed(
                f"state {k} of keras.ops.{name} changes from {a.dtype}{list(map(int, a.shape))} to "
                f"{b.dtype}{list(map(int, b.shape))} (at example sizes)",
                where=recorder.location() or None,
                needs="the same dtype and shape in each step",
            )


def _pack(structure: Any, values: Sequence[Any]) -> Any:
    tree = _tree()
    return tree.pack_sequence_as(structure, list(values)) if tree.is_nested(structure) else values[0]


def while_loop(
    recorder: Recorder, original: Any, cond: Any, body: Any, loop_vars: Any, maximum_iterations: Any = None
) -> Any:
    """Record condition and body."""
    single = not isinstance(loop_vars, list | tuple)
    nested = (loop_vars,) if single else tuple(loop_vars)
    init = _states(recorder, nested)

    def parameters() -> list[RecordingTensor]:
        return [recorder.parameter(v.example, dynamic=v.dynamic) for v in init]

    def run_condition(*values: RecordingTensor) -> Any:
        return [recorder.lift(cond(*_pack(nested, values)))]

    def run_body(*values: RecordingTensor) -> Any:
        results = body(*_pack(nested, values))
        return _states(recorder, results if isinstance(results, list | tuple) and not single else (results,))

    if single:

        def run_body(*values: RecordingTensor) -> Any:
            results = body(*_pack(nested, values))
            return _states(recorder, tuple(results) if isinstance(results, list | tuple) else (results,))

    first, second = parameters(), parameters()
    bodies = [recorder.body(run_condition, first, *first), recorder.body(run_body, second, *second)]
    _same_types(recorder, "while_loop", init, bodies[1].results)
    outputs = [recorder.tensor(v.example, dynamic=v.dynamic) for v in init]
    params = {"init": init, "maximum_iterations": maximum_iterations}
    recorder.note(Entry("#while", None, params, outputs, outputs, bodies=bodies))
    return outputs[0] if single else _pack(nested, outputs)


def fori_loop(recorder: Recorder, original: Any, lower: Any, upper: Any, body_fun: Any, init_val: Any) -> Any:
    """Record the body."""
    init = _states(recorder, init_val)
    example = recorder.evaluator.native(np.asarray(0, np.int32))
    number = recorder.parameter(example, dynamic=False)
    parameters = [recorder.parameter(v.example, dynamic=v.dynamic) for v in init]

    def run() -> Any:
        return _states(recorder, body_fun(number, _pack(init_val, parameters)))

    body = recorder.body(run, [number, *parameters])
    _same_types(recorder, "fori_loop", init, body.results)
    outputs = [recorder.tensor(v.example, dynamic=v.dynamic) for v in init]
    bounds = {"lower": recorder.constant(lower), "upper": recorder.constant(upper), "init": init}
    recorder.note(Entry("#fori", None, bounds, outputs, outputs, bodies=[body]))
    return _pack(init_val, outputs)


def scan(
    recorder: Recorder,
    original: Any,
    f: Any,
    init: Any,
    xs: Any = None,
    length: Any = None,
    reverse: bool = False,
    unroll: Any = 1,
    *,
    reverse_outputs: bool | None = None,
) -> Any:
    """Record one step."""
    tree = _tree()
    if xs is None and length is None:
        raise ValueError("Got no `xs` to scan over and `length` not provided.")
    counted = xs is None
    sequences = _states(recorder, recorder.invoke("numpy", "arange", length) if counted else xs)
    states = _states(recorder, init)
    carry = [recorder.parameter(v.example, dynamic=v.dynamic) for v in states]
    slices = [recorder.parameter(_first(recorder, v), dynamic=v.dynamic) for v in sequences]
    structure: list[Any] = []

    def run() -> Any:
        # An empty nest (no carry) has no leaf to be packed from.
        packed = _pack(init, carry) if states else init
        after, y = f(packed, None if counted else _pack(xs, slices))
        structure.append(y)
        ys = [] if y is None else [recorder.lift(leaf) for leaf in tree.flatten(y)]
        return [*_states(recorder, after), *ys]

    body = recorder.body(run, [*carry, *slices])
    _same_types(recorder, "scan", states, body.results[: len(states)])
    steps = int(sequences[0].shape[0])
    outputs = [recorder.tensor(v.example, dynamic=v.dynamic) for v in states]
    for y in body.results[len(states) :]:
        stacked = np.stack([recorder.evaluator.numpy(y.example)] * steps)
        example = recorder.evaluator.native(stacked)
        outputs.append(recorder.tensor(example, dynamic=recorder.session.dynamic))
    params = {
        "init": states,
        "xs": sequences,
        "reverse": bool(reverse),
        "reverse_outputs": bool(reverse if reverse_outputs is None else reverse_outputs),
    }
    recorder.note(Entry("#scan", None, params, outputs, outputs, bodies=[body]))
    ys = outputs[len(states) :]
    final = _pack(init, outputs[: len(states)]) if states else init
    return final, (None if structure[0] is None else _pack(structure[0], ys))


def _first(recorder: Recorder, sequence: RecordingTensor) -> Any:
    array = recorder.evaluator.numpy(sequence.example)
    return recorder.evaluator.native(np.array(array[0] if array.shape[0] else np.zeros(array.shape[1:], array.dtype)))


def map_(recorder: Recorder, original: Any, f: Any, xs: Any) -> Any:
    """Record as a scan without a carry."""
    return scan(recorder, None, lambda carry, x: (carry, f(x)), [], xs)[1]


def vectorized_map(recorder: Recorder, original: Any, function: Any, elements: Any) -> Any:
    """Record as a scan without a carry."""
    return map_(recorder, original, function, elements)


def associative_scan(
    recorder: Recorder, original: Any, f: Any, elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """Record as a sequential scan: the function is associative, so the order of combining does not matter."""
    tree = _tree()
    flat = [recorder.lift(e) for e in tree.flatten(elems)]
    axis = axis % flat[0].ndim
    moved = [recorder.invoke("numpy", "moveaxis", v, axis, 0) if axis else v for v in flat]
    ends = [v[-1] if reverse else v[0] for v in moved]
    rest = [v[:-1] if reverse else v[1:] for v in moved]

    def with_axis(values: Sequence[Any]) -> Any:
        # The function is made for slices that still have the axis.
        return _pack(elems, [recorder.invoke("numpy", "expand_dims", v, axis) for v in values])

    def step(carry: Any, x: Any) -> Any:
        combined = f(with_axis(carry), with_axis(x))
        values = [recorder.invoke("numpy", "squeeze", v, axis) for v in tree.flatten(combined)]
        return values, values

    _, ys = scan(recorder, None, step, ends, rest, reverse=reverse)
    results = []
    for end, y in zip(ends, ys, strict=True):
        first = recorder.invoke("numpy", "expand_dims", end, 0)
        whole = recorder.invoke("numpy", "concatenate", [y, first] if reverse else [first, y], 0)
        results.append(recorder.invoke("numpy", "moveaxis", whole, 0, axis) if axis else whole)
    return _pack(elems, results)


# --- recurrent layers ------------------------------------------------------------------------------------------------


def rnn(
    recorder: Recorder,
    original: Any,
    step_function: Any,
    inputs: Any,
    initial_states: Any,
    go_backwards: bool = False,
    mask: Any = None,
    constants: Any = None,
    unroll: bool = False,
    input_length: Any = None,
    time_major: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
) -> Any:
    """Record one step as the body of a scan over time.

    Outputs are in the order of processing; where the mask is false, states stay and the output is the one before
    (zeros before the first, or anywhere with `zero_output_for_mask`).
    """
    tree = _tree()

    def call(name: str, *args: Any) -> Any:
        return recorder.invoke("numpy", name, *args)

    def swap(x: Any) -> Any:
        return call("swapaxes", x, 0, 1)

    sequence = tree.map_structure(recorder.lift, inputs)
    sequence = sequence if time_major else tree.map_structure(swap, sequence)
    extra = tuple(constants or ())
    states = tree.map_structure(recorder.lift, tuple(initial_states))
    if mask is None:

        def step(carry: Any, x: Any) -> Any:
            output, after = step_function(x, tuple(carry) + extra)
            return tree.pack_sequence_as(carry, tree.flatten(after)), output

        final, outputs = scan(recorder, None, step, states, sequence, reverse=go_backwards, reverse_outputs=False)
    else:
        mask = recorder.lift(mask)
        mask = mask if mask.dtype == "bool" else recorder.invoke("core", "cast", mask, "bool")
        mask = mask if time_major else swap(mask)
        start = _zero_output(recorder, step_function, sequence, states, extra)

        def masked(keep: Any, new: Any, old: Any) -> Any:
            while keep.ndim < new.ndim:
                keep = call("expand_dims", keep, -1)
            return call("where", keep, new, old)

        def masked_step(carry: Any, x: Any) -> Any:
            before, previous = carry
            x, keep = x
            output, after = step_function(x, tuple(before) + extra)
            values = [masked(keep, n, o) for n, o in zip(tree.flatten(after), tree.flatten(before), strict=True)]
            held = tree.map_structure(
                lambda o, p: masked(keep, o, call("zeros_like", o) if zero_output_for_mask else p), output, previous
            )
            return (tree.pack_sequence_as(before, values), held), held

        carry = (states, start)
        (final, _), outputs = scan(
            recorder, None, masked_step, carry, (sequence, mask), reverse=go_backwards, reverse_outputs=False
        )
    last = tree.map_structure(lambda o: o[-1], outputs)
    if not return_all_outputs:
        outputs = tree.map_structure(lambda o: call("expand_dims", o, 0), last)
    return last, outputs if time_major else tree.map_structure(swap, outputs), final


def _zero_output(recorder: Recorder, step_function: Any, sequence: Any, states: Any, extra: Any) -> Any:
    """Return zeros of the shape of a step's output: what a masked first step gives."""
    tree = _tree()
    first = tree.map_structure(lambda v: v[0], sequence)
    output, _ = step_function(first, tuple(states) + extra)
    return tree.map_structure(lambda o: recorder.invoke("numpy", "zeros_like", o), output)


def replacements() -> dict[str, Replacement]:
    """Return the replacements by module.function."""
    return {
        "core.convert_to_tensor": convert_to_tensor,
        "core.convert_to_numpy": convert_to_numpy,
        "core.is_tensor": is_tensor,
        "core.shape": shape,
        "core.cast": cast,
        "core.stop_gradient": stop_gradient,
        "core.remat": remat,
        "core.custom_gradient": custom_gradient,
        "core.cond": cond,
        "core.switch": switch,
        "core.while_loop": while_loop,
        "core.fori_loop": fori_loop,
        "core.scan": scan,
        "core.map": map_,
        "core.vectorized_map": vectorized_map,
        "core.associative_scan": associative_scan,
        "numpy.vectorize": vectorize,
        "rnn.rnn": rnn,
        "rnn.lstm": fused_recurrent,
        "rnn.gru": fused_recurrent,
        "rnn.bidirectional_lstm": fused_recurrent,
        "rnn.bidirectional_gru": fused_recurrent,
    }


__all__ = ["NotConcrete", "Tape", "replacements"]
