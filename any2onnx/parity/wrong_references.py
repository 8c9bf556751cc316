"""Where `onnx.reference` does not compute what the standard says: a second opinion that would be wrong is none.

One table. Each row was found by running the operator in `onnx.reference` and in onnxruntime with the attribute varied
(onnx 1.23), and by looking for arguments that the implementation never reads; a test runs a specimen of each row, so
that a row goes when the implementation is mended. Where a row applies the node is run in onnxruntime instead, its
values count as no independent ones, and a finding at that node has the cause ``unknown``; a few are computed here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

ML: Final = "ai.onnx.ml"
_USUAL: Final = {"GRU": (b"Sigmoid", b"Tanh"), "LSTM": (b"Sigmoid", b"Tanh", b"Tanh"), "RNN": (b"Tanh",)}


@dataclasses.dataclass(frozen=True)
class Given:
    """A node as the rows look at it.

    Attributes:
        node: The NodeProto.
        opset: Version of the node's domain.
        inputs: Values of its inputs, in order; None for an absent one.
    """

    node: Any
    opset: int
    inputs: Sequence[Any]

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return the value of an attribute, or the default."""
        from onnx import helper

        for item in self.node.attribute:
            if item.name == name:
                return helper.get_attribute_value(item)
        return default

    def has_input(self, position: int) -> bool:
        """Tell whether an input is there."""
        return position < len(self.node.input) and bool(self.node.input[position])

    def uses_output(self, position: int) -> bool:
        """Tell whether an output has a name."""
        return position < len(self.node.output) and bool(self.node.output[position])


@dataclasses.dataclass(frozen=True)
class WrongReference:
    """One row.

    Attributes:
        name: Of the row, for tests and messages: the operator and the feature.
        operators: Operators of the domain that it is about.
        domain: Empty for ai.onnx.
        reason: What the implementation does instead.
        applies: Tells whether a node has the feature.
        instead: Computes the results as the standard says, where that is a few lines; None leaves no second opinion.
    """

    name: str
    operators: tuple[str, ...]
    domain: str
    reason: str
    applies: Callable[[Given], bool]
    instead: Callable[[Given], list[Any]] | None = None


def _other_activations(given: Given) -> bool:
    named = tuple(name.lower() for name in given.attribute("activations", ()))
    usual = tuple(name.lower() for name in _USUAL[given.node.op_type])
    return bool(named) and named not in (usual, usual * 2)


def _size_is_rounded(given: Given) -> bool:
    """Tell whether the scales of a Resize ask for a size that is no whole number."""
    if not given.has_input(2) or len(given.inputs) < 3 or given.inputs[2] is None or given.inputs[0] is None:
        return False
    scales = np.asarray(given.inputs[2], np.float64)
    if not scales.size:
        return False
    axes = given.attribute("axes", list(range(len(scales))))
    sizes = np.asarray([np.asarray(given.inputs[0]).shape[axis] for axis in axes], np.float64) * scales
    # 0.1 as float32 asks for 10.000000149 of 100: that is meant to be whole.
    return bool((np.abs(sizes - np.round(sizes)) > 1e-4 * np.maximum(sizes, 1)).any())


def _always(given: Given) -> bool:
    return True


def _labels(given: Given) -> int:
    """Return the number of class labels."""
    names = ("classlabels_ints", "classlabels_strings", "classlabels_int64s")
    return max(len(given.attribute(name, ())) for name in names)


def _two_scores(given: Given) -> bool:
    """Tell whether a classifier makes two scores in another way than from shares of one class."""
    if _labels(given) > 2:
        return False
    weights = np.asarray(given.attribute("class_weights", ()), np.float64)
    shares = set(given.attribute("class_ids", ())) == {0} and weights.size and weights.min() >= 0
    plain = given.attribute("post_transform", b"NONE") == b"NONE" and not given.attribute("base_values", ())
    return not (_labels(given) == 2 and shares and plain)


# --- what a few lines compute ----------------------------------------------------------------------------------------


def _flat_softmax(given: Given) -> list[Any]:
    """Return Softmax, LogSoftmax or Hardmax over all axes from one on, as below opset 13."""
    x = np.asarray(given.inputs[0])
    axis = given.attribute("axis", 1) % x.ndim
    table = x.reshape(int(np.prod(x.shape[:axis])), -1)
    if given.node.op_type == "Hardmax":
        found = np.zeros_like(table)
        found[np.arange(len(table)), table.argmax(axis=1)] = 1
        return [found.reshape(x.shape)]
    shifted = table - table.max(axis=1, keepdims=True)
    sums = np.exp(shifted).sum(axis=1, keepdims=True)
    found = shifted - np.log(sums) if given.node.op_type == "LogSoftmax" else np.exp(shifted) / sums
    return [found.reshape(x.shape).astype(x.dtype)]


