"""Hypothesis strategies for the inputs of a model, drawn from its signature.

    from any2onnx.parity import strategies

    @given(strategies.inputs(signature))
    def test(feeds): ...

Values are typical ones mixed with the numbers where implementations differ; hypothesis shrinks a failing case to few
rows and simple values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.errors import MissingDependency
from any2onnx.parity.suites_tables import DOCUMENTS, UNSEEN_TEXT, special_numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from any2onnx.parity.signature import Feeds, InputSpec, Signature
    from any2onnx.parity.ulp import Array

_MOST_KNOWN = 64


def inputs(signature: Signature, *, max_rows: int = 8, allow_nan: bool = False, allow_infinity: bool = False) -> Any:
    """Return a strategy of feeds: one array per ONNX input, in its dtype and shape.

    Args:
        signature: The inputs, as from ``Signature.from_ports``, refined by the model where possible.
        max_rows: Largest batch; a fixed batch is kept.
        allow_nan: Draw NaN too.
        allow_infinity: Draw infinities too.

    Returns:
        A hypothesis ``SearchStrategy`` of dicts from input name to array.

    Raises:
        MissingDependency: hypothesis is not installed.
    """
    try:
        from hypothesis import strategies as st
    except ImportError as error:
        raise MissingDependency("strategies need hypothesis", remedy="pip install hypothesis") from error

    @st.composite
    def feeds(draw: Callable[[Any], Any]) -> Feeds:
        sizes = dict(signature.sizes)
        sizes.update({symbol: 2 for symbol in signature.free_symbols if symbol not in sizes})
        if signature.batch_symbol is not None:
            sizes[signature.batch_symbol] = draw(st.integers(1, max_rows))
        return {
            spec.name: draw(values(spec, spec.sized(sizes), allow_nan=allow_nan, allow_infinity=allow_infinity))
            for spec in signature.inputs
        }

    return feeds()


def values(spec: InputSpec, shape: tuple[int, ...], *, allow_nan: bool = False, allow_infinity: bool = False) -> Any:
    """Return a strategy of arrays for one input.

    Args:
        spec: The input.
        shape: Its shape.
        allow_nan: Draw NaN too.
        allow_infinity: Draw infinities too.
    """
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as arrays

    if spec.dtype.kind == "O":
        return arrays.arrays(object, shape, elements=st.sampled_from(_texts(spec)))
    if spec.dtype.kind == "b":
        return arrays.arrays(np.bool_, shape)
    if not spec.is_float:
        info = np.iinfo(spec.dtype)
        low, high = max(spec.low, int(info.min)), min(max(spec.high - 1, spec.low), int(info.max))
        return arrays.arrays(spec.dtype, shape, elements=st.integers(low, high))
    if spec.dtype.kind != "f":
        # numpy has no bfloat16: drawn in float32 and rounded.
        return arrays.arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)).map(
            lambda drawn: drawn.astype(spec.dtype)
        )
    width: Any = 8 * spec.dtype.itemsize
    usual = st.floats(-100, 100, width=width)
    special = st.sampled_from([float(number) for number in special_numbers(spec.dtype)])
    choices = [usual, special, *_known(spec, st)]
    if allow_nan:
        choices.append(st.just(float("nan")))
    if allow_infinity:
        choices.append(st.sampled_from([float("inf"), float("-inf")]))
    return arrays.arrays(spec.dtype, shape, elements=st.one_of(*choices))


def _known(spec: InputSpec, st: Any) -> list[Any]:
    """Return a strategy of values like those that the model knows, if any."""
    found: list[Array] = [] if spec.pool is None else [spec.pool]
    found += [known for known in spec.categories if known is not None and known.dtype.kind in "iufb"]
    flat = np.concatenate([part.astype(np.float64).ravel() for part in found]) if found else np.zeros(0)
    flat = np.unique(flat[np.isfinite(flat)].astype(spec.dtype))
    flat = flat[:: max(1, -(-len(flat) // _MOST_KNOWN))]
    return [st.sampled_from([float(value) for value in flat])] if len(flat) else []


def _texts(spec: InputSpec) -> list[str]:
    """Return the texts to draw: known categories or words, one unseen, and odd ones for documents."""
    known = [str(text) for part in spec.categories if part is not None for text in part[:_MOST_KNOWN]]
    pool = [] if spec.pool is None else [str(text) for text in spec.pool.ravel()[:_MOST_KNOWN]]
    odd = list(DOCUMENTS) if spec.text else [UNSEEN_TEXT, ""]
    return list(dict.fromkeys([*(known or ["a", "b", "c"]), *pool, *odd]))
