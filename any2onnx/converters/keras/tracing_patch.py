"""Replaces Keras's backend functions for the time of a recording, wherever a module of Keras imported them."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

from any2onnx.converters.keras import tracing_composites, tracing_control
from any2onnx.converters.keras.tracing_evaluate import MODULES, Evaluator
from any2onnx.converters.keras.tracing_recorder import Recorder, leaves
from any2onnx.converters.keras.tracing_sizes import is_size
from any2onnx.converters.keras.tracing_tape import Tape
from any2onnx.converters.keras.tracing_tensor import NotConcrete, RecordingTensor
from any2onnx.errors import ExportFailed, MissingDependency


class _Process:
    """The patch is seen by the whole process; each thread records for itself.

    Attributes:
        lock: Held while Keras is patched or restored.
        sessions: By thread. Keras is patched as long as there is one.
        table: What it is patched with.
        undo: Restores it.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sessions: dict[int, Session] = {}
        self.table: _Table | None = None
        self.undo = ExitStack()

    def session(self) -> Session | None:
        """Return the session of this thread."""
        return self.sessions.get(threading.get_ident())


_PROCESS = _Process()

# Functions that are answered without a record, or on which the recording itself depends.
_NEEDED = {
    "core": (
        "convert_to_tensor convert_to_numpy is_tensor shape cast cond switch while_loop fori_loop scan map "
        "vectorized_map associative_scan stop_gradient remat slice slice_update scatter"
    ),
    "numpy": "add subtract multiply divide matmul reshape transpose where arange zeros ones concatenate vectorize",
    "nn": "relu softmax conv one_hot",
    "rnn": "rnn lstm gru",
    "random": "normal uniform dropout",
}
_LEFT_ALONE = frozenset({"core.device_scope", "core.random_seed_dtype", "core.compute_output_spec", "rnn.cudnn_ok"})


class Session:
    """The patched backend; functions behave as ever for arguments without recording tensors."""

    def __init__(self) -> None:
        from keras.src.backend.common.variables import Variable

        self.evaluator = Evaluator()
        self.variable_class = Variable
        self.recorder: Recorder | None = None
        self.dynamic = False
        self.asked = False
        self._neutral = False
        self.table = _PROCESS.table or current_table(self.evaluator.name)
        self._evaluating = 0
        self._names: dict[int, tuple[str, Any]] = {}
        self._paths: dict[int, str] = {}
        self._signatures: dict[Any, inspect.Signature] = {}

    def active(self) -> Recorder | None:
        """Return the recorder that calls go to, or None."""
        return None if self._evaluating else self.recorder

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Let functions run on examples without a record."""
        self._evaluating += 1
        try:
            yield
        finally:
            self._evaluating -= 1

    @contextmanager
    def recording(self, recorder: Recorder) -> Iterator[None]:
        """Send calls to this recorder."""
        outer, self.recorder = self.recorder, recorder
        try:
            yield
        finally:
            self.recorder = outer

    @contextmanager
    def neutral(self) -> Iterator[None]:
        """Answer users' code that asks for the name of the backend "numpy"; Keras's own code sees the loaded one."""
        self._neutral = True
        try:
            yield
        finally:
            self._neutral = False

    def backend_name(self, original: Callable[[], str]) -> str:
        """Return what `keras.config.backend()` and `keras.backend.backend()` answer."""
        if self.active() is None:
            return original()
        self.asked = True
        return "numpy" if self._neutral else original()

    def function(self, module: str, name: str) -> Callable[..., Any]:
        """Return a replaced function."""
        return self.table.functions[module, name]

    def signature(self, function: Callable[..., Any]) -> inspect.Signature:
        """Return a function's signature."""
        found = self._signatures.get(function)
        if found is None:
            found = self._signatures[function] = inspect.signature(function)
        return found

    def is_backend_tensor(self, value: Any) -> bool:
        """Tell whether a value is a tensor of the loaded backend."""
        return bool(self.table.is_tensor(value))

    def note_variable(self, variable: Any, value: Any) -> Any:
        """Remember whose value a tensor is."""
        self._paths[id(variable)] = variable.path
        if value is variable._value and value is not None:
            self._names[id(value)] = (variable.path, value)
        return value

    @contextmanager
    def stateless(self, tape: Tape) -> Iterator[None]:
        """Keep updates of variables from the model, and note on the tape which were read and updated."""
        from keras.src.backend.common.stateless_scope import StatelessScope

        with StatelessScope() as scope:
            yield
        tape.updated = frozenset(self._paths[key] for key in scope.state_mapping if key in self._paths)

    def variable_name(self, value: Any) -> str:
        """Return the path of the variable whose value this is, or ''."""
        found = self._names.get(id(value))
        return found[0] if found and found[1] is value else ""

    # --- replaced functions --------------------------------------------------------------------------------------

    def call(self, entry: Replaced, args: Any, kwargs: Any) -> Any:
        """Do what a replaced function does."""
        recorder = self.active()
        if recorder is None:
            if self._evaluating and (self.concerns(args) or self.concerns(kwargs)):
                args, kwargs = recorder_examples(args, kwargs)
            return entry.original(*args, **kwargs)
        if entry.custom is not None:
            return entry.custom(recorder, entry.original, *args, **kwargs)
        if entry.module == "random" or self.concerns(args) or self.concerns(kwargs):
            return recorder.backend_call(entry.module, entry.name, entry.original, args, kwargs)
        return entry.original(*args, **kwargs)

    def concerns(self, structure: Any) -> bool:
        """Tell whether a structure holds recording tensors or sizes."""
        for leaf in leaves(structure):
            if isinstance(leaf, RecordingTensor) or is_size(leaf):
                return True
            if isinstance(leaf, self.variable_class) and isinstance(leaf.value, RecordingTensor):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Replaced:
    """A backend function, and what is called instead of recording it as it is (None: nothing)."""

    module: str
    name: str
    original: Callable[..., Any]
    custom: Callable[..., Any] | None


