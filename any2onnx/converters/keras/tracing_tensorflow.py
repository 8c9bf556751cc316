"""TensorFlow's own functions in `call`s, Lambdas and activations: each stands for functions of Keras.

``Lambda(lambda x: tf.nn.depth_to_space(x, 2))`` and ``Dense(8, activation=tf.nn.relu)`` never reach a function of the
Keras backend. TensorFlow asks its dispatchers about arguments that it does not know; while a model is recorded, ours
answers with what the function means in terms of `keras.ops`. A function that is not in the table is refused by name.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from any2onnx.converters.keras import tracing_tensorflow_functions as functions
from any2onnx.converters.keras.tracing_tensor import NotConcrete

if TYPE_CHECKING:
    from any2onnx.converters.keras.tracing_patch import Session

# Arguments of TensorFlow 1 by the names that they have now.
_RENAMED: Final = {
    "dim": "axis",
    "dimension": "axis",
    "keep_dims": "keepdims",
    "reduction_indices": "axis",
    "squeeze_dims": "axis",
}


@contextmanager
def tensorflow_functions(current: Callable[[], Session | None]) -> Iterator[None]:
    """Let TensorFlow's functions take recording tensors, in the threads that have a `current` session."""
    from tensorflow.python.util import dispatch, tf_decorator

    known = _table()

    class Dispatcher(dispatch.GlobalOpDispatcher):
        """Answers for calls with recording tensors."""

        def handle(self, op: Any, args: Any, kwargs: Any) -> Any:
            session = current()
            recorder = session.active() if session is not None else None
            if session is None or recorder is None or not session.concerns((args, kwargs)):
                return self.NOT_SUPPORTED
            function = tf_decorator.unwrap(op)[1]
            found = known.get(function)
            if found is None:
                # A TypeError: the function that called this one, if any, is asked next.
                raise _unknown(_name(function), recorder.location())
            return found(**_arguments(op, args, kwargs))

    dispatcher = Dispatcher()
    dispatch._GLOBAL_DISPATCHERS.append(dispatcher)
    try:
        with _of_sizes(dispatcher):
            yield
    finally:
        dispatch._GLOBAL_DISPATCHERS.remove(dispatcher)


@contextmanager
def _of_sizes(dispatcher: Any) -> Iterator[None]:
    """Ask the dispatcher before functions of sizes, and not only where TensorFlow cannot run them."""
    import tensorflow as tf

    def asked(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def first(*args: Any, **kwargs: Any) -> Any:
            found = dispatcher.handle(original, args, kwargs)
            return original(*args, **kwargs) if found is dispatcher.NOT_SUPPORTED else found

        return first

    originals = {name: getattr(tf, name) for name in functions.OF_SIZES}
    for name, original in originals.items():
        setattr(tf, name, asked(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(tf, name, original)


def _table() -> dict[Any, Callable[..., Any]]:
    """Return what stands for each function, by the function without its decorators."""
    import tensorflow as tf
    from tensorflow.python.util import tf_decorator

    found: dict[Any, Callable[..., Any]] = {}
    for name, meaning in functions.TABLE.items():
        for root in (tf, tf.compat.v1):
            target: Any = root
            for part in name.split("."):
                target = getattr(target, part, None)
            if target is not None:
                found.setdefault(tf_decorator.unwrap(target)[1], meaning)
    return found


def _arguments(op: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    bound = inspect.signature(op).bind(*args, **kwargs)
    given: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            given.update(value)
        elif name != "name" and not (name in _RENAMED and value is None):
            given[_RENAMED.get(name, name)] = value
    return given


def _name(function: Any) -> str:
    names = getattr(function, "_tf_api_names", None) or getattr(function, "_tf_api_names_v1", None)
    return f"tf.{names[0]}" if names else f"TensorFlow's {getattr(function, '__name__', function)}"


def _unknown(name: str, where: str) -> NotConcrete:
    return NotConcrete(
        f"{name} got a tensor of the model while the model is traced, and what it means is not known here",
        where=where or None,
        needs="functions of keras.ops, or those of TensorFlow that have one of the same meaning",
        remedy="the keras.ops function for it",
    )
