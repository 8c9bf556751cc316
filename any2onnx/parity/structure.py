"""Names are tied by the references; here are count, shape and dtype: what counts as the same, and what does not.

Tensor frameworks (Keras, PyTorch, functions): shape and dtype must be equal.

scikit-learn returns float64 for float32 rows and vectors where ONNX has columns, so converters follow conventions:

* shape: `[N]` and `[N, 1]` are the same; a transformer may drop the axis of a single row; a binary decision function
  `[N]` may come as two columns `[-s, s]`; the list of a multi-output `predict_proba` may come as one tensor
  `[outputs, N, classes]` or as a sequence;
* dtype: floats must be at least as wide as the narrower of the framework's result and the widest floating input
  (float32 when there is none), so float32 for float32 rows is right and a float16 leak is not; integers and booleans
  may have any width; feature tables of integers may be floats (values are then compared exactly); labels must stay
  numbers or text, whole-numbered float labels may be integers.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity.runtime import Leaf
from any2onnx.parity.ulp import Array, is_float

if TYPE_CHECKING:
    from collections.abc import Sequence

_TEXT = frozenset("OSUT")
_WHOLE = frozenset("biu")


@dataclasses.dataclass(frozen=True)
class Pair:
    """One array of the framework and the one of ONNX to compare it with; ``problem`` says why they cannot be."""

    name: str
    fw: Array
    ox: Array
    problem: str = ""
    note: str = ""


def merge_leaves(name: str, leaves: Sequence[Sequence[Leaf]]) -> list[Leaf]:
    """Return the arrays of one bound result; one output per class becomes one table again."""
    if len(leaves) == 1:
        return list(leaves[0])
    columns = [part[0].values.reshape(-1) for part in leaves if part]
    return [Leaf(name, np.stack(columns, axis=1))]


def split_stacked(leaves: list[Leaf], count: int) -> list[Leaf]:
    """Split one tensor ``[count, …]`` into its entries where the framework returns a list of that length."""
    if count > 1 and len(leaves) == 1 and leaves[0].values.ndim >= 2 and len(leaves[0].values) == count:
        stacked = leaves[0]
        return [Leaf(f"{stacked.name}[{i}]", stacked.values[i]) for i in range(count)]
    return leaves


def conform(values: Array, shape: tuple[int, ...], method: str) -> Array | None:
    """Bring a scikit-learn result to the shape that ONNX uses for it, or return None when no convention fits."""
    if values.shape == shape:
        return values
    if values.ndim == 1 and shape == (len(values), 1):
        return values[:, None]
    if values.ndim == 2 and values.shape[1] == 1 and shape == (len(values),):
        return values[:, 0]
    if method == "decision_function" and values.ndim == 1 and shape == (len(values), 2):
        return np.stack([-values, values], axis=1)
    return None


def reorder_columns(leaf: Leaf, classes: Array | None) -> Leaf | str:
    """Bring the columns of a ZipMap output into the order of the classes; a string says what is wrong."""
    if leaf.keys is None or classes is None:
        return leaf
    place = {key: i for i, key in enumerate(leaf.keys.tolist())}
    wanted = [item if not isinstance(item, np.generic) else item.item() for item in classes.tolist()]
    if set(place) != set(wanted):
        return f"the keys are {sorted(place)}, the classes {wanted}"
    return Leaf(leaf.name, leaf.values[:, [place[key] for key in wanted]])


def dtype_problem(
    fw: np.dtype[Any], ox: np.dtype[Any], *, conventional: bool, label: bool, widest_float: np.dtype[Any] | None
) -> str:
    """Return what is wrong with the dtype of an ONNX output, or an empty string."""
    text = "text" if fw.kind in _TEXT else fw.name
    wrong = f"dtype {'text' if ox.kind in _TEXT else ox.name}, the framework gives {text}"
    if (fw.kind in _TEXT) != (ox.kind in _TEXT):
        return wrong
    if fw.kind in _TEXT:
        return ""
    if not conventional:
        return "" if fw == ox else wrong
    if is_float(fw):
        if is_float(ox):
            floor = min(fw.itemsize, widest_float.itemsize if widest_float is not None else 4)
            return "" if ox.itemsize >= floor else wrong
        return "" if label and ox.kind in _WHOLE else wrong
    if fw.kind in _WHOLE:
        return "" if ox.kind in _WHOLE or (is_float(ox) and not label) else wrong
    return "" if fw == ox else wrong


def pair_up(
    name: str,
    method: str,
    fw_leaves: Sequence[Array],
    ox_leaves: Sequence[Leaf],
    *,
    label: bool,
    conventional: bool,
    widest_float: np.dtype[Any] | None,
    classes: Sequence[Array | None],
) -> list[Pair]:
    """Pair the arrays of one bound result and check count, shape and dtype of each.

    Args:
        name: The ONNX output.
        method: The source on the framework's side.
        fw_leaves: The framework's arrays.
        ox_leaves: The arrays of ONNX.
        label: The result holds labels.
        conventional: Apply scikit-learn's conventions.
        widest_float: Widest floating input.
        classes: For each array, the labels of its columns or None.

    Returns:
        One pair for each array; a pair with a problem has nothing to compare.
    """
    leaves = split_stacked(list(ox_leaves), len(fw_leaves)) if conventional else list(ox_leaves)
    if len(leaves) != len(fw_leaves):
        empty = np.zeros(0)
        return [Pair(name, empty, empty, f"{len(leaves)} array(s), the framework gives {len(fw_leaves)}")]
    pairs = []
    for i, (fw, leaf) in enumerate(zip(fw_leaves, leaves, strict=True)):
        ordered = reorder_columns(leaf, classes[i] if i < len(classes) else None)
        if isinstance(ordered, str):
            pairs.append(Pair(leaf.name, fw, leaf.values, ordered))
            continue
        ox = ordered.values
        problem = dtype_problem(fw.dtype, ox.dtype, conventional=conventional, label=label, widest_float=widest_float)
        shaped = conform(fw, ox.shape, method) if conventional else (fw if fw.shape == ox.shape else None)
        if shaped is None:
            shape = f"shape {list(ox.shape)}, the framework gives {list(fw.shape)}"
            problem = f"{problem}; {shape}" if problem else shape
        note = "" if shaped is None or shaped.shape == fw.shape else f"{list(fw.shape)} compared as {list(ox.shape)}"
        pairs.append(Pair(leaf.name, fw if shaped is None else shaped, ox, problem, note))
    return pairs
