"""Discrete outputs: equal, tied, wrong."""

from __future__ import annotations

import numpy as np
import pytest

from any2onnx.parity import Verdict
from any2onnx.parity.labels import LabelScores, canonical, compare_labels, equal_elements, margins


def test_equal_labels_are_exact():
    found = compare_labels(np.array([0, 1, 2]), None, np.array([0, 1, 2], dtype=np.int32), 3)
    assert (found.equal, found.tied, found.wrong, found.verdict) == (3, 0, 0, Verdict.EXACT)


def test_one_wrong_label_is_a_mismatch_and_is_located():
    found = compare_labels(np.array(["a", "b"]), None, np.array(["a", "c"], dtype=object), 2)
    assert found.verdict is Verdict.MISMATCH
    assert found.first_wrong == (1,)
    assert "'b'" in found.note
    assert "'c'" in found.note


def test_label_of_the_float64_reference_counts_as_equal():
    found = compare_labels(np.array([0, 1]), np.array([1, 1]), np.array([1, 1]), 2)
    assert found.verdict is Verdict.EXACT


def test_ties_are_counted_and_pass():
    found = compare_labels(np.array([0, 1]), None, np.array([1, 1]), 2, lambda rows, differing, answered: answered == 1)
    assert (found.equal, found.tied, found.wrong) == (1, 1, 0)
    assert found.verdict is Verdict.WITHIN_BUDGET


def test_ties_are_asked_only_for_rows_that_differ():
    asked = []

    def ties(rows, differing, answered):
        asked.append((rows.tolist(), differing.tolist(), answered.tolist()))
        return np.zeros(answered.shape, dtype=bool)

    compare_labels(np.array([0, 1, 2]), None, np.array([0, 5, 2]), 3, ties)
    assert asked == [([1], [[True]], [[5]])]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (np.array([True, False]), np.array([1, 0]), True),
        (np.array([1], dtype=np.uint64), np.array([1]), True),
        (np.array([2**63], dtype=np.uint64), np.array([-(2**63)]), False),
        (np.array(["1"]), np.array([1]), False),
        (np.array([1], dtype=object), np.array([1]), True),
        (np.array(["ä"]), np.array(["ä"], dtype=object), True),
        (np.array(["a "]), np.array(["a"]), False),
        (np.array([1.0]), np.array([1]), True),
        (np.array([1.5]), np.array([1]), False),
        (np.array([np.nan]), np.array([np.nan]), True),
    ],
)
def test_equality_by_value(a, b, same):
    assert equal_elements(canonical(a), canonical(b)).tolist() == [same] * len(a)


def test_margin_of_argmax_is_the_distance_to_the_best_score():
    scores = LabelScores("argmax", np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]]), np.array(["x", "a", "m"]))
    assert margins(scores, np.array(["a", "m"])) == pytest.approx([0.2, 0.0])


def test_a_label_that_is_no_class_is_never_a_tie():
    scores = LabelScores("argmax", np.array([[0.5, 0.5]]), np.array([0, 1]))
    assert margins(scores, np.array([7])).tolist() == [np.inf]


def test_margins_of_thresholds_and_votes():
    one = LabelScores("threshold", np.array([[0.4], [0.6]]), np.array([0, 1]), 0.5)
    assert margins(one, np.array([0, 1])) == pytest.approx([0.1, 0.1])
    votes = LabelScores("pairs", np.array([[2.0, -0.1, 1.0]]), np.array([0, 1, 2]))
    assert margins(votes, np.array([1])) == pytest.approx([0.1])
