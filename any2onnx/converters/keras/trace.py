"""Converts what a Keras `call` does: it runs on recording tensors, and each backend function that it reaches is
converted on its own.

Every layer, Operation, Lambda and subclassed model comes apart into the backend functions of Keras (``keras.src.
backend.{core,numpy,nn,image,linalg,math,random,rnn}``). They are replaced, for the time of the recording and wherever
Keras imported them, by functions that note the call. No TensorFlow graph, no tracing of a framework is involved, so
that any backend gives the same graph.

A function with dynamic dims among its inputs is recorded twice, with different example sizes; where the two recordings
differ in more than sizes, Python control flow depends on a dynamic dim, and the function is refused.
"""

from __future__ import annotations

import contextlib
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from any2onnx.converters.capturing import CAPTURE
from any2onnx.converters.keras.tracing_coarse import TooCoarse
from any2onnx.converters.keras.tracing_patch import Session, open_session
from any2onnx.converters.keras.tracing_places import is_users
from any2onnx.converters.keras.tracing_recorder import Recorder, leaves, map_leaves
from any2onnx.converters.keras.tracing_replay import Extent, RecordedCall, Replay
from any2onnx.converters.keras.tracing_tape import Constant, StaticDims, Tape, dims_alone, merge
from any2onnx.converters.keras.tracing_tensor import RecordingTensor
from any2onnx.errors import Any2OnnxError, ExportFailed
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import DataType, Dim, Value, dims_of, dtype_of, rank_of, shape_of

# Example sizes of dynamic dims, for the two recordings; far apart, so that a dim that depends on them differs. The
# first pair is quick; the next serves models with a maximal size (a table of few positions), the others models with a
# minimal one, or that want sizes divisible by powers of two. From the third on dims of different names have one size:
# they may have to be equal without anybody having said so.
_ATTEMPTS: Final = (
    ((2, 3, 5, 7, 11, 13), (29, 31, 37, 41, 43, 47)),
    ((2, 3, 4), (7, 6, 5)),
    ((4,), (6,)),
    ((64,), (160,)),
    ((224,), (320,)),
)
# Sounds: spectrograms want thousands of samples. For one dim only.
_LONG: Final = ((4096,), (6007,))
# Where steps are so large that the second recording tells no more than the first, its batches and its other sizes are
# multiplied by these.
_LARGER: Final = ((11, 1), (1, 11), (11, 11), (1, 150))
_BLOCK: Final = 4093
_BATCHES: Final = ((2, 5, 11), (3, 7, 13))


def trace(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    g: GraphBuilder,
    convert: Callable[..., Any],
    scope: str = "",
    location: str = "",
    intercept: Callable[[Any], str | None] | None = None,
    require: Callable[[list[tuple[str, str]]], None] | None = None,
) -> Any:
    """Convert what a function does, and return its results with values of the graph for tensors.

    Args:
        function: A layer (its whole `__call__`: dtype policy, masks), a layer's or an Operation's `call`, a Lambda's
            function.
        args: Positional arguments, nested as the function wants them; tensors are values of `g`.
        kwargs: Arguments by name.
        g: Builder of the graph.
        convert: `convert(call, g)` converts one call of a backend function, `key="keras.backend.numpy.add"`, or of a
            layer that `intercept` names. Its `params` are the arguments by name in the order of the function's
            signature, with defaults; its `source` is a RecordedCall (the layer, for layers). Tensors and weights are
            values, sizes of dynamic dims are Extents.
        scope: Prefix of the nodes' names.
        location: Place for messages.
        intercept: `intercept(layer)` returns the key of a layer that is converted as a whole when it is called inside,
            None to look into it.
        require: Gets (key, place) of all calls before the first is converted, to refuse them all at once.

    Raises:
        ExportFailed: Python asked for the numbers of a tensor, a backend's own functions were used, or what the
            function does depends on the size of a dynamic dim.
        UnsupportedOperator: From `convert` or `require`.
    """
    named = dict(kwargs or {})
    # A capture of PyTorch in another thread may have replaced functions that the recording runs.
    with CAPTURE, open_session() as session:
        session.asked = False
        arguments = (session, function, list(args), named, intercept or (lambda layer: None), location)
        try:
            tape, dims = _recordings(*arguments)
        except ExportFailed:
            if not session.asked:
                raise
            # Code that has a way of its own for some backend has one of Keras functions for the others.
            with session.neutral():
                tape, dims = _recordings(*arguments)
        evaluator = session.evaluator
    replay = Replay(tape, evaluator, dims, convert, scope, location)
    replay.check_state(tape)
    if require is not None:
        require(replay.needed(tape))
    inputs = [leaf for leaf in leaves([list(args), named]) if isinstance(leaf, Value)]
    env: Any = ChainMap({})
    for tensor, value in zip(tape.parameters, inputs, strict=True):
        env[tensor.index] = value
    return replay.run(g, tape, env)


