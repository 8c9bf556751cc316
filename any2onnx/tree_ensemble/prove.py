"""Proof that the trees in a file decide as the source's trees do, node by node.

A test with random rows cannot see a threshold that is off by one ulp; this does. What it shows: every row of the type
that the file takes reaches the same leaf in every tree. What remains is how leaves are rounded and added, for which
it gives a bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from any2onnx.tree_ensemble.ir import Array, Mode, TreeEnsemble, ceil32, floor32
from any2onnx.tree_ensemble.members import member_columns
from any2onnx.tree_ensemble.read import Found, read_ensembles


@dataclass(frozen=True, slots=True)
class TreeProof:
    """Outcome of a proof.

    Attributes:
        walks: How often the file walks these trees (once for all outputs, or once for each).
        tests: Number of inner nodes compared, over all walks.
        decides_alike: Every row reaches the same leaves. False where `differences` says otherwise.
        leaves_alike: The leaves add what the source's do, exactly or rounded to float32, or so after a division by the
            number of trees or with the base moved elsewhere, as other converters write them; None where the file adds
            nothing, or something else that is computed from the leaves (labels, votes).
        leaf_error: Largest difference of a leaf's value.
        sum_bound: No sum differs by more from the exact sum of the source's leaves; None where `leaves_alike` is.
        differences: What was found, the first few of each kind.
        assumed: What the proof takes for granted.
    """

    walks: int
    tests: int
    decides_alike: bool
    leaves_alike: bool | None
    leaf_error: float
    sum_bound: float | None
    differences: tuple[str, ...]
    assumed: tuple[str, ...]

    def __str__(self) -> str:
        sums = ""
        if self.leaves_alike and self.sum_bound is not None:
            sums = f"; sums differ by at most {self.sum_bound:.3g}"
        if self.decides_alike:
            return f"{self.tests} tests decide alike for every row{sums}"
        others = [text for text in self.differences if not _about_missing(text)]
        if not others:
            return f"{self.tests} tests decide alike only for rows without missing values{sums}"
        return "; ".join(others)


_MISSING = "send missing values elsewhere"


def _about_missing(text: str) -> bool:
    return text.endswith(_MISSING)


def prove(source: TreeEnsemble, model: onnx.ModelProto, *, missing: bool = True) -> TreeProof:
    """Compare the trees of the source with those that are read back from a file.

    Args:
        source: The ensemble that the source stands for.
        model: The file.
        missing: Rows may have missing values; False where the source refuses them.

    Raises:
        MalformedFile: A tree operator's attributes do not describe trees.
    """
    source = source.folded().canonical()
    plain = member_columns(source)[0] if source.has_members else source
    found = read_ensembles(model)
    walks, tests, worst, bound = 0, 0, 0.0, 0.0
    alike: bool | None = None
    differences: list[str] = []
    assumed: list[str] = []
    for run in _runs(source, found):
        expanded = source.has_members and not any(f.ensemble.has_members for f in run)
        assumed += _assumed(source, run)
        walks += 1
        tests += int(np.count_nonzero(~source.is_leaf))
        found_here = _compare_decisions(plain if expanded else source, run)
        differences += [text for text in found_here if missing or not _about_missing(text)]
        if source.leaf_target is not None and any(f.tables for f in run):
            assumed.append("the file adds what it looks up to the right sums")
        values = _leaf_values(source, run)
        if values is None:
            continue
        got = values[1]
        wanted = _as_written(source, *values, run)
        off = _off(got, wanted) if wanted is values[0] else np.abs(got - wanted) > 2.0**-22 * np.abs(values[0]).max()
        off = np.any(off, axis=1)
        alike = not off.any() and alike is not False
        if off.any():
            differences.append(f"{_count(off)} leaves have another value")
        worst = max(worst, float(np.abs(got - wanted).max(initial=0.0)))
        bound = max(bound, _sum_bound(source, wanted, got, run))
    if not missing:
        assumed.append("no row has missing values: the estimator refuses them")
    if not walks:
        differences.append("the file has no walk over trees of these sizes")
    return TreeProof(
        walks=walks,
        tests=tests,
        decides_alike=not [d for d in differences if "leaves have" not in d],
        leaves_alike=alike,
        leaf_error=worst,
        sum_bound=None if alike is None else bound,
        differences=tuple(dict.fromkeys(differences)),
        assumed=tuple(dict.fromkeys(assumed)),
    )


def _off(got: Array, wanted: Array) -> Array:
    """Return which leaves are neither the source's nor, all of them, rounded to float32."""
    narrow = wanted.astype(np.float32)
    if np.array_equal(got, narrow) or np.array_equal(got, wanted):
        return np.zeros(got.shape, dtype=bool)
    off: Array = (got != wanted) & (got != narrow)
    return off


