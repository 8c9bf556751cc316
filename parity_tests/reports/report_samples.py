"""Models and reports that the tests of this folder share."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from onnx import numpy_helper

import any2onnx
from any2onnx.parity import ParityReport, check_parity
from any2onnx.parity.findings import Divergence, Proof, SearchResult, Step

EVIL = "<script>alert(1)</script>|[red]\x1b"


@functools.cache
def classifier() -> tuple[Any, np.ndarray]:
    """Return a fitted pipeline with branches, and rows."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    rng = np.random.default_rng(0)
    X = rng.normal(3, 2, (90, 5)).astype(np.float32)
    y = (X[:, 0] > X[:, 1]).astype(int) + (X[:, 2] > 4)
    union = make_union(StandardScaler(), make_pipeline(MinMaxScaler(), PCA(3, random_state=0)))
    return make_pipeline(union, LogisticRegression()).fit(X, y), X


def converted() -> Any:
    """Return its ONNX form."""
    model, X = classifier()
    return any2onnx.to_onnx(model, X)


def broken() -> Any:
    """Return the ONNX form with one coefficient a tenth of a per cent too large."""
    proto = converted()
    tensor = next(t for t in proto.graph.initializer if t.name.endswith("coef"))
    array = numpy_helper.to_array(tensor).copy()
    array.flat[np.argmax(np.abs(array))] *= 1.001
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return proto


@functools.cache
def good_report() -> ParityReport:
    """Return a report that passes."""
    model, X = classifier()
    return check_parity(model, converted(), X)


@functools.cache
def bad_report() -> ParityReport:
    """Return a report that fails."""
    model, X = classifier()
    return check_parity(model, broken(), X)


def with_findings(report: ParityReport) -> ParityReport:
    """Return the report with a proof, a refuted proof, a search and a divergence over all nodes."""
    assert report.graph is not None
    nodes = report.graph.nodes
    steps = tuple(
        Step(
            node.outputs[0], node.operator, node.source, 10.0 ** (-8 + 7 * k / len(nodes)), 1e-7, 3.0 * k, "provenance"
        )
        for k, node in enumerate(nodes)
    )
    culprit = nodes[len(nodes) // 2]
    return dataclasses.replace(
        report,
        proofs=(
            Proof("trees", "RandomForestClassifier", True, "Every row reaches the same leaf.", 3.1e-7, 1e-7),
            Proof("affine", EVIL, False, f"Found {EVIL}.", differences=tuple(f"node {k}" for k in range(20))),
        ),
        searches=(SearchResult("probabilities", 0.1, 0.6, 18200, 6, True, "worst.npz", (("X", "1.0, 2.0"),)),),
        divergences=(
            Divergence(
                "probabilities",
                "data",
                "rows 0 to 89",
                17,
                culprit.outputs[0],
                culprit.operator,
                culprit.source,
                "our rule",
                f"The node computes something else {EVIL}.",
                steps,
                ("culprit.onnx", "inputs.npz", "repro.py"),
            ),
        ),
    )
