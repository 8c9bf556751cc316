"""CatBoost's categorical features as columns of numbers: codes for one-hot tests, and target statistics (CTRs).

A model keeps hashes of the categories, not their names. Where the user says which categories there are, the hashes tell
which is which, and whether one that the model knows is missing. A statistic then is a table over the categories.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from any2onnx.errors import MalformedFile, UnsupportedParameter, UsageError
from any2onnx.tree_ensemble.ir import Array
from any2onnx.tree_ensemble.sources.city_hash import city_hash64

_COMBINE: Final = np.uint64(0x4906BA494954CB65)
_EMPTY: Final = np.uint64((1 << 64) - 1)
MAX_TABLE: Final = 1 << 22
"""Entries of a statistic's table, over all combinations of its categories."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """A CTR: a number for each combination of categories.

    Attributes:
        features: Categorical features, by their position among these.
        tests: (column, border) of tests of numbers that belong to the combination.
        matches: (categorical feature, code) of tests for one category.
        table: float32, over the codes of `features` (one more for unknown ones), then 2 for each test and match.
    """

    features: tuple[int, ...]
    tests: tuple[tuple[int, float], ...]
    matches: tuple[tuple[int, int], ...]
    table: Array


@dataclass(frozen=True, slots=True)
class Categories:
    """What stands in the columns of an ensemble with categorical features.

    Attributes:
        floats: Columns of the rows that hold numbers: the first columns of the ensemble.
        columns: Columns of the rows that hold categories.
        values: The categories of each, in the order of their codes; none for a column that no tree tests.
        one_hot: Features whose codes are the next columns of the ensemble.
        statistics: The last columns.
    """

    floats: tuple[int, ...]
    columns: tuple[int, ...]
    values: tuple[Array, ...]
    one_hot: tuple[int, ...]
    statistics: tuple[Statistic, ...]


# --- hashes -----------------------------------------------------------------------------------------------------------


def category_hash(value: Any) -> int:
    """Return CatBoost's hash of a category: the lower half of CityHash64 of its text, as int32."""
    half = city_hash64(str(value).encode()) & 0xFFFFFFFF
    return half - (1 << 32) if half >> 31 else half


def _combined(known: Array, more: Array) -> Array:
    """Return the hashes of combinations with one more part."""
    with np.errstate(over="ignore"):
        result: Array = _COMBINE * (known + _COMBINE * more)
    return result


# --- what the user says -----------------------------------------------------------------------------------------------


def read_categories(
    content: Mapping[str, Any], given: Mapping[Any, Iterable[Any]] | None
) -> tuple[Categories, list[Array]] | None:
    """Return the columns of a model with categorical features, and the hashes of the categories.

    Args:
        content: The model in CatBoost's JSON form.
        given: Categories by column, named or counted.

    Returns:
        None where the model has no categorical features.

    Raises:
        UnsupportedParameter: The categories are not given, or not all that the model knows.
        UsageError: They are given for other columns.
    """
    information = content["features_info"]
    features = sorted(information.get("categorical_features", ()), key=lambda f: int(f["feature_index"]))
    if not features:
        return None
    names = [str(f.get("feature_id") or f["flat_feature_index"]) for f in features]
    wanted = {str(key): value for key, value in (given or {}).items()}
    values = []
    for f, name in zip(features, names, strict=True):
        found = wanted.pop(name, None)
        found = wanted.pop(str(f["flat_feature_index"]), None) if found is None else found
        values.append(found)
    if wanted:
        raise UsageError(f"categories are given for {', '.join(wanted)}", needs=f"columns among {', '.join(names)}")
    one_hot = [k for k, f in enumerate(features) if len(f.get("values", ()))]
    parts = [part for ctr in information.get("ctrs", ()) for part in ctr["elements"]]
    used = {*one_hot, *(int(part["cat_feature_index"]) for part in parts if "cat_feature_index" in part)}
    # A feature that no tree tests does not matter.
    missing = [names[k] for k, found in enumerate(values) if found is None and k in used]
    if missing:
        raise UnsupportedParameter(
            f"CatBoost keeps hashes in place of the values of its categorical features: {', '.join(missing[:5])}",
            needs="the categories of each",
            remedy=f'options={{type(model): {{"categories": {{{missing[0]!r}: frame[{missing[0]!r}].unique()}}}}}}',
        )
    arrays = [_distinct(found if found is not None and k in used else ()) for k, found in enumerate(values)]
    hashes = [np.array([category_hash(v) for v in column.tolist()], np.int64) for column in arrays]
    for name, own in zip(names, hashes, strict=True):
        if len(np.unique(own)) < len(own):
            raise UnsupportedParameter(f"CatBoost's hashes of two categories of {name} are the same")
    for k in one_hot:
        lacking = np.setdiff1d(np.asarray(features[k]["values"], np.int64), hashes[k])
        if len(lacking):
            raise _incomplete(names[k], len(lacking))
    floats = sorted(information.get("float_features", ()), key=lambda f: int(f["feature_index"]))
    categories = Categories(
        floats=tuple(int(f["flat_feature_index"]) for f in floats),
        columns=tuple(int(f["flat_feature_index"]) for f in features),
        values=tuple(arrays),
        one_hot=tuple(one_hot),
        statistics=(),
    )
    return categories, hashes


