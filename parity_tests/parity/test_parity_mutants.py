"""Tests of the harness: wrong conversions are caught by the suite that is meant for them, right ones are not failed."""

from __future__ import annotations

import os
import subprocess
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import pytest

from any2onnx.errors import UnknownOption
from any2onnx.parity.self_test import Mutant, all_mutants, all_specimens, ill_conditioned
from any2onnx.parity.self_test.__main__ import main
from any2onnx.parity.self_test.running import caught, judge_mutant, judge_specimen
from any2onnx.parity.suites import SUITES

MUTANTS = all_mutants()
SPECIMENS = all_specimens()


def test_enough_of_them_from_every_framework():
    by_framework = {}
    for mutant in MUTANTS:
        by_framework.setdefault(mutant.specimen.framework, []).append(mutant.name)
    assert {name: len(found) >= 15 for name, found in by_framework.items()} == dict.fromkeys(by_framework, True)
    assert len(MUTANTS) >= 80
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert len(ill_conditioned.SPECIMENS) >= 15
    assert {mutant.suite for mutant in MUTANTS} <= {*SUITES, "structure"}
    # Every suite but the user's data and the one that only repeats has something that only it is there for.
    assert {mutant.suite for mutant in MUTANTS} >= set(SUITES) - {"data"}


@pytest.mark.parametrize("specimen", SPECIMENS, ids=lambda specimen: specimen.name)
def test_right_conversions_pass(specimen):
    report = judge_specimen(specimen)
    assert report.passed, report


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_wrong_conversions_are_caught_by_their_suite(mutant):
    report = judge_mutant(mutant)
    assert caught(mutant, report), report


def test_a_mutant_that_changes_nothing_is_not_caught():
    specimen = next(item for item in SPECIMENS if item.name == "binarizer")
    assert not caught(Mutant("none", specimen, "boundary"), judge_mutant(Mutant("none", specimen, "boundary")))


def test_an_edit_that_does_not_fit_is_an_error():
    specimen = next(item for item in SPECIMENS if item.name == "binarizer")
    with pytest.raises(ValueError, match="is not in the text"):
        Mutant("odd", specimen, "typical", (("Nonsense", "Other"),)).subject()
    with pytest.raises(ValueError, match="no constant"):
        Mutant("odd", specimen, "typical", weights={"nothing": lambda values: values}).subject()


def test_the_command_prints_the_rates(capsys):
    assert main(["--framework", "scikit-learn", "--only", "binarizer"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "kill rate 0/0, false alarms 0/1"
    assert main(["--framework", "scikit-learn", "--only", "threshold included"]) == 0
    assert "kill rate 1/1" in capsys.readouterr().out
    # Nothing chosen is nothing shown.
    assert main(["--only", "no such name"]) == 1
    with pytest.raises(UnknownOption, match="did you mean"):
        all_mutants("scikit-lern")


def test_the_lists_import_no_framework():
    code = (
        "import sys, any2onnx.parity.self_test as t; t.all_mutants(); t.all_specimens(); "
        "print(sorted({'torch', 'keras', 'sklearn', 'tensorflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_documented_numbers_are_those_of_the_lists():
    from pathlib import Path

    from any2onnx.parity.self_test.ill_conditioned import SPECIMENS

    text = (Path(__file__).parents[2] / "docs" / "parity_method.md").read_text(encoding="utf-8")
    specimens, mutants = len(list(all_specimens())), len(list(all_mutants()))
    assert f"all {specimens}, {len(SPECIMENS)} of them ill-conditioned," in text
    assert f"{mutants} wrong ones," in text