@dataclass(frozen=True, slots=True)
class _Table:
    """Replacements of a backend, and where they go: (namespace, attribute, original, replacement)."""

    functions: dict[tuple[str, str], Callable[..., Any]]
    sites: list[tuple[dict[str, Any], str, Any, Callable[..., Any]]]
    is_tensor: Callable[[Any], bool]


def _keras_modules() -> int:
    """Return how many modules of Keras are loaded: further ones may have imported backend functions."""
    return sum(name.startswith("keras.") for name in sys.modules)


@functools.lru_cache(maxsize=1)
def _table(backend: str, modules: int) -> _Table:
    """Return the replacements for a backend and the modules of Keras that are loaded."""
    special = tracing_control.replacements() | {"nn.ctc_loss": tracing_composites.ctc_loss}
    functions: dict[tuple[str, str], Callable[..., Any]] = {}
    replacements: dict[Any, Callable[..., Any]] = {}
    for module_name in MODULES:
        module = importlib.import_module(f"keras.src.backend.{backend}.{module_name}")
        _check_complete(module, module_name, backend)
        for attribute, function in vars(module).items():
            key = f"{module_name}.{attribute}"
            custom = special.get(key)
            own = isinstance(function, FunctionType) and function.__module__ == module.__name__
            if attribute.startswith("_") or key in _LEFT_ALONE or not (own or custom) or not callable(function):
                continue
            replacement = _replacement(Replaced(module_name, attribute, function, custom))
            replacements[function] = functions[module_name, attribute] = replacement
    sites = [
        (vars(module), attribute, value, replacements[value])
        for module_name, module in sorted(sys.modules.items())
        if module is not None and (module_name == "keras" or module_name.startswith("keras."))
        for attribute, value in list(vars(module).items())
        if isinstance(value, FunctionType | type) and value in replacements
    ]
    for public in ("keras.config", "keras.backend"):
        # Keras itself asks keras.src.backend.
        namespace = vars(importlib.import_module(public))
        if (original := namespace.get("backend")) is not None:
            sites.append((namespace, "backend", original, _backend_name(original)))
    if backend == "torch":
        # Keras's layer_normalization takes PyTorch's own function where this says yes.
        namespace = vars(importlib.import_module("keras.src.ops.nn"))
        if (original := namespace.get("is_continuous_axis")) is not None:
            sites.append((namespace, "is_continuous_axis", original, _not_while_recording(original)))
    core = importlib.import_module(f"keras.src.backend.{backend}.core")
    return _Table(functions, sites, core.is_tensor)


def _check_complete(module: Any, name: str, backend: str) -> None:
    missing = [f for f in _NEEDED.get(name, "").split() if not hasattr(module, f)]
    if missing:
        import keras

        raise MissingDependency(
            f"Keras {keras.__version__} with the backend {backend} has no backend function {name}.{missing[0]}, which "
            "tracing needs",
            needs="a Keras version that any2onnx knows",
            remedy="pip install 'keras>=3.13.2,<4'",
            others=missing[1:],
        )


def _replacement(entry: Replaced) -> Callable[..., Any]:
    @functools.wraps(entry.original)
    def replaced(*args: Any, **kwargs: Any) -> Any:
        session = _PROCESS.session()
        return entry.original(*args, **kwargs) if session is None else session.call(entry, args, kwargs)

    replaced.__wrapped_original__ = entry.original  # type: ignore[attr-defined]
    return replaced


def _not_while_recording(original: Callable[..., Any]) -> Callable[..., Any]:
    def answer(axis: Any) -> bool:
        session = _PROCESS.session()
        return bool(original(axis)) if session is None or session.active() is None else False

    return answer