def _lrn(given: Given) -> list[Any]:
    x = np.asarray(given.inputs[0])
    size, channels = given.attribute("size"), x.shape[1]
    before, after = (size - 1) // 2, size // 2
    padded = np.pad(np.square(x), ((0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)))
    around = sum(padded[:, k : k + channels] for k in range(size))
    alpha, beta, bias = (given.attribute(*item) for item in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    return [(x / (bias + alpha / size * around) ** beta).astype(x.dtype)]


def _sum_of_magnitudes(given: Given) -> list[Any]:
    x = np.asarray(given.inputs[0])
    norm = np.abs(x).sum(axis=given.attribute("axis", -1), keepdims=True)
    return [np.divide(x, norm, out=np.zeros_like(x), where=norm != 0)]


_RECURRENT = ("GRU", "LSTM", "RNN")
TABLE: tuple[WrongReference, ...] = (
    WrongReference(
        "recurrent, lengths", _RECURRENT, "", "ignores the lengths of sequences", lambda given: given.has_input(4)
    ),
    WrongReference("recurrent, activations", _RECURRENT, "", "takes the usual activations", _other_activations),
    WrongReference(
        "recurrent, clip", _RECURRENT, "", "ignores clip", lambda given: given.attribute("clip") is not None
    ),
    WrongReference(
        "LSTM, input_forget", ("LSTM",), "", "ignores input_forget", lambda given: bool(given.attribute("input_forget"))
    ),
    WrongReference(
        "Softmax below opset 13",
        ("Hardmax", "LogSoftmax", "Softmax"),
        "",
        "works along one axis, where these opsets flatten all axes from it on",
        lambda given: given.opset < 13 and given.attribute("axis", 1) != -1,
        _flat_softmax,
    ),
    WrongReference("LRN", ("LRN",), "", "counts the channels by the size of the batch", _always, _lrn),
    WrongReference(
        "LpNormalization, p=1",
        ("LpNormalization",),
        "",
        "sums the numbers and not their magnitudes",
        lambda given: given.attribute("p", 2) == 1,
        _sum_of_magnitudes,
    ),
    WrongReference(
        "LpPool, ceil_mode",
        ("LpPool",),
        "",
        "is off in windows that reach over the edge",
        lambda given: bool(given.attribute("ceil_mode")),
    ),
    WrongReference(
        "MaxPool, indices", ("MaxPool",), "", "counts the indices otherwise", lambda given: given.uses_output(1)
    ),
    WrongReference(
        "MaxPool, SAME_LOWER",
        ("MaxPool",),
        "",
        "gives another size",
        lambda given: given.attribute("auto_pad", b"NOTSET") == b"SAME_LOWER",
    ),
    WrongReference("MaxUnpool", ("MaxUnpool",), "", "puts the values elsewhere", _always),
    WrongReference(
        "Resize, rounded sizes",
        ("Resize", "Upsample"),
        "",
        "and onnxruntime read the standard differently where scales give no whole size",
        _size_is_rounded,
    ),
    WrongReference(
        "GridSample, cubic at a border",
        ("GridSample",),
        "",
        "clips the coordinate before it takes the neighbours",
        lambda given: (
            given.attribute("mode", b"") in (b"cubic", b"bicubic") and given.attribute("padding_mode") == b"border"
        ),
    ),
    WrongReference(
        "StringSplit, maxsplit",
        ("StringSplit",),
        "",
        "counts other parts",
        lambda given: given.attribute("maxsplit") is not None,
    ),
    WrongReference(
        "LinearClassifier, one row of coefficients",
        ("LinearClassifier",),
        ML,
        "makes the scores of two classes from one in another way",
        lambda given: len(given.attribute("intercepts", (0,))) == 1,
    ),
    WrongReference(
        "classifiers, PROBIT",
        ("LinearClassifier", "TreeEnsembleClassifier"),
        ML,
        "transforms the scores before it chooses the label",
        lambda given: given.attribute("post_transform", b"NONE") == b"PROBIT",
    ),
    WrongReference(
        "TreeEnsembleClassifier, two classes",
        ("TreeEnsembleClassifier",),
        ML,
        "makes the scores of two classes in another way",
        _two_scores,
    ),
    WrongReference(
        "TreeEnsembleRegressor, least or largest leaf",
        ("TreeEnsembleRegressor",),
        ML,
        "starts from zero",
        lambda given: given.attribute("aggregate_function", b"SUM") in (b"MIN", b"MAX"),
    ),
    WrongReference(
        "TreeEnsemble, least or largest leaf",
        ("TreeEnsemble",),
        ML,
        "starts from zero",
        lambda given: given.attribute("aggregate_function", 1) in (2, 3),
    ),
    WrongReference(
        "TreeEnsemble, post_transform",
        ("TreeEnsemble",),
        ML,
        "ignores post_transform",
        lambda given: bool(given.attribute("post_transform", 0)),
    ),
    WrongReference("SVMClassifier", ("SVMClassifier",), ML, "gives other scores and probabilities", _always),
    WrongReference(
        "Normalizer, MAX",
        ("Normalizer",),
        ML,
        "divides by another number",
        lambda given: given.attribute("norm", b"MAX") == b"MAX",
    ),
)


def given_of(node: Any, opsets: Mapping[str, int], inputs: Sequence[Any] = ()) -> Given:
    """Return a node as the rows look at it.

    Args:
        node: The NodeProto.
        opsets: Version of each domain; ai.onnx under the empty name.
        inputs: Values of its inputs where they are known.
    """
    return Given(node, opsets.get("" if node.domain == "ai.onnx" else node.domain, 1), inputs)


def wrong_reference(given: Given) -> WrongReference | None:
    """Return the row that speaks against `onnx.reference` for a node, or None."""
    domain = "" if given.node.domain == "ai.onnx" else given.node.domain
    for row in TABLE:
        if row.domain == domain and given.node.op_type in row.operators and row.applies(given):
            return row
    return None
