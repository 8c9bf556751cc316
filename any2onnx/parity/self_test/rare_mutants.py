"""Mistakes that show on few inputs only: large batches, one category, the last id, equal sizes, tiny numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.parity.self_test.sklearn_specimens import IMPUTER, LOGISTIC, MULTI_RIDGE, ONE_HOT, SKLEARN
from any2onnx.parity.self_test.specimen import Mutant, Specimen, Subject
from any2onnx.parity.self_test.torch_mutants import ELEMENTWISE, TORCH

_POSITIVE = """positive (float[batch, 3] x) => (float[batch, 3] variable) {
  above = Greater (x, zero)
  variable = Cast <to = 1> (above)
}"""


def _positive() -> Subject:
    from sklearn.preprocessing import Binarizer

    x = np.random.default_rng(0).standard_normal((60, 3)).astype(np.float32)
    return Subject(Binarizer(threshold=0.0).fit(x), _POSITIVE, {"zero": np.float32(0)}, x)


_TWO_HEADS = """two_heads (float[batch, 4] x) => (float[batch, 4] first, float[batch, 4] second) {
  first = Tanh (x)
  second = Sin (x)
}"""


def _two_heads() -> Subject:
    import torch

    class TwoHeads(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.tanh(x), torch.sin(x)

    return Subject(TwoHeads(), _TWO_HEADS)


_LINE_SUMS = """line_sums (float[batch, height, width] x) => (float[batch, lines] y) {
  y = ReduceSum <keepdims = 0> (x, two)
}"""


def _line_sums() -> Subject:
    import torch

    class LineSums(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.sum(dim=2)

    return Subject(LineSums(), _LINE_SUMS, {"one": np.array([1]), "two": np.array([2])})


_MANY_IDS = """many_ids (int64[batch, 2] ids) => (float[batch, 2, 3] y) {
  y = Gather <axis = 0> (table, ids)
}"""


def _many_ids() -> Subject:
    import torch

    torch.manual_seed(0)
    model = torch.nn.Embedding(5000, 3)
    return Subject(model, _MANY_IDS, {"table": model.weight.detach().numpy(), "zero": np.int64(0)})


_SQUARE_GATE = """square_gate (float[batch, 6] x) => (float[batch, 6] y) {
  shares = Softmax <axis = 1> (x)
  y = Mul (x, shares)
}"""


def _square_gate() -> Subject:
    import torch

    class SquareGate(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x * torch.softmax(x, dim=1)

    return Subject(SquareGate(), _SQUARE_GATE)


POSITIVE = Specimen("numbers above zero", SKLEARN, _positive)
TWO_HEADS = Specimen("two outputs of one shape", TORCH, _two_heads)
LINE_SUMS = Specimen("sums of lines", TORCH, _line_sums)
MANY_IDS = Specimen("embedding of 5000 ids", TORCH, _many_ids)
SQUARE_GATE = Specimen("gate by softmax", TORCH, _square_gate)

_ROWS = "size = Shape <start = 0, end = 1> (x)"


def _instead(old: str, *lines: str) -> tuple[tuple[str, str], ...]:
    """Return the edit that puts several lines of a graph in the place of one."""
    return ((old, "\n  ".join(lines)),)


MUTANTS = (
    Mutant(
        "wrong beyond a thousand rows",
        LOGISTIC,
        "shape",
        _instead(
            "scores = Add (product, intercept)",
            _ROWS,
            "limit = Constant <value = int64[1] {1000}> ()",
            "many = Greater (size, limit)",
            "squares = Mul (product, product)",
            "chosen = Where (many, squares, product)",
            "scores = Add (chosen, intercept)",
        ),
    ),
    Mutant("one category in another normal form", ONE_HOT, "categorical", (("Zürich", "Zu\u0308rich"),)),
    Mutant(
        "subnormal numbers become zero",
        POSITIVE,
        "boundary",
        _instead(
            "above = Greater (x, zero)",
            "least = Constant <value = float[1] {1.1754944e-38}> ()",
            "size = Abs (x)",
            "small = Less (size, least)",
            "flushed = Where (small, zero, x)",
            "above = Greater (flushed, zero)",
        ),
    ),
    Mutant(
        "outputs of equal shape swapped",
        TWO_HEADS,
        "typical",
        (("first = Tanh", "new = Tanh"), ("second = Sin", "first = Sin"), ("new = Tanh", "second = Tanh")),
    ),
    Mutant(
        "a row for an empty batch",
        MULTI_RIDGE,
        "shape",
        _instead(
            "variable = Cast <to = 1> (shifted)",
            _ROWS,
            "one = Constant <value = int64[1] {1}> ()",
            "none = Constant <value = int64[1] {0}> ()",
            "left = Sub (one, size)",
            "missing = Max (left, none)",
            "pads = Concat <axis = 0> (none, none, missing, none)",
            "padded = Pad (shifted, pads)",
            "variable = Cast <to = 1> (padded)",
        ),
    ),
    Mutant(
        "axis told by its size",
        LINE_SUMS,
        "shape",
        _instead(
            "y = ReduceSum <keepdims = 0> (x, two)",
            "high = Shape <start = 1, end = 2> (x)",
            "wide = Shape <start = 2, end = 3> (x)",
            "square = Equal (high, wide)",
            "axis = Where (square, one, two)",
            "y = ReduceSum <keepdims = 0> (x, axis)",
        ),
    ),
    Mutant(
        "axis of the batch in a square table",
        SQUARE_GATE,
        "shape",
        _instead(
            "shares = Softmax <axis = 1> (x)",
            "high = Shape <start = 0, end = 1> (x)",
            "wide = Shape <start = 1, end = 2> (x)",
            "square = Equal (high, wide)",
            "right = Softmax <axis = 1> (x)",
            "wrong = Softmax <axis = 0> (x)",
            "shares = Where (square, wrong, right)",
        ),
    ),
    Mutant(
        "last id takes the one before",
        MANY_IDS,
        "boundary",
        _instead(
            "y = Gather <axis = 0> (table, ids)",
            "most = Constant <value = int64[1] {4998}> ()",
            "known = Min (ids, most)",
            "y = Gather <axis = 0> (table, known)",
        ),
    ),
    Mutant(
        "float16 in a rare branch",
        MULTI_RIDGE,
        "scaled",
        _instead(
            "wide = Cast <to = 11> (x)",
            "limit = Constant <value = float[1] {50.0}> ()",
            "large = Greater (x, limit)",
            "half = Cast <to = 10> (x)",
            "back = Cast <to = 1> (half)",
            "mixed = Where (large, back, x)",
            "wide = Cast <to = 11> (mixed)",
        ),
    ),
    Mutant(
        "noise of a seeded generator",
        MULTI_RIDGE,
        "determinism",
        _instead(
            "shifted = Add (product, intercept)",
            "noise = RandomNormalLike <dtype = 11, scale = 0.01, seed = 7.0> (product)",
            "loud = Add (product, noise)",
            "shifted = Add (loud, intercept)",
        ),
    ),
    Mutant(
        "odd batches wrong",
        MULTI_RIDGE,
        "shape",
        _instead(
            "shifted = Add (product, intercept)",
            _ROWS,
            "two = Constant <value = int64[1] {2}> ()",
            "rest = Mod (size, two)",
            "odd = Cast <to = 11> (rest)",
            "moved = Add (product, odd)",
            "shifted = Add (moved, intercept)",
        ),
    ),
    Mutant(
        "negative zero loses its sign",
        ELEMENTWISE,
        "boundary",
        _instead("inverse = Div (one, x)", "plain = Add (x, zero)", "inverse = Div (one, plain)"),
    ),
    Mutant(
        "missing values of the last column left in",
        IMPUTER,
        "special",
        _instead(
            "missing = IsNaN (x)",
            "columns = Constant <value = bool[1, 3] {1, 1, 0}> ()",
            "absent = IsNaN (x)",
            "missing = And (absent, columns)",
        ),
    ),
)