def _backend_name(original: Callable[[], str]) -> Callable[[], str]:
    def answer() -> str:
        session = _PROCESS.session()
        return original() if session is None else session.backend_name(original)

    return answer


# --- patching ---------------------------------------------------------------------------------------------------------


def current_table(backend: str) -> _Table:
    """Return the replacements for Keras as it is, unpatched."""
    table = _table(backend, _keras_modules())
    if any(namespace.get(attribute) is not original for namespace, attribute, original, _ in table.sites):
        # Somebody has replaced functions of Keras since the table was made.
        _table.cache_clear()
        table = _table(backend, _keras_modules())
    return table


def _patch(undo: ExitStack, session: Session) -> None:
    """Replace the backend's functions, and have them restored at the end."""
    sites = session.table.sites
    undo.callback(_restore, sites)
    for namespace, attribute, _, replacement in sites:
        namespace[attribute] = replacement
    _patch_classes(undo, session.evaluator)


def _restore(sites: list[tuple[dict[str, Any], str, Any, Callable[..., Any]]]) -> None:
    for namespace, attribute, original, _ in sites:
        namespace[attribute] = original


def _patch_classes(undo: ExitStack, evaluator: Evaluator) -> None:
    from keras.src.layers.layer import Layer
    from keras.src.ops.operation import Operation

    original_call = Operation.__call__

    @functools.wraps(original_call)
    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        session = _PROCESS.session()
        recorder = session.active() if session is not None else None
        if session is None or recorder is None or not isinstance(operation, Layer):
            return original_call(operation, *args, **kwargs)
        key = recorder.intercept(operation)
        if key is not None and (session.concerns(args) or session.concerns(kwargs)):
            return recorder.layer_call(operation, key, args, kwargs)
        with recorder.scope(operation):
            return original_call(operation, *args, **kwargs)

    undo.callback(setattr, Operation, "__call__", original_call)
    Operation.__call__ = call
    # Backends define the property anew.
    owner = next(cls for cls in evaluator.backend.Variable.__mro__ if "value" in vars(cls))
    original_value = vars(owner)["value"]

    def value(variable: Any) -> Any:
        session = _PROCESS.session()
        found = original_value.fget(variable)
        return found if session is None else session.note_variable(variable, found)

    undo.callback(setattr, owner, "value", original_value)
    owner.value = property(value, doc=original_value.__doc__)
    if evaluator.name == "tensorflow":
        from any2onnx.converters.keras.tracing_tensorflow import tensorflow_functions

        _patch_comparisons(undo, evaluator)
        undo.enter_context(tensorflow_functions(_PROCESS.session))


def _patch_comparisons(undo: ExitStack, evaluator: Evaluator) -> None:
    """Let TensorFlow's tensors leave comparisons with recording tensors to these, as all other tensors do."""
    kind = type(evaluator.native(0))
    for name in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"):
        owner = next(cls for cls in kind.__mro__ if name in vars(cls))
        original = vars(owner)[name]

        @functools.wraps(original)
        def compare(a: Any, b: Any, original: Callable[[Any, Any], Any] = original) -> Any:
            return NotImplemented if isinstance(b, RecordingTensor) else original(a, b)

        undo.callback(setattr, owner, name, original)
        setattr(owner, name, compare)


def recorder_examples(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return arguments with examples for recording tensors that a function under evaluation holds by closure."""
    from any2onnx.converters.keras.tracing_recorder import map_leaves

    def example(leaf: Any) -> Any:
        return leaf.example if isinstance(leaf, RecordingTensor) else leaf

    return map_leaves(example, args), map_leaves(example, kwargs)


@contextmanager
def open_session() -> Iterator[Session]:
    """Patch the loaded backend for what this thread records; inside a session of the thread, the same one again."""
    outer = _PROCESS.session()
    if outer is not None:
        yield outer
        return
    thread = threading.get_ident()
    with _plain_errors():
        with _PROCESS.lock:
            session = Session()
            if not _PROCESS.sessions:
                with ExitStack() as undo:
                    _patch(undo, session)
                    _PROCESS.undo = undo.pop_all()
                _PROCESS.table = session.table
            _PROCESS.sessions[thread] = session
        try:
            yield session
        finally:
            with _PROCESS.lock:
                del _PROCESS.sessions[thread]
                if not _PROCESS.sessions:
                    _PROCESS.table = None
                    _PROCESS.undo.close()


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Keep Keras from rewriting errors."""
    from keras.src.utils import traceback_utils

    filtering = traceback_utils.is_traceback_filtering_enabled()
    traceback_utils.disable_traceback_filtering()
    try:
        yield
    finally:
        if filtering:
            traceback_utils.enable_traceback_filtering()


__all__ = ["ExportFailed", "NotConcrete", "Session", "open_session"]
