"""The verdicts of a parity check, in the order from best to worst."""

from __future__ import annotations

import enum
import functools


@functools.total_ordering
class Verdict(enum.Enum):
    """What a comparison found; a later member is worse, so ``max`` gives the verdict of a whole report.

    ``EXACT`` to ``ILL_CONDITIONED`` pass, ``INCONCLUSIVE`` neither passes nor fails, the last two fail.
    """

    EXACT = "exact"
    WITHIN_ULP = "within-ulp"
    WITHIN_BUDGET = "within-budget"
    FRAMEWORK_IMPRECISE = "framework-imprecise"
    ILL_CONDITIONED = "ill-conditioned"
    INCONCLUSIVE = "inconclusive"
    CONVERTER_IMPRECISE = "converter-imprecise"
    MISMATCH = "mismatch"

    @property
    def rank(self) -> int:
        """Position in the order, 0 for the best."""
        return list(Verdict).index(self)

    @property
    def passed(self) -> bool:
        """True when the converted model answers what the original answers."""
        return self < Verdict.INCONCLUSIVE

    @property
    def failed(self) -> bool:
        """True when the converted model is at fault."""
        return self > Verdict.INCONCLUSIVE

    @property
    def explanation(self) -> str:
        """One clause that says what the verdict means."""
        return _EXPLANATIONS[self]

    def __str__(self) -> str:
        return self.value

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Verdict):
            return NotImplemented
        return self.rank < other.rank


_EXPLANATIONS = {
    Verdict.EXACT: "bit for bit the same",
    Verdict.WITHIN_ULP: "at most 4 units in the last place apart",
    Verdict.WITHIN_BUDGET: "apart by no more than the dtype's tolerance",
    Verdict.FRAMEWORK_IMPRECISE: "ONNX is at least as close to the float64 answer as the framework",
    Verdict.ILL_CONDITIONED: "apart by no more than rounding of the inputs, or the framework's own, explains",
    Verdict.INCONCLUSIVE: "could not be decided",
    Verdict.CONVERTER_IMPRECISE: "apart by more than conditioning and the framework's own error explain",
    Verdict.MISMATCH: "another name, count, shape, dtype, label, NaN or infinity",
}