def _distinct(values: Iterable[Any]) -> Array:
    """Return the categories, each once: text, or whole numbers."""
    found = list(dict.fromkeys(v.item() if isinstance(v, np.generic) else v for v in values))
    if all(isinstance(v, str) for v in found):
        return np.array(found, dtype=object)
    if all(isinstance(v, int) and not isinstance(v, bool) for v in found):
        return np.array(found, dtype=np.int64)
    raise UsageError("categories are of several types", needs="text, or whole numbers, for each column")


def _incomplete(name: str, count: int) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"the model knows {count} more categories of {name} than are given", needs="all that were there in training"
    )


# --- statistics -------------------------------------------------------------------------------------------------------


def statistic(
    ctr: Mapping[str, Any], data: Mapping[str, Any], categories: Categories, hashes: Sequence[Array]
) -> Statistic:
    """Return the table of one of the model's CTRs.

    Raises:
        UnsupportedParameter: Its table would be too large, or the model knows categories that are not given.
        MalformedFile: It is of a kind that is not known.
    """
    features, tests, matches = _parts(ctr["elements"], categories, hashes)
    shape = [len(hashes[k]) + 1 for k in features] + [2] * (len(tests) + len(matches))
    if np.prod(shape, dtype=np.float64) > MAX_TABLE:
        raise UnsupportedParameter(
            f"a combination of {len(features)} categorical features has {np.prod(shape, dtype=np.float64):.3g} values",
            needs=f"at most {MAX_TABLE}",
            remedy="train with max_ctr_complexity=1",
        )
    parts = [hashes[k].astype(np.uint64) for k in features] + [np.arange(2, dtype=np.uint64)] * (
        len(shape) - len(features)
    )
    keys = np.zeros((1,) * len(shape), np.uint64)
    for axis, part in enumerate(parts):
        side = [1] * len(shape)
        side[axis] = len(part)
        keys = _combined(keys, part.reshape(side))
    stored = data[ctr["identifier"]]
    rows = np.array(stored["hash_map"], dtype=object).reshape(-1, int(stored["hash_stride"]))
    known = np.array([int(key) for key in rows[:, 0].tolist()], np.uint64)
    filled = known != _EMPTY
    known, counts = known[filled], rows[filled, 1:].astype(np.float64)
    good, total = _counts(ctr, counts, float(stored["counter_denominator"]))
    value = _value(ctr, good, total)
    nothing = _value(ctr, np.zeros(1), np.asarray([total[0] if _is_counter(ctr) and len(total) else 0.0]))
    order = np.argsort(known)
    at = order[np.minimum(np.searchsorted(known[order], keys), len(known) - 1)]
    hit = known[at] == keys
    if len(np.unique(known[at[hit]])) < len(known):
        raise _incomplete(f"columns {', '.join(str(categories.columns[k]) for k in features)}", 1)
    # A category that is not known makes the combination unknown.
    wide = [(0, 1)] * len(features) + [(0, 0)] * (len(shape) - len(features))
    table = np.pad(np.where(hit, value[at], nothing), wide, constant_values=nothing[0])
    return Statistic(features, tests, matches, np.ascontiguousarray(table, np.float32))


def _parts(
    elements: Sequence[Mapping[str, Any]], categories: Categories, hashes: Sequence[Array]
) -> tuple[tuple[int, ...], tuple[tuple[int, float], ...], tuple[tuple[int, int], ...]]:
    features, tests, matches = [], [], []
    for part in elements:
        kind = part["combination_element"]
        if kind == "cat_feature_value":
            features.append(int(part["cat_feature_index"]))
        elif kind == "float_feature":
            tests.append((categories.floats[int(part["float_feature_index"])], float(np.float32(part["border"]))))
        elif kind == "cat_feature_exact_value":
            k = int(part["cat_feature_index"])
            code = np.flatnonzero(hashes[k] == int(part["value"]))
            if not len(code):
                raise _incomplete(f"column {categories.columns[k]}", 1)
            matches.append((k, int(code[0])))
        else:
            raise MalformedFile(f"a CTR of CatBoost combines a part that is not known: {kind}")
    return tuple(features), tuple(tests), tuple(matches)


def _is_counter(ctr: Mapping[str, Any]) -> bool:
    return ctr["ctr_type"] in ("Counter", "FeatureFreq")


def _counts(ctr: Mapping[str, Any], counts: Array, denominator: float) -> tuple[Array, Array]:
    """Return how often the target was met, of how often."""
    kind, border = ctr["ctr_type"], int(ctr["target_border_idx"])
    if kind == "Borders":
        return counts[:, border + 1 :].sum(axis=1), counts.sum(axis=1)
    if kind == "Buckets":
        return counts[:, border], counts.sum(axis=1)
    if kind in ("BinarizedTargetMeanValue", "FloatTargetMeanValue"):
        return counts[:, 0], counts[:, 1]
    if _is_counter(ctr):
        return counts[:, 0], np.full(len(counts), denominator)
    raise MalformedFile(f"a CTR of CatBoost is of a type that is not known: {kind}")


def _value(ctr: Mapping[str, Any], good: Array, total: Array) -> Array:
    """Return the statistic in float32 arithmetic, as CatBoost computes it."""
    prior, weight = np.float32(ctr["prior_numerator"]), np.float32(ctr["prior_denomerator"])
    share = (good.astype(np.float32) + prior) / (total.astype(np.float32) + weight)
    result: Array = (share + np.float32(ctr["shift"])) * np.float32(ctr["scale"])
    return result
