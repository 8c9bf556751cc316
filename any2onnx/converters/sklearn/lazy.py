"""Results by method, made only where they are wanted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from any2onnx.converters.sklearn.support import Results, cast_results
from any2onnx.graph.builder import GraphBuilder
from any2onnx.graph.types import Value
from any2onnx.operator_mappings.mapping import Call


def once(make: Callable[[], Value]) -> Callable[[], Value]:
    """Return a function that makes a value on its first call and returns the same one afterwards."""
    return functools.cache(make)


def produce(
    g: GraphBuilder, call: Call, makers: Mapping[str, Callable[[], Any]], *, keep: Sequence[str] = ()
) -> Results:
    """Return the results of exactly the wanted methods, floats in the working type but for the methods in `keep`.

    Args:
        g: Builder.
        call: Of the estimator.
        makers: Each returns a method's value, or a tuple of values.
        keep: Methods whose floats are labels.
    """
    return cast_results(g, call, {method: makers[method]() for method in call.methods}, keep=keep)
