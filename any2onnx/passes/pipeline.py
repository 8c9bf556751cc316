"""The fixed list of passes that every converted model goes through."""

from __future__ import annotations

from typing import Literal, get_args

import onnx_ir as ir

from any2onnx.errors import PassError, UnknownOption, did_you_mean
from any2onnx.graph.provenance import expand_provenance
from any2onnx.passes.batch_norm import FoldBatchNormPass
from any2onnx.passes.casts import CleanCastsPass
from any2onnx.passes.constants import FoldConstantsPass
from any2onnx.passes.dead_code import RemoveDeadCodePass
from any2onnx.passes.duplicates import MergeDuplicateInitializersPass, MergeDuplicateNodesPass
from any2onnx.passes.identities import RemoveIdentitiesPass
from any2onnx.passes.layout import PropagateLayoutPass
from any2onnx.passes.shapes import FoldShapesPass
from any2onnx.passes.views import MergeTransposesPass, MergeViewsPass

Level = Literal["none", "basic", "default"]

# A model settles in two or three rounds; the bound only stops two rules that would undo each other.
_ROUNDS = 20


def build_passes(level: Level = "default") -> list[ir.passes.PassBase]:
    """Return the passes of one round, in order.

    Args:
        level: ``"none"``: no pass. ``"basic"``: only passes that leave every computation as it is (dead code,
            identities, casts, views, shape arithmetic, duplicates). ``"default"``: constant folding, layout and the
            folding of BatchNormalization as well.

    Raises:
        UnknownOption: There is no such level.
    """
    if level not in get_args(Level):
        known = get_args(Level)
        raise UnknownOption(
            f"there is no optimisation level {level!r}{did_you_mean(str(level), known)}",
            needs=f"one of {', '.join(known)}",
        )
    if level == "none":
        return []
    full = level == "default"
    passes: list[ir.passes.PassBase] = [RemoveIdentitiesPass(), FoldShapesPass()]
    if full:
        passes.append(FoldConstantsPass())
    # Equal initializers make equal expressions.
    passes += [CleanCastsPass(), MergeDuplicateInitializersPass(), MergeDuplicateNodesPass(), MergeTransposesPass()]
    if full:
        # Before MergeViewsPass, which turns Transposes of unit dimensions into Reshapes: layouts end there.
        passes.append(PropagateLayoutPass())
    passes.append(MergeViewsPass())
    if full:
        passes.append(FoldBatchNormPass())
    passes.append(RemoveDeadCodePass())
    return passes


def optimize(model: ir.Model, *, level: Level = "default") -> ir.Model:
    """Simplify ``model`` in place, to a fixed point, and return it.

    Names and order of the model's inputs and outputs stay, and what its outputs compute, up to the rounding that
    folding a BatchNormalization or a scaling, or summing in another layout, brings. Nodes that replace others inherit
    their provenance. Weights are held by reference, except those that a BatchNormalization or a scaling is folded into.

    Args:
        model: The model; its graph has an opset import for the default domain.
        level: See :func:`build_passes`.

    Raises:
        UnknownOption: There is no such level.
        PassError: A pass failed or broke its contract, or the passes did not come to an end.
    """
    passes = build_passes(level)
    if not passes:
        return model
    expand_provenance(model)  # of a model that was finished before
    try:
        _run_to_fixed_point(passes, model)
    except Exception as error:  # whatever a pass raises, the user is told what to do without it
        raise PassError(f"optimising the model failed: {error}", remedy='level="none"') from error
    return model


def _run_to_fixed_point(passes: list[ir.passes.PassBase], model: ir.Model) -> None:
    """Run the passes in turn until none has anything left to do.

    A pass has nothing left to do behind its own run (the contract that all of them are tested for), so it is run
    again only where another one has changed the model since. Its condition is checked once before the first pass and
    behind each pass that changed something: what an earlier pass ensures is what the next one requires.
    """
    passes[0].requires(model)
    changes = 0
    settled: list[int | None] = [None] * len(passes)
    for _ in range(_ROUNDS):
        for index, one in enumerate(passes):
            if settled[index] == changes:
                continue
            if one.call(model).modified:
                changes += 1
                one.ensures(model)
            settled[index] = changes
        if all(done == changes for done in settled):
            return
