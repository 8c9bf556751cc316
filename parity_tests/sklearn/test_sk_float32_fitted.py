"""Models fitted on float32 rows compute in float32 whatever they are asked: the reference is a copy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import LatentDirichletAllocation, MiniBatchSparsePCA, SparsePCA

from any2onnx import to_onnx
from any2onnx.parity import check_parity

ROWS = np.random.default_rng(0).integers(0, 9, (40, 12)).astype(np.float32)
MODELS = [
    LatentDirichletAllocation(10, random_state=0),
    SparsePCA(4, random_state=0, max_iter=20),
    MiniBatchSparsePCA(4, random_state=0, max_iter=20),
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_judged_in_float64(model: Any) -> None:
    fitted = model.fit(ROWS)
    assert fitted.components_.dtype == np.float32
    report = check_parity(fitted, to_onnx(fitted, ROWS[:1]), ROWS, suites="smoke")
    report.raise_if_failed()
    assert report.worst.ulp <= 4


@pytest.mark.parametrize("cls", [SparsePCA, MiniBatchSparsePCA])
def test_one_row_of_a_sparse_pca_keeps_its_axis(cls: type) -> None:
    model = cls(4, random_state=0, max_iter=20).fit(ROWS.astype(np.float64))
    assert model.transform(ROWS[:1]).shape == (4,), "scikit-learn has changed: the reference need not bring it back"
    check_parity(model, to_onnx(model, ROWS[:1]), ROWS[:1]).raise_if_failed()
