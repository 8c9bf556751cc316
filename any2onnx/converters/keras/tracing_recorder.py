"""Notes what a function does with recording tensors."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.converters.keras.tracing_places import line_of_user
from any2onnx.converters.keras.tracing_sizes import is_size, plain
from any2onnx.converters.keras.tracing_tape import Constant, Entry, Tape
from any2onnx.converters.keras.tracing_tensor import NotConcrete, RecordingTensor
from any2onnx.errors import ExportFailed

if TYPE_CHECKING:
    from any2onnx.converters.keras.tracing_patch import Session

GET_ITEM = "keras.backend.core.getitem"


class Recorder:
    """One run of a function on recording tensors.

    Args:
        session: The patched backend.
        intercept: `intercept(layer)` gives the key under which a layer called inside is recorded as a whole, or None
            where its own `call` is to be recorded.
    """

    def __init__(self, session: Session, intercept: Callable[[Any], str | None]) -> None:
        self.session = session
        self.evaluator = session.evaluator
        self.intercept = intercept
        self.tape = Tape()
        self.scopes: list[str] = []
        self._count = 0

    # --- tensors -------------------------------------------------------------------------------------------------

    def tensor(self, example: Any, *, dynamic: bool, known: bool = False) -> RecordingTensor:
        """Return a new tensor with an example value."""
        self._count += 1
        return RecordingTensor(self, self._count, example, dynamic=dynamic, known=known)

    def decide(self, answer: bool) -> bool:
        """Note an answer that Python gets about a value known from shapes alone."""
        self.tape.decisions.append(answer)
        return answer

    def constant(self, value: Any) -> Any:
        """Return what stands for an argument on the tape: tensors and variables of Keras become Constants."""
        if isinstance(value, self.session.variable_class):
            current = value.value
            return current if isinstance(current, RecordingTensor) else Constant(current, value.path)
        if isinstance(value, np.ndarray | np.generic):
            return Constant(value, self.session.variable_name(value))
        if not isinstance(value, int | float | str | RecordingTensor | None) and self.session.is_backend_tensor(value):
            return Constant(value, self.session.variable_name(value))
        return value

    # --- calls ---------------------------------------------------------------------------------------------------

    def invoke(self, module: str, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a backend function as Keras would."""
        return self.session.function(module, name)(*args, **kwargs)

    def operator_dtype(self, operator: Callable[[Any, Any], Any], name: str, a: Any, b: Any) -> str:
        """Return the dtype that the framework's own operator gives where the Keras function has another one, else ''.

        Python's operators in a `call` are those of the backend's tensors: of truth values and numbers, TensorFlow
        makes truth values, PyTorch int64; TensorFlow takes arrays in the dtype of its tensor.
        """
        evaluator = self.evaluator
        if evaluator.is_numpy or _same_kind(a, b):
            return ""
        first, second = (_corner(self._example(self.constant(operand))) for operand in (a, b))
        original = self.session.function("numpy", name).__wrapped_original__  # type: ignore[attr-defined]
        own = self._dtype_of(lambda: operator(first, second))
        if own == "bool" and evaluator.name == "tensorflow" and not (_is_bool(first) and _is_bool(second)):
            raise ExportFailed(
                "TensorFlow takes the product of truth values and numbers for an `and`, the other backends for numbers",
                where=self.location() or None,
                needs="a product that means one thing",
                remedy="keras.ops.multiply(a, b), or keras.ops.cast(a, b.dtype) * b",
            )
        keras = self._dtype_of(lambda: evaluator.call("numpy", name, original, (first, second), {}))
        return own if own != keras else ""

    def _dtype_of(self, compute: Callable[[], Any]) -> str:
        """Return the dtype of what is computed; '' where the backend cannot."""
        try:
            with self.session.evaluating():
                return self.evaluator.dtype(compute())
        except Exception:  # what the one form of a function cannot, the other may
            return ""

    def get_item(self, tensor: RecordingTensor, key: Any) -> Any:
        """Record `tensor[key]`."""
        params = {"x": tensor, "key": key}
        return self.record(GET_ITEM, _subscript, params, lambda p: _subscript(p["x"], self._index(p["key"])))

    def _index(self, key: Any) -> Any:
        # TensorFlow has no advanced indexing; its examples are indexed by numpy.
        if isinstance(key, tuple):
            return tuple(self._index(k) for k in key)
        if isinstance(key, list) or self.session.is_backend_tensor(key):
            array = np.asarray(self.evaluator.numpy(key) if not isinstance(key, list) else key)
            return array if array.ndim or array.dtype == bool else int(array)
        return key

    def backend_call(self, module: str, name: str, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Record the call of a backend function."""
        bound = self.session.signature(original).bind(*args, **kwargs)
        bound.apply_defaults()
        parameters = bound.signature.parameters

        def evaluate(params: dict[str, Any]) -> Any:
            positional: list[Any] = []
            named: dict[str, Any] = {}
            for key, value in params.items():
                kind = parameters[key].kind
                if kind is inspect.Parameter.VAR_POSITIONAL:
                    positional.extend(value)
                elif kind is inspect.Parameter.KEYWORD_ONLY:
                    named[key] = value
                elif kind is inspect.Parameter.VAR_KEYWORD:
                    named.update(value)
                else:
                    positional.append(value)
            return self.evaluator.call(module, name, original, tuple(positional), named)

        return self.record(
            f"keras.backend.{module}.{name}", original, dict(bound.arguments), evaluate, random=module == "random"
        )

    def record(
        self,
        key: str,
        source: Any,
        params: dict[str, Any],
        evaluate: Callable[[dict[str, Any]], Any],
        *,
        random: bool = False,
    ) -> Any:
        """Note a call, with results whose examples `evaluate` computes from the examples of the arguments."""
        params = self.map(self.constant, params)
        with self.session.evaluating():
            examples = evaluate(self.map(self._example, params))
        dynamic, known = self._properties(params, random)
        outputs: list[RecordingTensor] = []

        def wrap(example: Any) -> Any:
            is_array = hasattr(example, "shape") and hasattr(example, "dtype")
            if not (is_array or isinstance(example, int | float | bool)):
                return example
            tensor = self.tensor(self.evaluator.native(example), dynamic=dynamic, known=known)
            outputs.append(tensor)
            return tensor

        results = self.map(wrap, examples)
        self.note(Entry(key, source, params, results, outputs, random=random))
        return results

    def note(self, entry: Entry) -> None:
        """Put an entry on the tape, with its place."""
        entry.scope, entry.location = "/".join(self.scopes), self.location()
        self.tape.entries.append(entry)

    def lift(self, value: Any) -> RecordingTensor:
        """Return a recording tensor for any tensor, variable or number."""
        value = self.constant(value)
        if isinstance(value, RecordingTensor):
            return value
        result = self.invoke("core", "convert_to_tensor", value) if is_size(value) else None
        if result is not None:
            return result  # type: ignore[no-any-return]
        with self.session.evaluating():
            example = self.evaluator.native(value.value if isinstance(value, Constant) else value)
            if not isinstance(value, Constant):
                # Python numbers become Keras's default types.
                value = Constant(self.session.function("core", "convert_to_tensor")(value))
                example = self.evaluator.native(value.value)
        tensor = self.tensor(example, dynamic=False)
        self.note(Entry("#constant", None, {"value": value}, tensor, [tensor]))
        return tensor

    def body(self, function: Callable[..., Any], parameters: list[RecordingTensor], *args: Any) -> Tape:
        """Run a function given to a control-flow function once and return its recording."""
        outer, self.tape = self.tape, Tape(parameters=parameters)
        try:
            self.tape.results = self.map(self.constant, function(*args))
            return self.tape
        finally:
            self.tape = outer

    def parameter(self, example: Any, *, dynamic: bool = True) -> RecordingTensor:
        """Return a tensor that a body gets from outside."""
        return self.tensor(example, dynamic=dynamic)

    def _example(self, value: Any) -> Any:
        if isinstance(value, RecordingTensor):
            return value.example
        if isinstance(value, Constant):
            if self.evaluator.is_numpy:
                return self.evaluator.numpy(value.value)
            if isinstance(value.value, np.ndarray) and value.value.dtype.kind in "OUS":
                return value.value
            return value.value
        return plain(value)

    def _properties(self, params: Any, random: bool) -> tuple[bool, bool]:
        """Return whether results may have dynamic dims, and whether they follow from shapes alone."""
        dynamic, known = False, not random
        for leaf in leaves(params):
            if isinstance(leaf, RecordingTensor):
                dynamic = dynamic or leaf.dynamic
                known = known and leaf.known
            elif is_size(leaf):
                dynamic = True
        return dynamic, known

    # --- layers --------------------------------------------------------------------------------------------------

    def layer_call(self, layer: Any, key: str, args: Any, kwargs: Any) -> Any:
        """Record the call of a layer as a whole."""
        bound = inspect.signature(layer.call).bind(*args, **kwargs)
        bound.apply_defaults()
        call = bound.signature

        def evaluate(params: dict[str, Any]) -> Any:
            again = inspect.BoundArguments(call, OrderedDict(params))
            results = layer.call(*again.args, **again.kwargs)
            return self.map(lambda r: self.evaluator.numpy(r) if self.evaluator.is_numpy else r, results)

        with self.scope(layer):
            return self.record(key, layer, dict(bound.arguments), evaluate)

    @contextmanager
    def scope(self, operation: Any) -> Iterator[None]:
        """Name the calls made inside after a layer."""
        self.scopes.append(str(getattr(operation, "name", type(operation).__name__)))
        try:
            yield
        finally:
            self.scopes.pop()

    # --- places --------------------------------------------------------------------------------------------------

    def location(self) -> str:
        """Return the line of the user's code that is being run, or of the layer where there is none."""
        return line_of_user(__file__)

    def run(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run the function; `location` looks no further than this frame."""
        return function(*args, **kwargs)

    # --- structures ----------------------------------------------------------------------------------------------

    def map(self, function: Callable[[Any], Any], structure: Any) -> Any:
        """Apply a function to the leaves of nested lists, tuples, dicts and slices."""
        return map_leaves(function, structure)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or "bool" in str(getattr(value, "dtype", ""))


def _same_kind(a: Any, b: Any) -> bool:
    """Tell whether operands are floats of one dtype, or such a tensor and a Python number."""
    dtypes = {str(operand.dtype) for operand in (a, b) if hasattr(operand, "dtype")}
    return len(dtypes) == 1 and "float" in next(iter(dtypes)) and not any(isinstance(v, np.generic) for v in (a, b))


def _corner(example: Any) -> Any:
    """Return an example with one element: the rules of dtypes look at no more than the rank."""
    shape = getattr(example, "shape", ())
    return example[(slice(0, 1),) * len(shape)] if len(shape) else example


def _subscript(x: Any, key: Any) -> Any:
    if type(x).__module__.partition(".")[0] == "tensorflow":
        import tensorflow as tf

        return tf.convert_to_tensor(x.numpy()[key])
    if type(x).__module__.partition(".")[0] == "torch":
        import torch

        parts = key if isinstance(key, tuple) else (key,)
        if any(isinstance(k, slice) and k.step is not None and k.step < 0 for k in parts) or any(
            isinstance(k, np.ndarray) for k in parts
        ):
            # PyTorch has no negative steps.
            return torch.from_numpy(np.ascontiguousarray(x.detach().cpu().numpy()[key]))
    return x[key]


def map_leaves(function: Callable[[Any], Any], structure: Any) -> Any:
    """Apply a function to the leaves of nested lists, tuples, dicts and slices."""
    if isinstance(structure, dict):
        return {name: map_leaves(function, value) for name, value in structure.items()}
    if isinstance(structure, list):
        return [map_leaves(function, value) for value in structure]
    if isinstance(structure, tuple):
        values = [map_leaves(function, value) for value in structure]
        return type(structure)(*values) if hasattr(structure, "_fields") else tuple(values)
    if isinstance(structure, slice):
        return slice(*(map_leaves(function, v) for v in (structure.start, structure.stop, structure.step)))
    return function(structure)


def leaves(structure: Any) -> Iterator[Any]:
    """Return the leaves of nested lists, tuples, dicts and slices."""
    if isinstance(structure, dict):
        for value in structure.values():
            yield from leaves(value)
    elif isinstance(structure, list | tuple):
        for value in structure:
            yield from leaves(value)
    elif isinstance(structure, slice):
        yield from leaves((structure.start, structure.stop, structure.step))
    else:
        yield structure


__all__ = ["GET_ITEM", "NotConcrete", "Recorder", "leaves", "map_leaves"]