def _runs(source: TreeEnsemble, found: Sequence[Found]) -> Iterator[list[Found]]:
    """Yield the runs of operators that together have trees of the sizes of the source's."""
    sizes = np.diff(source.tree_start)
    first = 0
    while first < len(found):
        trees, last = 0, first
        while trees < len(sizes) and last < len(found):
            part = np.diff(found[last].ensemble.tree_start)
            if not np.array_equal(part, sizes[trees : trees + len(part)]):
                break
            trees += len(part)
            last += 1
        if trees == len(sizes):
            yield list(found[first:last])
            first = last
        else:
            first += 1


def _count(wrong: Array) -> int:
    return int(np.count_nonzero(wrong))


def _compare_decisions(source: TreeEnsemble, run: Sequence[Found]) -> list[str]:
    differences, first = [], 0
    for found in run:
        part = source.slice(first, first + found.ensemble.n_trees)
        first += part.n_trees
        differences += [f"{found.name}: {d}" for d in _compare_part(part, found)]
    return differences


def _compare_part(source: TreeEnsemble, found: Found) -> Iterator[str]:
    file = found.ensemble
    leaf = source.is_leaf
    for what, a, b in (
        ("children", source.true_child, file.true_child),
        ("children", source.false_child, file.false_child),
        ("columns", source.feature, file.feature),
        ("modes", source.mode, file.mode),
        (_MISSING, source.missing_true, file.missing_true),
    ):
        wrong = (a != b) if what == "children" else (a != b) & ~leaf
        if wrong.any():
            yield f"{_count(wrong)} nodes {what if what == _MISSING else f'have other {what}'}"
    yield from _compare_rows(source, found)
    narrow = source.compare == "float32" or found.rows == "float32"
    # Rows that are computed in the file: float32 thresholds are right for float32 rows, which is then assumed.
    narrow = narrow or (found.rows == "computed" and file.compare == "float32")
    yield from _compare_thresholds(source, file, narrow)
    yield from _compare_sets(source, file)


def _compare_rows(source: TreeEnsemble, found: Found) -> Iterator[str]:
    if source.compare == "float32" and found.rows == "float64":
        yield "rows are compared without being rounded to float32"
    if source.compare == "float64" and found.rows == "rounded":
        yield "rows are rounded to float32"


def _assumed(source: TreeEnsemble, run: Sequence[Found]) -> Iterator[str]:
    """Yield what the proof cannot see in the file."""
    if source.has_members and not any(f.ensemble.has_members for f in run):
        yield "the columns that stand for membership tests are computed right"
    if any(f.rows == "computed" for f in run) and any("float32" in (source.compare, f.ensemble.compare) for f in run):
        yield "the rows that the file computes are float32"


def _compare_thresholds(source: TreeEnsemble, file: TreeEnsemble, narrow: bool) -> Iterator[str]:
    tested = ~source.is_leaf & (source.mode != Mode.MEMBER)
    wanted, got = source.threshold[tested], file.threshold[tested]
    if narrow:
        # Only what float32 numbers can tell apart matters.
        up = np.isin(source.mode[tested], (Mode.LT, Mode.GTE))
        exact = np.isin(source.mode[tested], (Mode.EQ, Mode.NEQ))
        wrong = np.where(up, ceil32(wanted) != ceil32(got), floor32(wanted) != floor32(got))
        wrong = np.where(exact, wanted != got, wrong)
    else:
        wrong = wanted != got
    if wrong.any():
        at = np.flatnonzero(wrong)[:3]
        pairs = ", ".join(f"{wanted[k]!r} became {got[k]!r}" for k in at.tolist())
        yield f"{_count(wrong)} thresholds decide otherwise for some row: {pairs}"


def _compare_sets(source: TreeEnsemble, file: TreeEnsemble) -> Iterator[str]:
    if not source.has_members:
        return
    if not np.array_equal(_members_by_node(source), _members_by_node(file)):
        yield "the sets of membership tests differ"


def _members_by_node(e: TreeEnsemble) -> Array:
    """Return (number of the MEMBER node, member) pairs in order: [2, pairs]."""
    if e.set_of_node is None or e.set_start is None or e.set_values is None:
        return np.zeros((2, 0))
    sets = e.set_of_node[e.mode == Mode.MEMBER]
    sizes = np.diff(e.set_start)[sets]
    source = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes - e.set_start[sets], sizes)
    pairs = np.stack([np.repeat(np.arange(len(sets)), sizes), e.set_values[source]])
    return pairs[:, np.lexsort(pairs[::-1])]


