"""Suites for tables: rows on thresholds and edges, every category, unseen ones, odd documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity.boundaries import edge_values, fitted_positions, fitted_width, slots, threshold_rows
from any2onnx.parity.cases import Case, Skip
from any2onnx.parity.radius import radius_rows
from any2onnx.parity.ulp import Array, neighbours

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from any2onnx.parity.signature import Feeds
    from any2onnx.parity.suites import Plan

UNSEEN_TEXT = "an unseen category"
DOCUMENTS = (
    "",
    " ",
    "a",
    "an unseen document",
    "ÄÖÜ ß é 漢字",
    "e\u0301 decomposed, \u00e9 composed",
    "tab\tnewline\nno\u00a0break",
    "under_score hy-phen apos'trophe 3.14 1,000",
    "UPPER lower MiXed",
    "\U0001f600 emoji",
)


def special_numbers(dtype: np.dtype[Any]) -> Array:
    """Return the finite numbers where implementations differ: zeros, tiny ones, halves, powers of two ± 1 ulp."""
    if dtype.name == "bfloat16":
        import ml_dtypes

        info: Any = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    else:
        info = np.finfo(dtype)
    tiny, eps, least = float(info.smallest_normal), float(info.eps), float(info.smallest_subnormal)
    plain = np.array([0.0, -0.0, tiny, -tiny, least, -least, eps, -eps, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5], dtype=dtype)
    powers = np.array([2.0**-10, -(2.0**-3), 1.0, -1.0, 2.0, 8.0, -8.0, 2.0**10], dtype=dtype)
    down, up = neighbours(powers)
    return np.concatenate([plain, powers, down, up])


def boundaries(plan: Plan) -> Iterator[Case | Skip]:
    """Yield rows on thresholds, edges and the numbers where implementations differ."""
    places = slots(plan.signature)
    floats = [at for at, (owner, _) in enumerate(places) if plan.signature.inputs[owner].is_float]
    if floats:
        yield _numbers_case(plan, places, floats)
        rows = _threshold_case(plan, places)
        if rows is not None:
            yield rows
        edges = _edge_case(plan, places, floats)
        if edges is not None:
            yield edges
        yield from _radius_cases(plan, places)


def _put(plan: Plan, feeds: Feeds, place: tuple[int, int], rows: Any, values: Any) -> None:
    """Write values into one column of the feeds."""
    spec = plan.signature.inputs[place[0]]
    array = feeds[spec.name]
    if array.ndim == 1:
        array[rows] = values
    else:
        array[rows, place[1]] = values


def _numbers_case(plan: Plan, places: Sequence[tuple[int, int]], floats: Sequence[int]) -> Case:
    rng = plan.rng("boundary", "numbers")
    first = plan.signature.inputs[places[floats[0]][0]]
    count = len(special_numbers(first.dtype))
    feeds = plan.draw(rng, 2 * count)
    chosen = rng.integers(0, len(floats), count)
    for i, at in enumerate(floats):
        numbers = special_numbers(plan.signature.inputs[places[at][0]].dtype)
        _put(plan, feeds, places[at], np.arange(count), numbers)
        single = np.flatnonzero(chosen == i)
        _put(plan, feeds, places[at], count + single, numbers[single])
    return Case("boundary", "numbers", feeds, 2 * count, at_jumps=True, may_reject=True)


def _table(plan: Plan, places: Sequence[tuple[int, int]], rng: np.random.Generator) -> Array | None:
    """Return typical rows as one table, as the estimator was fitted; None where the columns have several dtypes."""
    specs = [plan.signature.inputs[owner] for owner, _ in places]
    if not all(spec.is_float for spec in specs) or len({spec.dtype for spec in specs}) != 1:
        return None
    feeds = plan.draw(rng, 256)
    rows = np.hstack([feeds[spec.name].reshape(256, -1) for spec in plan.signature.inputs])
    positions = fitted_positions(plan.model, plan.signature)
    table = np.zeros((256, fitted_width(plan.model, positions)), rows.dtype)
    table[:, positions] = rows
    return table


def _radius_cases(plan: Plan, places: Sequence[tuple[int, int]]) -> Iterator[Case]:
    rng = plan.rng("boundary", "radius")
    base = _table(plan, places, rng)
    if base is None:
        return
    jumping, fading = radius_rows(plan.model, base, rng)
    for name, rows, strict in (("radius", jumping, True), ("edge of a kernel", fading, False)):
        if len(rows):
            feeds = _from_table(plan, rows)
            yield Case("boundary", name, feeds, len(rows), at_thresholds=strict, may_reject=True)


def _threshold_case(plan: Plan, places: Sequence[tuple[int, int]]) -> Case | None:
    rng = plan.rng("boundary", "thresholds")
    base = _table(plan, places, rng)
    if base is None:
        return None
    rows = threshold_rows(plan.model, base, rng)
    if not len(rows):
        return None
    return Case("boundary", "thresholds", _from_table(plan, rows), len(rows), at_thresholds=True, may_reject=True)


def _from_table(plan: Plan, rows: Array) -> Feeds:
    feeds: Feeds = {}
    rows = rows[:, fitted_positions(plan.model, plan.signature)]
    at = 0
    for spec in plan.signature.inputs:
        shape = plan.shape(spec, len(rows))
        width = shape[1] if len(shape) > 1 else 1
        feeds[spec.name] = np.ascontiguousarray(rows[:, at : at + width]).reshape(shape)
        at += width
    return feeds


def _edge_case(plan: Plan, places: Sequence[tuple[int, int]], floats: Sequence[int]) -> Case | None:
    rng = plan.rng("boundary", "edges")
    positions = fitted_positions(plan.model, plan.signature)
    by_position = edge_values(plan.model, fitted_width(plan.model, positions))
    edges = [by_position[at] for at in positions]
    picked = [(at, value) for at in floats for value in _thin(edges[at], 64)][:512]
    if not picked:
        return None
    feeds = plan.draw(rng, 3 * len(picked))
    for i, (at, value) in enumerate(picked):
        with np.errstate(over="ignore"):
            number = np.asarray([value]).astype(plan.signature.inputs[places[at][0]].dtype)
        down, up = neighbours(number)
        _put(plan, feeds, places[at], np.arange(3 * i, 3 * i + 3), np.concatenate([down, number, up]))
    return Case("boundary", "edges", feeds, 3 * len(picked), at_thresholds=True, may_reject=True)


def _thin(values: Array, limit: int) -> Array:
    return values[:: max(1, -(-len(values) // limit))]


def categorical(plan: Plan) -> Iterator[Case | Skip]:
    """Yield every known category in every column, then unseen ones, which the framework may refuse."""
    known: list[tuple[int, Any]] = []
    unseen: list[tuple[int, Any]] = []
    places = slots(plan.signature) if plan.framework == "scikit-learn" else []
    for at, (owner, column) in enumerate(places):
        spec = plan.signature.inputs[owner]
        labels = spec.categories[column] if column < len(spec.categories) else None
        if spec.text or labels is None or not len(labels):
            continue
        if spec.dtype.kind == "O":
            known += [(at, str(label)) for label in _thin(labels, 64) if isinstance(label, str)]
            unseen += [(at, text) for text in (UNSEEN_TEXT, "", "é漢")]
        elif labels.dtype.kind in "iufb":
            finite = labels[np.isfinite(labels)] if labels.dtype.kind == "f" else labels
            known += [(at, label) for label in _thin(finite, 64)]
            if len(finite):
                unseen += [(at, finite.max() + 1), (at, finite.min() - 1)]
    for name, picked, may_reject in (("categories", known, False), ("unseen categories", unseen, True)):
        if picked:
            yield _placed(plan, places, "categorical", name, picked, may_reject=may_reject)


def text(plan: Plan) -> Iterator[Case | Skip]:
    """Yield documents at the edges of what tokenizers do: empty, blanks, one letter, other scripts, odd spaces."""
    if plan.framework != "scikit-learn":
        yield from _tensor_text(plan)
        return
    places = slots(plan.signature)
    picked = [
        (at, document)
        for at, (owner, _) in enumerate(places)
        if plan.signature.inputs[owner].text
        for document in (*DOCUMENTS, *_word_edges(plan, owner))
    ]
    if picked:
        yield _placed(plan, places, "text", "documents", picked, may_reject=True)


def _word_edges(plan: Plan, owner: int) -> list[str]:
    """Return known words at token boundaries: between punctuation, doubled, joined, in capitals."""
    known = plan.signature.inputs[owner].categories
    words = [str(word) for word in _thin(known[0], 4)] if known and known[0] is not None else []
    forms = ("{0}", "{0} {0}", "({0}),{0}!", "{0}_{0}", "{0}-{0}", "x{0}", "\t{0}\n", "{1}")
    return [form.format(word, word.upper()) for word in words for form in forms]


def _tensor_text(plan: Plan) -> Iterator[Case | Skip]:
    """Yield odd strings in every string input of a tensor model."""
    inputs = [spec for spec in plan.signature.inputs if spec.dtype.kind == "O"]
    if not inputs:
        return
    rows = len(DOCUMENTS) if plan.signature.batch_symbol is not None else plan.typical_rows if plan.batched else 1
    feeds = plan.draw(plan.rng("text", "documents"), rows)
    for spec in inputs:
        table = feeds[spec.name].reshape(-1)
        chosen = np.arange(table.size) % len(DOCUMENTS)
        table[...] = np.asarray(DOCUMENTS, dtype=object)[chosen]
        feeds[spec.name] = table.reshape(feeds[spec.name].shape)
    yield Case("text", "documents", feeds, rows, may_reject=True)


def _placed(
    plan: Plan,
    places: Sequence[tuple[int, int]],
    suite: str,
    name: str,
    picked: Sequence[tuple[int, Any]],
    *,
    may_reject: bool,
) -> Case:
    """Return typical rows with one chosen value in each."""
    feeds = plan.draw(plan.rng(suite, name), len(picked))
    for i, (at, value) in enumerate(picked):
        _put(plan, feeds, places[at], i, value)
    return Case(suite, name, feeds, len(picked), may_reject=may_reject)
