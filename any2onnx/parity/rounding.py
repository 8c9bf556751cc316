"""Which operators round, and by how much a result may move to stand for that.

A framework that runs in float32 rounds after every operator. Another runtime rounds too, and not in the same places and
directions: it adds in another order, and approximates tanh by another polynomial. What that may do to the output is
measured on the framework's own computation, with every rounded result moved to a neighbouring number at random. The
model's formulas are the framework's there, so a converter's worse formula is not excused by it.

A result is moved by one unit in its last place; that of a bounded function by a unit of its bound, since
approximations of such functions are accurate relative to the bound: onnxruntime's tanh inside of an RNN is off by 6e-8
for arguments of 1e-6 as for those of 1.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np

from any2onnx.parity.compare import epsilon
from any2onnx.parity.ulp import Array, half_ulp

# The names of ATen, TensorFlow and JAX in one form: lower case, without underscores and version numbers at the end.
_EXACT: Final = """
abs adaptivemaxpool alias amax amin arange argmax argmin argsort assign assignvariableop asstrided asstring
batchtospacend bernoulli bitcast bitcastconvertype broadcastinargs broadcastindim broadcastto cat ceil chunk clamp
clampmax clampmin clipbyvalue clone complex concat concatenate const constant constantpadnd contiguous
convertelementtype copy copyp cummax cummin cumulativemax deepcopy depthtospace detach diag diagembed diagonal dropout
dynamicpartition dynamicslice dynamicstitch dynamicupdateslice embedding empty emptylike ensureshape expand expandas
expanddims extractimagepatches fill fillscalar flatten flip floor fmax fmin fractionalmaxpool full fulllike gather
gathernd gatherv heaviside identity identityn imag index indexcopy indexfill indexput indexselect iota isinf isnan
leakyrelumask lift liftfresh listdiff loopcond maskedfill maskedscatter maskedselect matrixdiag matrixdiagpart max
maximum maxpool maxpoolwithargmax maxpoolwithindices maxunpool median merge min minimum mirrorpad move movedim
nantonum narrow neg negative newempty newfull newones newzeros nextafter nonzero noop onehot ones oneslike pack pad
padv partitionedcall permute pixelshuffle pixelunshuffle placeholder placeholderwithdefault readvariableop real
reducemax reducemin reflectionpad relu rem remainder reorderabs repeat repeatinterleave replicationpad reshape
resizenearestneighbor resourcegather rev reverse reversesequence reversev rint roll rot round scatter scatternd
scatterupdate segmentmax segmentmin select selectn selectscatter selectv shape sign signbit slice slicescatter
snapshot sort spacetobatchnd spacetodepth split splitv splitwithsizes squeeze stack statelessif statelesswhile
stopgradient stridedslice swapaxes switch t take takealong takealongdim tensorarrayread tensorlistconcat
tensorlistfromtensor tensorlistgather tensorlistgetitem tensorlistpopback tensorlistpushback tensorlistreserve
tensorlistsetitem tensorlistsplit tensorliststack tensorscatterupdate tile tocopy topk transpose tril triu trunc
unbind unfold unique uniquewithcounts unpack unsafeview unsortedsegmentmax unsortedsegmentmin unsqueeze unstack
upsamplenearest varhandleop variable view viewas where while zeros zeroslike
"""
# They move, choose, compare or count numbers.
EXACT: Final = frozenset(_EXACT.split())
BOUNDED: Final = {
    # name: (lowest, highest)
    "erf": (-1.0, 1.0),
    "logistic": (0.0, 1.0),
    "sigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}


def plain_name(name: str) -> str:
    """Return an operator's name in the form of the tables: ``max_pool2d_with_indices`` becomes ``maxpoolwithindices``.

    Args:
        name: An ATen overload (``aten.sigmoid.default``, ``relu_``), a TensorFlow operator (``ConcatV2``), or a JAX
            primitive (``broadcast_in_dim``).
    """
    bare = name.removeprefix("aten.").partition(".")[0].replace("_", "").lower()
    for size in ("1d", "2d", "3d"):
        bare = bare.replace(size, "")
    return re.sub(r"v?\d+$", "", bare)


def moved(values: Array, name: str, rng: np.random.Generator, units: int = 1) -> Array:
    """Return a floating result of an operator with every number moved at random, in the same dtype.

    Args:
        values: The result.
        name: The operator, as ``plain_name`` returns it; results of exact ones come back as they are.
        rng: Draws the directions.
        units: 1 moves every number by one unit; a larger number by a whole number of units up to that.
    """
    if name in EXACT:
        return values
    steps = rng.integers(0, 2, values.shape) * 2 - 1 if units == 1 else rng.integers(-units, units + 1, values.shape)
    low, high = BOUNDED.get(name, (-np.inf, np.inf))
    size = epsilon(values.dtype) if name in BOUNDED else 2 * half_ulp(values)
    with np.errstate(over="ignore", invalid="ignore"):
        wide = np.clip(values.astype(np.float64) + steps * size, low, high)
        return np.where(np.isfinite(values), wide, values).astype(values.dtype)
