"""Named suites of inputs, generated from a signature.

Every case has a random stream of its own, seeded from the model's class, its inputs, the suite and the case, so the
inputs do not depend on which other suites run or in what order.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.errors import UnknownOption, UsageError, did_you_mean
from any2onnx.parity import suites_tables as tables
from any2onnx.parity.cases import Case, Skip
from any2onnx.parity.ulp import Array, largest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from any2onnx.parity.reference import Framework
    from any2onnx.parity.signature import Feeds, InputSpec, Signature

SUITES = (
    "data",
    "typical",
    "scaled",
    "boundary",
    "special",
    "categorical",
    "text",
    "shape",
    "batch-invariance",
    "determinism",
)
PRESETS: Mapping[str, tuple[str, ...]] = {
    "default": SUITES,
    "smoke": ("data", "typical", "shape"),
}
BATCH_SIZES = (0, 1, 2, 3, 17)
# Where rows are large (images), 17 of them would cost more than they tell.
LARGE_ROW_BATCH_SIZES = (0, 1, 2, 3, 5)
# More rows than runtimes take in one block or give to one thread; only where a row has few numbers.
MANY_ROWS = 1031
_FEW_NUMBERS = 64
# A batch as wide as an axis makes a table square, and a wrong axis fit.
_WIDEST_SQUARE = 32
MAX_ROWS = 128
_SCALED_ROWS = 64
_OFFSET = 1000.0
_PARTS = (1, 2, 5, 9)
# A case of a model with large rows (images) stays near this many numbers.
MAX_ELEMENTS = 1 << 19


@dataclasses.dataclass(frozen=True)
class Plan:
    """What the generators need.

    Attributes:
        signature: The inputs, refined.
        framework: The framework of the model.
        model: The model, for what its fitted parts know.
        model_name: Its class.
        seed: The user's seed.
        data: The user's own rows, or None.
    """

    signature: Signature
    framework: Framework
    model: Any
    model_name: str
    seed: int
    data: Feeds | None = None

    @property
    def fingerprint(self) -> str:
        """Identify model and inputs: the same for every ONNX file that is made from the model."""
        return f"{self.framework}|{self.model_name}|{self.signature.describe()}"

    def rng(self, suite: str, case: str) -> np.random.Generator:
        """Return the random stream of one case (PCG64 seeded from SHA-256)."""
        text = f"{self.fingerprint}|{self.seed}|{suite}|{case}"
        digest = hashlib.sha256(text.encode()).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))

    @property
    def sizes(self) -> dict[str, int]:
        """Workable sizes of the free symbols."""
        return dict(self.signature.sizes)

    @property
    def batched(self) -> bool:
        """True when all inputs share their first axis."""
        return self.signature.batch_symbol is not None or self.signature.fixed_batch is not None

    @property
    def typical_rows(self) -> int:
        """Rows of an ordinary case: fewer when a row is large, whole batches when the batch is fixed."""
        per_row = max(1, sum(int(np.prod(self.shape(spec, 1)[1:], dtype=np.int64)) for spec in self.signature.inputs))
        rows = max(2, min(MAX_ROWS, MAX_ELEMENTS // per_row))
        fixed = self.signature.fixed_batch
        return rows if fixed is None else fixed * max(1, rows // max(fixed, 1))

    def shape(self, spec: InputSpec, rows: int, sizes: Mapping[str, int] | None = None) -> tuple[int, ...]:
        """Return the shape of an input for a number of rows."""
        known = {**self.sizes, **(sizes or {})}
        symbol = self.signature.batch_symbol
        if symbol is not None:
            known[symbol] = rows
        shape = spec.sized(known)
        return (rows, *shape[1:]) if self.signature.fixed_batch is not None and shape else shape

    def draw(self, rng: np.random.Generator, rows: int, sizes: Mapping[str, int] | None = None) -> Feeds:
        """Draw typical inputs."""
        return {spec.name: _draw(rng, spec, self.shape(spec, rows, sizes)) for spec in self.signature.inputs}


def suite_names(suites: str | Sequence[str]) -> tuple[str, ...]:
    """Resolve a preset, a comma-separated list or a sequence to suite names in canonical order.

    Raises:
        UnknownOption: A name is no suite and no preset.
    """
    asked = [part.strip() for part in suites.split(",")] if isinstance(suites, str) else list(suites)
    chosen: set[str] = set()
    known = [*SUITES, *PRESETS]
    for name in asked:
        if name not in known:
            raise UnknownOption(f"there is no suite {name!r}{did_you_mean(str(name), known)}", needs=", ".join(known))
        chosen.update(PRESETS.get(name, (name,)))
    return tuple(name for name in SUITES if name in chosen)


def cases(plan: Plan, suite: str) -> Iterator[Case | Skip]:
    """Yield the cases of one suite."""
    yield from _GENERATORS[suite](plan)


# --- drawing -----------------------------------------------------------------------------------------------------


def _draw(rng: np.random.Generator, spec: InputSpec, shape: tuple[int, ...]) -> Array:
    if spec.dtype.kind == "O":
        return _draw_text(rng, spec, shape)
    if spec.dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    pool = spec.pool
    if not spec.is_float:
        if pool is not None and pool.size:
            return _by_column(rng, pool, shape, _choose)
        return _with_categories(rng, spec, _integers(rng, spec, shape))
    if pool is None or not pool.size:
        return _with_categories(rng, spec, rng.standard_normal(shape).astype(spec.dtype))
    return _with_categories(rng, spec, _by_column(rng, pool, shape, _interpolate).astype(spec.dtype))


def _integers(rng: np.random.Generator, spec: InputSpec, shape: tuple[int, ...]) -> Array:
    high = 256 if spec.dtype == np.uint8 and spec.high == 10 else spec.high
    return rng.integers(spec.low, max(high, spec.low + 1), shape).astype(spec.dtype)


def _with_categories(rng: np.random.Generator, spec: InputSpec, values: Array) -> Array:
    """Put known categories into the columns of fitted encoders: any other number would be unseen."""
    if values.ndim != 2:
        return values
    for column, known in enumerate(spec.categories[: values.shape[1]]):
        if known is not None and known.dtype.kind in "iufb" and spec.pool is None:
            values[:, column] = rng.choice(known, len(values)).astype(spec.dtype)
    return values


def _by_column(
    rng: np.random.Generator,
    pool: Array,
    shape: tuple[int, ...],
    pick: Callable[[np.random.Generator, Array, tuple[int, int]], Array],
) -> Array:
    """Draw each column like the pool's own; beyond tables, and at other widths, draw from all values."""
    if len(shape) <= 2 and pool.ndim == len(shape) and pool.shape[1:] == shape[1:]:
        table = pool.reshape(len(pool), -1)
        return pick(rng, table, (shape[0] if shape else 1, table.shape[1])).reshape(shape)
    flat = pool.reshape(-1, 1)
    flat = flat[:: max(1, len(flat) // 65536)]
    return pick(rng, flat, (int(np.prod(shape, dtype=np.int64)), 1)).reshape(shape)


def _choose(rng: np.random.Generator, table: Array, size: tuple[int, int]) -> Array:
    rows = rng.integers(0, len(table), size)
    return np.take_along_axis(table, rows, axis=0)


def _interpolate(rng: np.random.Generator, table: Array, size: tuple[int, int]) -> Array:
    """Draw from the linearly interpolated quantiles of each column."""
    ordered = np.sort(table.astype(np.float64), axis=0)
    position = rng.random(size) * (len(ordered) - 1)
    below = position.astype(np.intp)
    above = np.minimum(below + 1, len(ordered) - 1)
    low = np.take_along_axis(ordered, below, axis=0)
    high = np.take_along_axis(ordered, above, axis=0)
    with np.errstate(invalid="ignore"):
        return low + (position - below) * (high - low)


def _draw_text(rng: np.random.Generator, spec: InputSpec, shape: tuple[int, ...]) -> Array:
    values = np.empty(shape, dtype=object)
    if spec.pool is not None and spec.pool.size:
        values[...] = _by_column(rng, spec.pool, shape, _choose)
        return values
    if spec.text and spec.categories and spec.categories[0] is not None:
        words = np.append(spec.categories[0], ["zzunknown", "Ünïcode"])
        flat = values.reshape(-1)
        for i in range(flat.size):
            flat[i] = " ".join(str(word) for word in rng.choice(words, rng.integers(1, 9)))
        return values
    rows = shape[0] if shape else 1
    table = values.reshape(rows, math.prod(shape[1:]))
    for column in range(table.shape[1]):
        known = spec.categories[column] if column < len(spec.categories) else None
        known = np.array(["a", "b", "c"], dtype=object) if known is None else known
        table[:, column] = rng.choice(known.astype(object), len(table))
    return values


# --- the suites --------------------------------------------------------------------------------------------------


def _data(plan: Plan) -> Iterator[Case | Skip]:
    if plan.data is None:
        return
    if not plan.batched:
        yield Case("data", "as given", plan.data, 1, measure=True)
        return
    rows = len(next(value for value in plan.data.values() if value.ndim))
    chunk = max(plan.typical_rows, 1) * 8
    for start in range(0, rows, chunk):
        part = {name: values[start : start + chunk] if values.ndim else values for name, values in plan.data.items()}
        count = min(chunk, rows - start)
        yield Case("data", f"rows {start} to {start + count - 1}", part, count, measure=start == 0)


def _typical(plan: Plan) -> Iterator[Case | Skip]:
    rows = plan.typical_rows if plan.batched else 1
    for i in range(1 if plan.batched else 4):
        name = "drawn" if plan.batched else f"drawn {i}"
        yield Case("typical", name, plan.draw(plan.rng("typical", name), rows), rows, measure=True)


def _scaled(plan: Plan) -> Iterator[Case | Skip]:
    """Yield rows of very different magnitudes, and rows with little variance far from the origin."""
    floats = [spec for spec in plan.signature.inputs if spec.is_float]
    if not floats:
        yield Skip("scaled", "magnitudes", "the model has no floating input")
        return
    rows = min(plan.typical_rows, _SCALED_ROWS) if plan.signature.fixed_batch is None else plan.typical_rows
    rows = rows if plan.batched else 1
    for name in ("magnitudes", "offset"):
        rng = plan.rng("scaled", name)
        feeds = plan.draw(rng, rows)
        for spec in floats:
            values = feeds[spec.name]
            free = np.array([known is None for known in spec.categories] or [True])
            if not free.all() and values.ndim != 2:
                continue
            per_row = (rows,) + (1,) * (values.ndim - 1) if plan.batched and values.ndim else (1,) * values.ndim
            wide = values.astype(np.float64)
            if name == "magnitudes":
                limit = min(6.0, float(np.log10(largest(spec.dtype))) / 2)
                wide = wide * 10.0 ** rng.uniform(-limit, limit, per_row)
            else:
                wide = _OFFSET + wide * 10.0 ** rng.uniform(-3, 0, per_row)
            moved = wide.astype(spec.dtype)
            # The columns of encoders and token ids keep their values: any other would be unseen.
            feeds[spec.name] = np.where(free, moved, values) if not free.all() else moved
        yield Case("scaled", name, feeds, rows, may_reject=True)


def _boundary(plan: Plan) -> Iterator[Case | Skip]:
    if plan.framework == "scikit-learn":
        yield from tables.boundaries(plan)
    else:
        yield from _tensor_boundaries(plan)


def _tensor_boundaries(plan: Plan) -> Iterator[Case | Skip]:
    rng = plan.rng("boundary", "numbers")
    rows = plan.typical_rows if plan.batched else 1
    feeds = plan.draw(rng, rows)
    for spec in plan.signature.inputs:
        values = feeds[spec.name]
        flat = values.reshape(-1)
        if spec.is_float:
            numbers = tables.special_numbers(spec.dtype)
        elif spec.dtype.kind in "iu":
            numbers = np.array([spec.low, max(spec.high - 1, spec.low)], dtype=spec.dtype)
        else:
            continue
        # A tenth of the elements: enough to meet every number, few enough to leave ordinary neighbours around them.
        at = rng.choice(flat.size, max(1, flat.size // 10), replace=False) if flat.size else np.zeros(0, dtype=np.intp)
        flat[at] = numbers[rng.integers(0, len(numbers), at.size)]
        feeds[spec.name] = flat.reshape(values.shape)
    yield Case("boundary", "numbers", feeds, rows, at_jumps=True, may_reject=True)


def _special(plan: Plan) -> Iterator[Case | Skip]:
    floats = [spec for spec in plan.signature.inputs if spec.is_float]
    if not floats:
        yield Skip("special", "NaN and infinities", "the model has no floating input")
        return
    for name, value in (("NaN", np.nan), ("+inf", np.inf), ("-inf", -np.inf)):
        rng = plan.rng("special", name)
        columns = sum(int(np.prod(plan.shape(spec, 1)[1:], dtype=np.int64)) for spec in floats)
        rows = min(columns, 16, plan.typical_rows) + 1 if plan.batched else 1
        fixed = plan.signature.fixed_batch
        rows = rows if not fixed else -(-rows // fixed) * fixed
        feeds = plan.draw(rng, rows)
        for spec in floats:
            values = feeds[spec.name]
            table = (
                values.reshape(rows, math.prod(values.shape[1:])) if plan.batched else values.reshape(1, values.size)
            )
            # One place in each row, walking through the columns; in the last row of a batch all of them.
            place = np.linspace(0, max(table.shape[1] - 1, 0), rows).astype(np.intp)
            if table.size:
                table[np.arange(rows), place] = value
                if plan.batched:
                    table[-1] = value
            feeds[spec.name] = table.reshape(feeds[spec.name].shape)
        yield Case("special", name, feeds, rows, may_reject=True)


def _shape(plan: Plan) -> Iterator[Case | Skip]:
    signature = plan.signature
    if signature.batch_symbol is not None:
        for rows in _batch_sizes(plan):
            name = f"batch {rows}"
            feeds = plan.draw(plan.rng("shape", name), rows)
            yield Case("shape", name, feeds, rows, may_reject=rows == 0, empty=rows == 0)
    elif signature.fixed_batch is not None:
        yield Skip("shape", "batch sizes", f"the ONNX model takes batches of {signature.fixed_batch} only")
    if any(len(spec.shape) >= 2 and spec.dtype.kind != "O" for spec in signature.inputs):
        rows = 3 if signature.fixed_batch is None else signature.fixed_batch
        feeds = plan.draw(plan.rng("shape", "Fortran order"), rows)
        fortran = {name: np.asfortranarray(values) for name, values in feeds.items()}
        yield Case("shape", "Fortran order", fortran, rows if plan.batched else 1)
    yield from _symbol_cases(plan)


def _batch_sizes(plan: Plan) -> list[int]:
    """Return the usual sizes, that of a square table, and a large one where rows are small."""
    if plan.typical_rows < max(BATCH_SIZES):
        return list(LARGE_ROW_BATCH_SIZES)
    rows = [plan.shape(spec, 1)[1:] for spec in plan.signature.inputs]
    widths = {size for shape in rows for size in shape if max(BATCH_SIZES[:4]) < size <= _WIDEST_SQUARE}
    found = [*BATCH_SIZES, *sorted(widths - set(BATCH_SIZES))[:2]]
    if sum(math.prod(shape) for shape in rows) <= _FEW_NUMBERS:
        found.append(MANY_ROWS)
    return found


def _symbol_cases(plan: Plan) -> Iterator[Case | Skip]:
    """Yield every free axis at three sizes; the framework may refuse one that its layers cannot take."""
    symbols = plan.signature.free_symbols
    derived = [symbol for symbol in symbols if not symbol.isidentifier()]
    for symbol in symbols:
        if derived:
            yield Skip("shape", f"size of {symbol}", f"the sizes depend on each other ({', '.join(derived)})")
            continue
        usual = plan.sizes[symbol]
        for size in sorted({max(1, usual // 2), usual + 1, 2 * usual + 1}):
            name = f"{symbol} = {size}"
            rows = 2 if signature_is_free(plan) else plan.typical_rows
            feeds = plan.draw(plan.rng("shape", name), rows, {symbol: size})
            yield Case("shape", name, feeds, rows if plan.batched else 1, may_reject=True)
    if len(symbols) > 1 and not derived:
        # Whoever tells axes by their sizes is right until they are equal.
        size = max(plan.sizes[symbol] for symbol in symbols)
        rows = 2 if signature_is_free(plan) else plan.typical_rows
        feeds = plan.draw(plan.rng("shape", "equal sizes"), rows, dict.fromkeys(symbols, size))
        yield Case("shape", f"all free axes {size}", feeds, rows if plan.batched else 1, may_reject=True)


def _batch_invariance(plan: Plan) -> Iterator[Case | Skip]:
    """Yield one batch that is fed as one, and cut into pieces of uneven sizes."""
    if plan.signature.batch_symbol is None:
        yield Skip("batch-invariance", "pieces", "the ONNX model has no free batch")
        return
    parts = _PARTS if plan.typical_rows >= sum(_PARTS) else (1, 2)
    feeds = plan.draw(plan.rng("batch-invariance", "pieces"), sum(parts))
    yield Case("batch-invariance", "pieces", feeds, sum(parts), parts=parts)


def _determinism(plan: Plan) -> Iterator[Case | Skip]:
    rows = min(plan.typical_rows, _SCALED_ROWS) if plan.signature.fixed_batch is None else plan.typical_rows
    rows = rows if plan.batched else 1
    yield Case("determinism", "repeated", plan.draw(plan.rng("determinism", "repeated"), rows), rows, repeated=True)


def signature_is_free(plan: Plan) -> bool:
    """True when the number of rows may be chosen."""
    return plan.signature.fixed_batch is None


def require_sizes(signature: Signature) -> None:
    """Check that a size is known for every free axis.

    Raises:
        UsageError: The ONNX model derives one size from another, so that they cannot be drawn.
    """
    known = dict(signature.sizes)
    for symbol in signature.free_symbols:
        if symbol not in known and not symbol.isidentifier():
            raise UsageError(
                f"the size {symbol!r} of an input cannot be chosen freely",
                where=signature.describe(),
                remedy="pass data: arrays of a shape that the model takes",
            )


_GENERATORS: Mapping[str, Callable[[Plan], Iterator[Case | Skip]]] = {
    "data": _data,
    "typical": _typical,
    "scaled": _scaled,
    "boundary": _boundary,
    "special": _special,
    "categorical": tables.categorical,
    "text": tables.text,
    "shape": _shape,
    "batch-invariance": _batch_invariance,
    "determinism": _determinism,
}
