"""The tensor that stands for a value of the graph while a Keras `call` runs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from any2onnx.converters.keras.tracing_places import calling_library
from any2onnx.converters.keras.tracing_sizes import Size
from any2onnx.errors import ExportFailed

if TYPE_CHECKING:
    from any2onnx.converters.keras.tracing_recorder import Recorder


class NotConcrete(ExportFailed, TypeError):
    """Python asked for the numbers in a tensor that is not known before the model runs.

    Also a TypeError, so that libraries that try to convert an operand fall back to the tensor's own operators.
    """

    def __init__(self, summary: str, **labels: Any) -> None:
        ExportFailed.__init__(self, summary, **labels)


class RecordedShape(tuple[int, ...]):
    """Dims of a recording tensor, with what Keras's layers ask of TensorFlow's shapes."""

    @property
    def rank(self) -> int:
        """Number of dims."""
        return len(self)

    @property
    def ndims(self) -> int:
        """Number of dims."""
        return len(self)

    def as_list(self) -> list[int]:
        """Return the dims as a list."""
        return list(self)


class Dtype(str):
    """Keras's name of an element type, with what code for TensorFlow asks of one."""

    @property
    def name(self) -> str:
        """The name itself."""
        return str(self)

    @property
    def base_dtype(self) -> Dtype:
        """The type itself."""
        return self

    @property
    def is_floating(self) -> bool:
        """Whether it is a floating-point type."""
        return "float" in self

    @property
    def is_integer(self) -> bool:
        """Whether it is an integer type."""
        return "int" in self

    @property
    def is_bool(self) -> bool:
        """Whether it is the type of truth values."""
        return self == "bool"