def _leaf_values(source: TreeEnsemble, run: Sequence[Found]) -> tuple[Array, Array] | None:
    """Return what the leaves add by the source and by the file, [leaves, width] each, or None."""
    if any(f.numbers for f in run):
        tables = [_looked_up(f) for f in run]
        if any(t is None for t in tables) or len({t.shape[1] for t in tables if t is not None}) != 1:
            return None
        got = np.concatenate([t for t in tables if t is not None])
    else:
        pairs = [f.ensemble.scalar_leaves() for f in run]
        mine = source.scalar_leaves()
        if mine is not None and source.n_targets == run[0].ensemble.n_targets and all(p is not None for p in pairs):
            # A leaf that adds nothing may add it anywhere.
            value, target = (np.concatenate([p[k] for p in pairs if p is not None]) for k in (0, 1))
            same_target = (target == mine[1]) | (value == 0)
            return mine[0][:, None], np.where(same_target, value, np.inf)[:, None]
        got = np.concatenate([_wide(f.ensemble) for f in run])
    wanted = source.leaf_values if got.shape[1] == 1 else _wide(source)
    if got.shape[1] == 1 and wanted.shape[1] == 2:
        # Of two classes the second says it all.
        wanted = wanted[:, 1:]
    return (wanted, got) if wanted.shape == got.shape else None


def _as_written(source: TreeEnsemble, wanted: Array, got: Array, run: Sequence[Found]) -> Array:
    """Return the source's leaves as the file writes them, when it divides them by the number of trees, adds the base
    elsewhere, or both; else as they are.

    Every leaf must fit, and what is added to the trees of a sum must be what its base lacks.
    """
    if np.array_equal(got, wanted.astype(np.float32)) or np.array_equal(got, wanted) or not np.isfinite(got).all():
        return wanted
    start, targets = source.leaf_start[:-1], source.leaf_target
    size = np.abs(wanted).max(initial=0.0)
    sizes = np.diff(source.leaf_start)
    for scale in (1.0, 1 / source.n_trees):
        # The leaves, and the base if it went to them before, are rounded to float32.
        rounding = 4 * 2.0**-24 * max(size * scale, float(np.abs(got).max(initial=0.0)))
        apart = got - scale * wanted
        low, high = np.minimum.reduceat(apart, start), np.maximum.reduceat(apart, start)
        if (high - low > rounding).any():
            continue
        shift = np.where(np.abs(low + high) / 2 > rounding, (low + high) / 2, 0.0)
        if scale == 1 and not shift.any():
            # As any2onnx writes them: then every one must be the source's to the last bit.
            return wanted
        base = sum((f.ensemble.base for f in run if f.ensemble.base is not None), np.zeros(1))
        if targets is not None and got.shape[1] == 1:
            width = max(source.n_targets, len(base))
            total = np.bincount(targets[start], weights=shift[:, 0], minlength=width)
        else:
            total = shift.sum(axis=0)
        if (np.abs(total + base[-len(total) :]) <= 2 * rounding * max(source.n_trees, 1)).all():
            written: Array = scale * wanted + np.repeat(shift, sizes, axis=0)
            return written
    return wanted


def _looked_up(found: Found) -> Array | None:
    """Return the rows of the tables that belong to the leaves [leaves, width], or None."""
    numbers = found.ensemble.leaf_values[:, 0].astype(np.int64)
    tables = [t.reshape(len(t), -1) for t in found.tables if len(t) > numbers.max(initial=0)]
    return np.concatenate(tables, axis=1)[numbers] if tables else None


def _wide(e: TreeEnsemble) -> Array:
    if e.leaf_target is None:
        return e.leaf_values
    wide = np.zeros((len(e.leaf_values), e.n_targets))
    wide[np.arange(len(wide)), e.leaf_target] = e.leaf_values[:, 0]
    return wide


def _sum_bound(source: TreeEnsemble, wanted: Array, got: Array, run: Sequence[Found]) -> float:
    """Return the bound n·u·Σ max|leaf| of adding n leaves in turn, plus what rounding the leaves may add."""
    start = source.leaf_start[:-1]
    error = np.maximum.reduceat(np.abs(got - wanted).max(axis=1), start).sum()
    size = np.maximum.reduceat(np.abs(got).max(axis=1), start).sum()
    adds32 = any(f.ensemble.compare == "float32" and not f.numbers for f in run)
    whole = bool(np.array_equal(got, np.rint(got))) and size < 1 << 24
    unit = 0.0 if whole else 2.0**-24 if adds32 else 2.0**-53
    n = source.n_trees
    total = float(error + n * unit / (1 - n * unit) * size)
    if not whole and any(f.result32 and not f.numbers for f in run):
        total += float(2.0**-24 * len(run) * size)
    return total