def _recordings(
    session: Session, function: Callable[..., Any], args: Any, kwargs: Any, intercept: Any, location: str
) -> tuple[Tape, StaticDims]:
    """Return a recording, and which dims are static."""
    inputs = [leaf for leaf in leaves([args, kwargs]) if isinstance(leaf, Value)]
    names = _dynamic_dims(inputs)
    session.dynamic = bool(names)

    def record(sizes: Mapping[Any, int]) -> Tape:
        return _record(session, function, args, kwargs, intercept, inputs, sizes)

    if not names:
        tape = _run(record, {}, location)
        return tape, dims_alone(tape)
    failure: Exception | None = None
    one = sum(not batch for _, batch in names) == 1
    for small, large in (*_ATTEMPTS, *([_LONG] if one else [])):
        try:
            first = record(_sizes(names, small, 0))
            second = record(_sizes(names, large, 1))
        except Any2OnnxError:
            raise
        except Exception as error:  # any error of the user's function or of Keras; reported if no sizes help
            failure = failure or error
            continue
        return first, _merged(first, second, _again(record, names, large))
    assert failure is not None
    raise _failed(failure, location) from failure


def _again(
    record: Callable[[Mapping[Any, int]], Tape], names: Sequence[tuple[Any, bool]], sizes: Sequence[int]
) -> Callable[[tuple[int, int]], Tape]:
    return lambda factors: record(_sizes(names, sizes, 1, factors))


def _merged(first: Tape, second: Tape, larger: Callable[[tuple[int, int]], Tape]) -> StaticDims:
    """Compare two recordings, the second with larger sizes where it tells no more than the first."""
    for factors in (*_LARGER, None):
        try:
            return merge(first, second)
        except TooCoarse as error:
            coarse = error
        # Keras or the user's function may be unable to do with such sizes.
        with contextlib.suppress(Exception):
            second = larger(factors) if factors else second
    raise ExportFailed(
        f"{coarse}: which dims follow from those of the inputs is not known",
        where=coarse.entry.location or None,
        needs="smaller steps, or fixed sizes for the dims of the inputs",
    )


def _run(record: Callable[..., Tape], sizes: Mapping[Any, int], location: str) -> Tape:
    try:
        return record(sizes)
    except Any2OnnxError:
        raise
    except Exception as error:  # any error of the user's function or of Keras
        raise _failed(error, location) from error


def _failed(error: Exception, location: str) -> ExportFailed:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if is_users(f.filename)]
    place = f"{own[-1].filename}:{own[-1].lineno}   {own[-1].line}" if own else ""
    reason = str(error).strip().partition("\n")[0]
    return ExportFailed(
        f"the model cannot be traced: {type(error).__name__}: {reason}",
        where=" ← ".join(part for part in (location, place) if part) or None,
        needs="a call made of keras.ops functions and layers (functions of PyTorch, JAX, numpy, and most of TensorFlow "
        "do not see the model's tensors)",
        remedy="keras.ops.* instead of tf.*, torch.*, jnp.* or np.*",
    )


