"""Tests of the harness itself: conversions that are wrong on purpose, and right ones that are hard to judge.

Every *specimen* is a small model of one framework with its ONNX form written out by hand, so that it depends on no
converter. A *mutant* is a specimen with one mistake that real converters make; a named suite must catch it. A right
specimen, and every *ill-conditioned* one, must pass all suites.

    python -m any2onnx.parity.self_test [--framework NAME] [--only TEXT]

prints the kill rate and the false-alarm rate, and exits with 1 unless they are 100 % and 0 %.
"""

from __future__ import annotations

from any2onnx.parity.self_test.running import Outcome, run_self_test
from any2onnx.parity.self_test.specimen import Mutant, Specimen, Subject, all_mutants, all_specimens

__all__ = ["Mutant", "Outcome", "Specimen", "Subject", "all_mutants", "all_specimens", "run_self_test"]
