"""``python -m any2onnx.parity.self_test``."""

from __future__ import annotations

import argparse
import sys

from any2onnx.parity.self_test.running import run_self_test
from any2onnx.parity.self_test.specimen import FRAMEWORKS


def main(arguments: list[str] | None = None) -> int:
    """Run the self-test; returns 0 when all mutants are caught and no specimen fails, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m any2onnx.parity.self_test", description=__doc__)
    parser.add_argument("--framework", choices=FRAMEWORKS, help="only this framework")
    parser.add_argument("--only", default="", metavar="TEXT", help="only what has this text in its name")
    chosen = parser.parse_args(arguments)
    outcomes = []
    for outcome in run_self_test(chosen.framework, chosen.only):
        outcomes.append(outcome)
        state = "ok  " if outcome.right else "FAIL"
        suite = f" by {outcome.suite}" if outcome.suite else ""
        print(f"{state} {outcome.framework:12} {outcome.kind:8} {outcome.name}{suite}: {outcome.note}", flush=True)
    mutants = [outcome for outcome in outcomes if outcome.kind == "mutant"]
    specimens = [outcome for outcome in outcomes if outcome.kind == "specimen"]
    killed, alarms = sum(m.right for m in mutants), sum(not s.right for s in specimens)
    print(f"kill rate {killed}/{len(mutants)}, false alarms {alarms}/{len(specimens)}")
    return 0 if killed == len(mutants) and not alarms and outcomes else 1


if __name__ == "__main__":
    sys.exit(main())