class RecordingTensor:
    """A tensor with an example value; what is done with it is recorded.

    Attributes:
        recorder: Where calls are noted.
        index: Number of the tensor within its recording.
        example: Value of the evaluating backend, with small sizes where dims are symbolic.
        dynamic: Whether some dim may depend on the sizes of the inputs; else `shape` has plain numbers.
        known: Whether the value follows from shapes alone, so that Python may look at it.
    """

    # numpy and TensorFlow leave mixed operators to this class.
    __array_ufunc__ = None
    __array_priority__ = 1000

    def __init__(self, recorder: Recorder, index: int, example: Any, *, dynamic: bool, known: bool = False) -> None:
        self.recorder = recorder
        self.index = index
        self.example = example
        self.dynamic = dynamic
        self.known = known
        self.dtype = Dtype(recorder.evaluator.dtype(example))
        sizes = tuple(int(d) for d in example.shape)
        self.shape: tuple[int, ...] = RecordedShape(
            (Size.of(self, axis, size) for axis, size in enumerate(sizes)) if dynamic else sizes
        )

    def __repr__(self) -> str:
        return f"<RecordingTensor {self.dtype}{list(map(int, self.shape))}>"

    def get_shape(self) -> tuple[int, ...]:
        """Return the dims, by TensorFlow's name."""
        return self.shape

    @property
    def ndim(self) -> int:
        """Number of dims."""
        return len(self.shape)

    @property
    def size(self) -> Any:
        """Number of elements."""
        total: Any = 1
        for dim in self.shape:
            total = total * dim
        return total

    @property
    def T(self) -> Any:
        """The tensor with its dims reversed."""
        return self.recorder.invoke("numpy", "transpose", self)

    # --- what Python may not do ----------------------------------------------------------------------------------

    def _refuse(self, what: str, instead: str) -> NotConcrete:
        return NotConcrete(
            f"{what} while the model is traced: its numbers are not known before the model runs",
            where=self.recorder.location() or None,
            needs="computations on tensors only (Python control flow may depend on shapes)",
            remedy=instead,
        )

    def __bool__(self) -> bool:
        if self.known:
            return bool(self.recorder.decide(bool(self.example)))
        raise self._refuse(
            "Python asked whether a tensor is true (if, while, and, or, not, assert)",
            "keras.ops.where, keras.ops.cond or keras.ops.while_loop",
        )

    def _number(self, of: Callable[[Any], Any]) -> Any:
        if self.known and self.ndim == 0:
            return of(self.example)
        raise self._refuse("Python asked for the number in a tensor", "keras.ops functions instead of int() or float()")

    def __int__(self) -> int:
        return int(self._number(int))

    def __index__(self) -> int:
        return int(self._number(int))

    def __float__(self) -> float:
        return float(self._number(float))

    def item(self) -> Any:
        """Refuse: a tensor's number is not known before the model runs."""
        return self._number(float)

    def numpy(self) -> Any:
        """Refuse: a tensor's numbers are not known before the model runs."""
        raise self._refuse("Python asked for the numbers in a tensor", "keras.ops functions instead of numpy's")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        library = calling_library() or "numpy"
        if library == "TensorFlow" and self.recorder.evaluator.name != "tensorflow":
            library = f"TensorFlow (Keras runs on {self.recorder.evaluator.name} here)"
        raise self._refuse(
            f"a function of {library} got a tensor of the model", "the keras.ops function of the same name"
        )

    def __setitem__(self, key: Any, value: Any) -> None:
        raise self._refuse("a tensor was changed in place", "keras.ops.slice_update or keras.ops.scatter_update")

    # --- what it may ---------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a tensor without dims")
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> Any:
        return self.recorder.get_item(self, key)

    def __iter__(self) -> Iterator[Any]:
        if not self.shape:
            raise TypeError("iteration over a tensor without dims")
        return iter([self[k] for k in range(int(self.shape[0]))])

    def __contains__(self, item: Any) -> bool:
        raise self._refuse("`in` was used on a tensor", "keras.ops.any(keras.ops.equal(tensor, item))")

    def __hash__(self) -> int:
        return id(self)

    def __abs__(self) -> Any:
        return self.recorder.invoke("numpy", "absolute", self)

    def __neg__(self) -> Any:
        return self.recorder.invoke("numpy", "negative", self)

    def __pos__(self) -> Any:
        return self

    def __invert__(self) -> Any:
        name = "logical_not" if self.dtype == "bool" else "bitwise_not"
        return self.recorder.invoke("numpy", name, self)

    def __round__(self, digits: int = 0) -> Any:
        return self.recorder.invoke("numpy", "round", self, digits or 0)

    def astype(self, dtype: Any) -> Any:
        """Return the tensor in another dtype."""
        return self.recorder.invoke("core", "cast", self, dtype)

    def reshape(self, *shape: Any) -> Any:
        """Return the tensor in another shape."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], list | tuple) else shape
        return self.recorder.invoke("numpy", "reshape", self, wanted)


def _operator(
    name: str, *, swapped: bool = False, logical: str = "", symbol: Callable[[Any, Any], Any] | None = None
) -> Callable[[Any, Any], Any]:
    def method(self: RecordingTensor, other: Any) -> Any:
        if other is None or isinstance(other, str):
            # Python's own answer for things that are no operands: x == None is False, x + None a TypeError.
            return NotImplemented
        if symbol is not None:
            operands = (other, self) if swapped else (self, other)
            own = self.recorder.operator_dtype(symbol, name, *operands)
            if own:
                first, second = (self.recorder.invoke("core", "cast", operand, own) for operand in operands)
                result = self.recorder.invoke("numpy", logical if logical and own == "bool" else name, first, second)
                return result if result.dtype == own else self.recorder.invoke("core", "cast", result, own)
        # A product is an "and" of two truth values only: two times one is a number.
        both = self.dtype == "bool" and (name != "multiply" or _is_logical(other))
        function = logical if logical and both else name
        left = self
        if name == "divide" and self.recorder.evaluator.name in _WIDE_QUOTIENTS and _are_integers(self, other):
            left = self.astype("float64")
        operands = (other, left) if swapped else (left, other)
        return self.recorder.invoke("numpy", function, *operands)

    return method


# Quotients of integers by the operator `/` are float64 there, unlike those of keras.ops.divide.
_WIDE_QUOTIENTS = frozenset({"numpy", "tensorflow"})
_WIDE = frozenset({"int32", "int64", "uint32", "uint64"})


def _are_integers(a: RecordingTensor, b: Any) -> bool:
    kinds = {str(getattr(v, "dtype", a.dtype if isinstance(v, int) else type(v).__name__)) for v in (a, b)}
    kinds = {kind.removeprefix("<dtype: '").removesuffix("'>") for kind in kinds}
    return all("int" in kind for kind in kinds) and not kinds.isdisjoint(_WIDE)


def _is_logical(other: Any) -> bool:
    return isinstance(other, bool) or "bool" in str(getattr(other, "dtype", ""))


_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "mod",
    "pow": "power",
    "matmul": "matmul",
}
_LOGICAL = {"and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"}
_SHIFTS = {"lshift": "left_shift", "rshift": "right_shift"}
_COMPARISONS = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}

for _name, _function in (_BINARY | _LOGICAL | _SHIFTS).items():
    # Products of truth values are what numpy, PyTorch and JAX take for "and"; TensorFlow has none.
    _logical = _function.replace("bitwise", "logical") if _name in _LOGICAL else "logical_and" if _name == "mul" else ""
    _symbol = getattr(operator, _name) if _name in _BINARY and _name != "matmul" else None
    setattr(RecordingTensor, f"__{_name}__", _operator(_function, logical=_logical, symbol=_symbol))
    setattr(RecordingTensor, f"__r{_name}__", _operator(_function, swapped=True, logical=_logical, symbol=_symbol))
for _name, _function in _COMPARISONS.items():
    setattr(RecordingTensor, f"__{_name}__", _operator(_function))
