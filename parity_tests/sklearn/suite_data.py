"""The data sets of the generated suite: what scikit-learn ships, texts, missing values, label sets, images.

Rows for inference are some of the training rows, shifted copies of some, and a few far outside.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import datasets

NAMES = np.array(["setosa", "versicolor", "virgínica"])
TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Ça va? L'été sera très chaud à Málaga – 35 °C!",
    "naïve café NAÏVE Café naïve",
    "Straße und STRASSE, Ärger & Öl; İstanbul ıssız",
    "αβγ ΑΒΓ Σίσυφος ΟΔΟΣ, Ὀδυσσεύς",
    "Привет мир! Мир, труд, май",
    "日本語のテキスト と 英語 words",
    "don't can't e-mail x_y 3.14 1,000 a b c",
    "tabs\tand\nnew  lines   and   blanks ",
    "",
    "!!! ??? ...",
    "the the the THE dog dog",
)


@dataclass(frozen=True)
class Data:
    """What an estimator is fitted with, and the rows that it is asked about.

    Attributes:
        X: Training rows: array, sparse matrix, frame, or list of texts.
        y: Targets, or None.
        rows: Rows for inference.
        floats: The rows are numbers, to be given as float32 and as float64.
    """

    X: Any
    y: Any
    rows: Any
    floats: bool = True


def _asked(X: np.ndarray, seed: int = 0, *, outside: bool = True, positive: bool = False) -> np.ndarray:
    """Return training rows, rows beside them, and rows far away."""
    rng = np.random.default_rng(seed)
    spread = X.std(axis=0) + 1e-3
    beside = X[1::5] + rng.normal(0, 0.1, X[1::5].shape) * spread
    parts = [X[::9], beside]
    if outside:
        parts += [X.mean(axis=0, keepdims=True) + 4 * spread, X.mean(axis=0, keepdims=True) - 4 * spread]
    rows = np.concatenate(parts)
    # Numbers that float32 holds, so that both element types ask the same.
    return np.asarray(np.abs(rows) if positive else rows, np.float32).astype(np.float64)


def _numeric(name: str) -> tuple[np.ndarray, np.ndarray]:
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    rng = np.random.default_rng(1)
    order = rng.permutation(len(X))[:150]
    return X[order], y[order]


def _with_holes(X: np.ndarray) -> np.ndarray:
    holed = X.copy()
    holed[np.random.default_rng(3).random(X.shape) < 0.12] = np.nan
    holed[0] = X[0]
    return holed


@functools.cache
def data(name: str) -> Data:
    """Return a data set by name."""
    return _BUILDERS[name]()


def _classes(name: str, labels: Any = None, **more: Any) -> Data:
    X, y = _numeric(name)
    return Data(X, y if labels is None else labels(y), _asked(X, **more))


def _several(kind: str) -> Data:
    """Return iris with three targets: class labels, bits, or numbers."""
    X, y = _numeric("iris")
    if kind == "bits":
        targets = np.stack([y == 0, y > 0, X[:, 0] > 5.8], axis=1).astype(int)
    elif kind == "labels":
        targets = np.stack([y, (X[:, 0] > 5.8).astype(int) * 3 - 1], axis=1)
    else:
        targets = np.stack([X[:, 3] * 2 - X[:, 0], y - X[:, 1]], axis=1)
        return Data(X[:, :3], targets, _asked(X[:, :3]))
    return Data(X, targets, _asked(X))


def _linnerud() -> Data:
    X, y = datasets.load_linnerud(return_X_y=True)
    rows = np.asarray(np.concatenate([X[::2], X[::2] * 1.1]), np.float64)
    return Data(X, y, rows)


def _digits() -> Data:
    X, y = datasets.load_digits(return_X_y=True)
    return Data(X[:160], y[:160], X[160:190])


def _offset(name: str) -> Data:
    """Return columns of large means and small spread, of which differences lose digits."""
    X, y = _numeric(name)
    X = (X[:, :4] / X[:, :4].std(axis=0) + np.array([1e4, -3e3, 1e3, 2e4])).astype(np.float32).astype(np.float64)
    return Data(X, y, _asked(X))


def _few_known() -> Data:
    X, y = _numeric("iris")
    known = np.where(np.random.default_rng(2).random(len(y)) < 0.5, y, -1)
    return Data(X, known, _asked(X))


def _wide() -> Data:
    """Return thirty columns and few rows, sparse at fitting."""
    from scipy import sparse

    X, y = _numeric("breast_cancer")
    X = np.where(np.median(X, axis=0) < X, np.round(X, 1), 0.0)
    return Data(sparse.csr_matrix(X), y, _asked(X, outside=False))


def _holes(target: str) -> Data:
    X, y = _numeric("iris" if target == "classes" else "diabetes")
    X = X[:, :5]
    holed = _with_holes(X)
    rows = _with_holes(_asked(X))
    rows[1] = np.nan
    return Data(holed, y, rows)


def _sentinels() -> Data:
    """Return whole numbers with -1 for a missing one."""
    X = np.round(_numeric("iris")[0] * 10)
    holed = np.where(np.random.default_rng(3).random(X.shape) < 0.1, -1.0, X)
    return Data(holed, None, holed[::4])


def _texts() -> Data:
    texts = list(TEXTS) * 2
    y = np.arange(len(texts)) % 2
    return Data(texts, y, np.array([*TEXTS, "unseen words only", "fox-dog été"], dtype=object), floats=False)


def _counts() -> Data:
    rng = np.random.default_rng(5)
    X = rng.poisson(1.2, (60, 12)).astype(np.float64)
    rows = np.concatenate([X[::3], np.zeros((1, 12)), rng.poisson(3.0, (5, 12))]).astype(np.float64)
    return Data(X, np.arange(60) % 3, rows)


def _categories() -> Data:
    rng = np.random.default_rng(6)
    cities = np.array(["Zürich", "Oslo", "Łódź", "a b", ""], dtype=object)
    X = np.stack([rng.choice(cities, 80, p=[0.4, 0.3, 0.15, 0.1, 0.05]), rng.choice(["x", "y"], 80)], axis=1)
    X = X.astype(object)
    y = rng.normal(size=80) + (X[:, 0] == "Oslo")
    return Data(X, y, X[::3], floats=False)


def _classified(count: int) -> Data:
    """Return the categories with a target of so many classes."""
    given = _categories()
    names = np.array(["nein", "ja", "weiß nicht"], dtype=object)[:count]
    return Data(given.X, names[np.searchsorted(np.linspace(-1, 1, count)[:-1], given.y)], given.rows, floats=False)


def _unseen() -> Data:
    known = _categories()
    rows = known.rows.copy()
    rows[2, 0] = "Ähnlich"
    rows[3, 1] = "never"
    return Data(known.X, known.y, rows, floats=False)


def _codes() -> Data:
    """Return whole numbers as categories."""
    rng = np.random.default_rng(7)
    X = rng.integers(0, 5, (90, 3)).astype(np.float64)
    X[:5] = np.arange(5)[:, None]
    return Data(X, (X[:, 0] + X[:, 1]) % 3, X[::4])


def _frame() -> Data:
    """Return a frame of text and numbers with holes."""
    import pandas as pd

    rng = np.random.default_rng(0)
    n = 120
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, n).astype(np.float64),
            "fare": rng.gamma(2, 20, n),
            "sex": rng.choice(["male", "female"], n),
            "port": rng.choice(["S", "C", "Q", "Ünü"], n, p=[0.6, 0.2, 0.15, 0.05]),
            "sibs": rng.integers(0, 5, n),
        }
    )
    frame.loc[frame.index % 7 == 0, "age"] = np.nan
    return Data(frame, (frame["fare"] > 35).to_numpy().astype(int), frame.iloc[::4], floats=False)


def _empty_column() -> Data:
    given = _holes("classes")
    X, rows = given.X.copy(), given.rows.copy()
    X[:, 1] = rows[:, 1] = np.nan
    return Data(X, given.y, rows)


def _images() -> Data:
    X = np.kron(datasets.load_digits().images[:9], np.ones((3, 3)))
    return Data(X, None, X[::2])


def _label_sets() -> Data:
    sets = np.array([["a", "b"], ["b", "ç"], ["a", "a"], ["日", "b"]], dtype=object)
    return Data(sets, None, sets, floats=False)


def _labels(values: Any) -> Data:
    array = np.array(values, dtype=object if isinstance(values[0], str) else None)
    return Data(array, None, array[::-1].copy(), floats=False)


def _square() -> Data:
    """Return a kernel matrix against the training rows."""
    X, y = _numeric("iris")
    X = X / 5
    return Data(X @ X.T, y, _asked(X) @ X.T)


def _distances() -> Data:
    """Return distances to the training rows."""
    X, y = _numeric("iris")
    rows, known = (np.sqrt(((a[:, None] - X[None]) ** 2).sum(axis=2)) for a in (_asked(X, outside=False), X))
    return Data(known, y, rows.astype(np.float32).astype(np.float64))


def _flags() -> Data:
    """Return bits in many columns, for the metrics that count them."""
    rng = np.random.default_rng(8)
    X = (rng.random((60, 33)) < 0.4).astype(np.float64)
    return Data(X, np.arange(60) % 3, (rng.random((20, 33)) < 0.5).astype(np.float64))


def _angles() -> Data:
    """Return latitudes and longitudes in radians."""
    rng = np.random.default_rng(9)
    X = rng.uniform([-1.5, -3.1], [1.5, 3.1], (60, 2)).astype(np.float32).astype(np.float64)
    rows = rng.uniform([-1.5, -3.1], [1.5, 3.1], (20, 2)).astype(np.float32).astype(np.float64)
    return Data(X, np.arange(60) % 3, rows)


def _known_rows() -> Data:
    """Return rows of which none is outside the range of the training rows."""
    X = _numeric("iris")[0].astype(np.float32).astype(np.float64)
    return Data(X, None, X[::3])


def _inside() -> Data:
    column = _one_column()
    return Data(column.X, column.y, column.rows[:-2])


def _positive_regression() -> Data:
    X, y = _numeric("diabetes")
    return Data(X * 10, y / 50, _asked(X * 10))


def _untied(name: str) -> Data:
    """Return data of which no two numbers are equal, so that no two distances are."""
    X, y = _numeric(name)
    X = X + np.random.default_rng(4).normal(0, 0.02, X.shape) * X.std(axis=0)
    X = X[:, :4].astype(np.float32).astype(np.float64)
    X = X * 10 if name == "diabetes" else X
    return Data(X, y, _asked(X))


def _one_column() -> Data:
    X, y = _numeric("diabetes")
    return Data(X[:, 2], y, np.asarray(np.concatenate([X[::6, 2], [-0.5, 0.5]]), np.float32).astype(np.float64))


def _regression(columns: slice = slice(None)) -> Data:
    X, y = _numeric("diabetes")
    return Data(X[:, columns] * 10, y, _asked(X[:, columns] * 10))


def _positive() -> Data:
    X, y = _numeric("iris")
    return Data(X, y, _asked(X, outside=False, positive=True))


_BUILDERS = {
    "iris": lambda: _classes("iris"),
    "iris_names": lambda: _classes("iris", lambda y: NAMES[y]),
    "iris_bool": lambda: _classes("iris", lambda y: y > 0),
    "iris_two": lambda: _classes("iris", lambda y: np.array(["nein", "ja"])[(y > 0).astype(int)]),
    "iris_floats": lambda: _classes("iris", lambda y: y * 1.0 - 1.0),
    "wine": lambda: _classes("wine"),
    "cancer": lambda: _classes("breast_cancer"),
    "digits": _digits,
    "diabetes": _regression,
    "few": lambda: _regression(slice(0, 3)),
    "positive": _positive,
    "positive_regression": _positive_regression,
    "bits": lambda: _several("bits"),
    "labels": lambda: _several("labels"),
    "targets": lambda: _several("targets"),
    "known_rows": _known_rows,
    "offset": lambda: _offset("iris"),
    "offset_regression": lambda: _offset("diabetes"),
    "untied": lambda: _untied("iris"),
    "untied_regression": lambda: _untied("diabetes"),
    "linnerud": _linnerud,
    "few_known": _few_known,
    "sparse": _wide,
    "holes": lambda: _holes("classes"),
    "holes_regression": lambda: _holes("numbers"),
    "sentinels": _sentinels,
    "empty_column": _empty_column,
    "bit_targets": lambda: _labels(_several("bits").y.tolist()),
    "texts": _texts,
    "counts": _counts,
    "categories": _categories,
    "unseen": _unseen,
    "categories_two": lambda: _classified(2),
    "categories_three": lambda: _classified(3),
    "codes": _codes,
    "frame": _frame,
    "images": _images,
    "label_sets": _label_sets,
    "class_names": lambda: _labels(["b", "a", "ç", "b"]),
    "class_numbers": lambda: _labels([3, 1, 7, 3]),
    "square": _square,
    "flags": _flags,
    "angles": _angles,
    "column_inside": _inside,
    "distances": _distances,
    "column": _one_column,
}
