"""One call of the model as the suites form it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from any2onnx.parity.signature import Feeds


@dataclasses.dataclass(frozen=True)
class Case:
    """One call of the model.

    Attributes:
        suite: Name of the suite.
        name: Name inside the suite.
        feeds: Inputs by ONNX name.
        rows: Size of the batch; 1 when the model has no batch axis.
        at_thresholds: Rows sit exactly on decision thresholds, where a jump within half an ulp excuses nothing.
        at_jumps: Values sit where functions tend to jump (zeros, halves): as above, where the reference can tell.
        may_reject: The framework may raise: then there is nothing to compare, which is reported and no failure.
        measure: Measure the sensitivity of all rows, not only of those in need.
        empty: The batch is empty: a framework that refuses it leaves onnxruntime's shapes to be checked.
        parts: Sizes of the batches that the rows are fed in, one after the other; empty for one batch.
        repeated: onnxruntime is run several times, and compared with itself.
    """

    suite: str
    name: str
    feeds: Feeds
    rows: int
    at_thresholds: bool = False
    at_jumps: bool = False
    may_reject: bool = False
    measure: bool = False
    empty: bool = False
    parts: tuple[int, ...] = ()
    repeated: bool = False


@dataclasses.dataclass(frozen=True)
class Skip:
    """A case that cannot be formed, and why."""

    suite: str
    name: str
    reason: str
