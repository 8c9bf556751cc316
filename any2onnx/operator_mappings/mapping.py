"""A row of a mapping table: one source operator, its converter, its promises, its limits."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from any2onnx.errors import RegistryError

FRAMEWORKS: Final = ("sklearn", "keras", "pytorch")

Converter = Callable[..., Any]
"""`converter(g, call)` adds nodes to the builder `g` and returns the call's results: one value, a sequence (None for
an output that does not exist), or for scikit-learn a dict from inference method to value."""
ShapeCalculator = Callable[..., Any]
"""`shape_calculator(call)` returns what the source operator promises, in the structure of the converter's results;
None promises nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One application of a source operator, to be converted.

    Attributes:
        key: Name of the operator, as in the tables: ``sklearn.preprocessing.StandardScaler``, ``keras.layers.Dense``,
            ``aten.relu.default``.
        source: The fitted estimator, the layer, the FX node.
        inputs: Values; for Keras and PyTorch also None, Python numbers and nested tuples, as the source has them.
        params: Other arguments by name.
        methods: scikit-learn: the inference methods that are wanted, such as ("predict", "predict_proba").
        options: The conversion options that hold here.
        scope: Path of names: ``pipeline/scaler``.
        location: For people: ``pipeline/scaler (StandardScaler)``, ``model.head ← src/net.py:41``.
        convert: `convert(call, g=None)` converts another call (a sub-model) and returns its results; `g` is the
            builder of a sub-graph, the current one by default.
    """

    key: str
    source: Any
    inputs: tuple[Any, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    scope: str = ""
    location: str = ""
    convert: Callable[..., Any] | None = None

    @property
    def input(self) -> Any:
        """The only input."""
        (value,) = self.inputs
        return value


@dataclass(frozen=True, slots=True)
class Case:
    """A configuration for the generated tests.

    Attributes:
        name: Part of the test's id.
        arguments: Constructor arguments, or what the framework's test builder reads.
        data: Name of a data set or input recipe that the framework's test builder knows; "" for its default.
        tags: Marks such as ``float64``, ``slow``.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    data: str = ""
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorMapping:
    """How one source operator is converted, for one range of opsets.

    Attributes:
        framework: One of FRAMEWORKS.
        key: Dotted name of the source operator.
        converter: The function, or ``package.module:function``, imported when first used.
        shapes: The shape calculator, in the same forms; "" takes the front-end's general one.
        opset: First and last opset (None: no last) that this row serves.
        options: Conversion options that the converter reads, with the values they can have (() for any).
        methods: scikit-learn: inference methods on offer, in the order of the outputs.
        called: Methods that the estimator has under another name: {"decision_function": "predict"} where the raw scores
            are an argument of `predict`.
        honours: Constructor parameters that the converter, or the fitted attributes that it reads, follow. ``*`` stands
            for all, ``**`` for those that the constructor takes beyond the ones it names.
        irrelevant: Constructor parameters without effect on inference.
        cases: Configurations that the generated tests try.
        note: For the coverage table.
        refused: A reason: the operator is known and cannot be converted faithfully.
    """

    framework: str
    key: str
    converter: str | Converter = ""
    shapes: str | ShapeCalculator = ""
    opset: tuple[int, int | None] = (13, None)
    options: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    methods: tuple[str, ...] = ()
    called: Mapping[str, str] = field(default_factory=dict)
    honours: frozenset[str] = frozenset()
    irrelevant: frozenset[str] = frozenset()
    cases: tuple[Case, ...] = ()
    note: str = ""
    refused: str = ""

    def __post_init__(self) -> None:
        if self.framework not in FRAMEWORKS:
            raise RegistryError(f"{self.key}: no framework is called {self.framework!r}", needs=", ".join(FRAMEWORKS))
        if not self.refused and not self.converter:
            raise RegistryError(f"{self.key}: the row has neither a converter nor a reason for its refusal")
        if both := self.honours & self.irrelevant:
            raise RegistryError(f"{self.key}: {sorted(both)} cannot be honoured and irrelevant")

    def serves(self, opset: int) -> bool:
        """Tell whether this row is for a model of that main opset."""
        first, last = self.opset
        return first <= opset and (last is None or opset <= last)

    def converter_function(self) -> Converter:
        """Return the converter, importing it where it is named by a string."""
        return resolve(self.converter, self.key)

    def shape_function(self) -> ShapeCalculator | None:
        """Return the row's own shape calculator, or None."""
        return resolve(self.shapes, self.key) if self.shapes else None

    @property
    def rule(self) -> str:
        """Short name of the converter for provenance: ``sklearn.preprocessing:standard_scaler``."""
        if isinstance(self.converter, str):
            return self.converter.removeprefix("any2onnx.converters.")
        function = self.converter.func if isinstance(self.converter, functools.partial) else self.converter
        return f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"


def resolve(reference: str | Callable[..., Any], key: str) -> Callable[..., Any]:
    """Return the function behind ``package.module:function``.

    Raises:
        RegistryError: There is none.
    """
    if not isinstance(reference, str):
        return reference
    return _imported(reference, key)


@functools.cache
def _imported(reference: str, key: str) -> Callable[..., Any]:
    module, _, name = reference.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (AttributeError, ModuleNotFoundError) as error:
        if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith(module.partition(".")[0]):
            raise
        raise RegistryError(f"{key}: there is no {reference}") from error
    return function  # type: ignore[no-any-return]
