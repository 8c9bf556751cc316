"""Ties: of neighbours as far away as the next point any may be taken, of labels with level scores either."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics.pairwise import nan_euclidean_distances


def wide(rows: Any) -> Any:
    """Return the rows as scikit-learn is given them: numbers as float64, which is the reference for all types.

    Whole numbers make some estimators truncate what they compute.
    """
    if is_frame(rows):
        return rows.astype(dict.fromkeys(float_columns(rows), np.float64))
    return rows.astype(np.float64) if isinstance(rows, np.ndarray) and rows.dtype.kind in "fiub" else rows


def is_frame(rows: Any) -> bool:
    return hasattr(rows, "columns") and hasattr(rows, "select_dtypes")


def float_columns(rows: Any) -> list[str]:
    return [name for name, dtype in rows.dtypes.items() if getattr(dtype, "kind", "O") == "f"]


def tied_rows(model: Any, rows: Any) -> np.ndarray:
    """Return which rows have a last neighbour that is as far away as the next point: any of them may be taken.

    So may any where distances overflow to infinity; scikit-learn's search then gives the first point many times.
    """
    if type(model).__name__ == "KNNImputer":
        return tied_donors(model, rows)
    search = getattr(model, "nbrs_", model)
    count = getattr(model, "n_neighbors", None)
    if not hasattr(search, "kneighbors") or count is None or count >= search.n_samples_fit_:
        return np.zeros(len(rows), bool)
    distance, _ = search.kneighbors(rows, count + 1)
    last, following = distance[:, -2], distance[:, -1]
    finite = np.isfinite(following)
    largest = max(float(np.max(distance[np.isfinite(distance)], initial=0)), 1e-30)
    return ~finite | (np.where(finite, following, 0) - np.where(finite, last, 0) <= 1e-9 * largest)


def tied_donors(model: Any, rows: np.ndarray) -> np.ndarray:
    """Return which rows of a KNNImputer have a last donor that is as far away as the next one, for a missing value."""
    distances = nan_euclidean_distances(rows, model._fit_X, missing_values=model.missing_values)
    missing = np.isnan(rows) if model.missing_values != model.missing_values else rows == model.missing_values
    tied = np.zeros(len(rows), bool)
    for k in range(rows.shape[1]):
        donors = np.sort(distances[:, ~model._mask_fit_X[:, k]], axis=1)
        if model.n_neighbors < donors.shape[1]:
            last, following = donors[:, model.n_neighbors - 1], donors[:, model.n_neighbors]
            tied |= missing[:, k] & (following - last <= 1e-9 * last)
    return tied


def margins(model: Any, method: str, rows: Any, got: np.ndarray) -> np.ndarray | None:
    """Return per row how far the scores behind a label are from a tie, relative to their scale; None without scores."""
    if method not in ("predict", "transform"):
        return None
    for name in ("decision_function", "predict_proba"):
        if hasattr(model, name):
            scores = getattr(model, name)(rows)
            if isinstance(scores, list):
                return np.min([_margin(s) for s in scores], axis=0)
            if got.ndim == 2 and np.ndim(scores) == 2:
                # Label sets: each column against its own threshold.
                middle = 0.0 if name == "decision_function" else 0.5
                return np.min(np.abs(scores - middle), axis=1)
            return _margin(np.asarray(scores))
    if hasattr(model, "cluster_centers_") and not hasattr(model, "_bisecting_tree"):
        from sklearn.metrics import pairwise_distances

        return _margin(-pairwise_distances(rows, model.cluster_centers_, metric="sqeuclidean"))
    return None


def _margin(scores: np.ndarray) -> np.ndarray:
    if scores.ndim == 1:
        return np.abs(scores) / max(float(np.max(np.abs(scores))), 1e-30)
    if scores.shape[1] == 1:
        return np.zeros(len(scores))
    ordered = np.sort(scores, axis=1)
    return (ordered[:, -1] - ordered[:, -2]) / max(float(np.max(np.abs(scores))), 1e-30)