def _dynamic_dims(inputs: Sequence[Value]) -> list[tuple[Any, bool]]:
    """Return a key for each dynamic dim, with whether it is a batch (the first of a tensor): equal names are one."""
    names: dict[Any, bool] = {}
    for k, value in enumerate(inputs):
        for axis, dim in enumerate(shape_of(value)):
            if not isinstance(dim, int):
                names.setdefault(_key(k, axis, dim), axis == 0 and rank_of(value) > 1)
    return list(names.items())


def _key(k: int, axis: int, dim: Dim) -> Any:
    return dim if dim is not None else (k, axis)


def _sizes(
    names: Sequence[tuple[Any, bool]], sizes: Sequence[int], run: int, factors: tuple[int, int] = (1, 1)
) -> dict[Any, int]:
    result: dict[Any, int] = {}
    batches, others = 0, 0
    for key, batch in names:
        if batch:
            # Small, for the sake of images: nothing shrinks a batch.
            result[key] = _BATCHES[run][batches % len(_BATCHES[run]) if len(sizes) > 1 else 0] * factors[0]
            batches += 1
        else:
            result[key] = sizes[others % len(sizes)] * factors[1]
            others += 1
    return result


def _record(
    session: Session,
    function: Callable[..., Any],
    args: Any,
    kwargs: Any,
    intercept: Any,
    inputs: Sequence[Value],
    sizes: Mapping[Any, int],
) -> Tape:
    outermost = getattr(function, "__self__", function)
    recorder = Recorder(session, lambda layer: None if layer is outermost else intercept(layer))
    tensors = [_input(recorder, k, value, sizes) for k, value in enumerate(inputs)]
    recorder.tape.parameters = tensors
    remaining = iter(tensors)
    replace: Callable[[Any], Any] = lambda leaf: next(remaining) if isinstance(leaf, Value) else leaf  # noqa: E731
    own_args, own_kwargs = map_leaves(replace, [args, kwargs])
    with session.stateless(recorder.tape), session.recording(recorder):
        results = recorder.run(function, own_args, own_kwargs)
        recorder.tape.results = recorder.map(recorder.constant, results)
    return recorder.tape


def _input(recorder: Recorder, k: int, value: Value, sizes: Mapping[Any, int]) -> RecordingTensor:
    dims = dims_of(value.shape) or ()
    shape = [d if isinstance(d, int) else sizes[_key(k, axis, d)] for axis, d in enumerate(dims)]
    if value.const_value is not None:
        example: Any = value.const_value.numpy()
    else:
        example = example_array(dtype_of(value), shape, seed=k)
    dynamic = any(not isinstance(d, int) for d in dims)
    return recorder.tensor(recorder.evaluator.native(example), dynamic=dynamic)


def example_array(dtype: DataType, shape: Sequence[int], *, seed: int) -> np.ndarray[Any, Any]:
    """Return example data: positive and negative floats, integers that any table has as an index, both truth values."""
    if dtype == DataType.STRING:
        return np.full(shape, "a", dtype=object)
    random = np.random.default_rng(seed)
    numpy_dtype = dtype.numpy()
    if numpy_dtype == np.bool_ or np.issubdtype(numpy_dtype, np.integer):
        return random.integers(0, 2, shape).astype(numpy_dtype)
    if np.issubdtype(numpy_dtype, np.complexfloating):
        return (random.standard_normal(shape) + 1j * random.standard_normal(shape)).astype(numpy_dtype)
    count = int(np.prod(shape))
    # A block of a prime length, repeated: drawing the numbers of a whole image would take longer than all the rest.
    block = random.standard_normal(min(count, _BLOCK)).astype(numpy_dtype)
    return np.resize(block, shape) if count else np.zeros(shape, numpy_dtype)


__all__ = ["Constant", "Extent", "RecordedCall", "example_array", "trace"]
