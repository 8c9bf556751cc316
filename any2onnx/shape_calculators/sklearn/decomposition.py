"""What sklearn.decomposition promises beyond `common.components`."""

from __future__ import annotations

import numpy as np

from any2onnx.operator_mappings.mapping import Call
from any2onnx.shape_calculators.sklearn.common import Promise, floats


def sparse_codes(call: Call) -> Promise:
    """transform [N, atoms], twice as many with `split_sign`; inverse_transform [N, features]."""
    model = call.source
    dictionary = model.components_ if hasattr(model, "components_") else model.dictionary
    atoms, features = np.shape(dictionary)
    width = {"transform": atoms * 2 if model.split_sign else atoms, "inverse_transform": features}
    return {method: floats(call, width[method]) for method in call.methods}
