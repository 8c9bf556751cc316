"""Runs the generated suite of layers under one Keras backend, whole or in parts, in a process of its own.

    KERAS_BACKEND=jax python parity_tests/keras/run_layer_suite.py --part 1/4

A backend or a runtime that ends its process is told apart from one that raises, and the rest goes on. What Keras itself
cannot do is listed in keras_refuses.tsv, with Keras's own error: the program compares with the list, and --write writes
it anew. The exit status is 0 where nothing failed and the list is right.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SUITE = Path(__file__).with_name("layer_suite.py")
LIST = Path(__file__).with_name("keras_refuses.tsv")
Outcome = dict[str, str]


def listed() -> dict[tuple[str, str], str]:
    """Return what keras_refuses.tsv has: backend and name of the configuration to Keras's own error."""
    with LIST.open(encoding="utf-8", newline="") as file:
        return {(row["backend"], row["configuration"]): row["error"] for row in csv.DictReader(file, delimiter="\t")}


def outcomes(arguments: list[str]) -> Iterator[tuple[str, Outcome]]:
    """Yield name and outcome of every case, starting the process again behind a case that ends it."""
    done, count = 0, 1
    while done < count:
        command = [sys.executable, str(SUITE), *arguments, "--start", str(done)]
        name = stage = ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if not line.startswith("{"):
                    continue
                said = json.loads(line)
                count = said.get("count", count)
                name, stage = said.get("name", name), said.get("stage", stage)
                if said["outcome"] is not None:
                    done += 1
                    yield name, said["outcome"]
                    name = ""
        if done < count:
            if not name:
                raise RuntimeError(f"the process ended at once: {' '.join(command)}")
            # Of several batches, the one that ended it says nothing about the case.
            where = stage.partition(",")[0]
            done += 1
            yield name, {"refused" if where == "Keras" else "failed": f"the process ended ({where})"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--opset", default="21")
    parser.add_argument("--part", default="1/1", help="k/n: every n-th case from the k-th on")
    parser.add_argument("--layer", help="of one layer only")
    parser.add_argument("--batches", default="0,1,3")
    parser.add_argument("--write", action="store_true", help="write the list of what Keras cannot do")
    given = parser.parse_args()
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    # Every function is compiled once for every shape, and run once.
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
    k, n = given.part.split("/")
    arguments = ["--opset", given.opset, "--batches", given.batches, "--k", k, "--n", n]
    found: dict[str, Outcome] = {"failed": {}, "refused": {}, "opset_refused": {}}
    run: set[str] = set()
    for name, what in outcomes([*arguments, *(["--layer", given.layer] if given.layer else [])]):
        run.add(name)
        for kind, message in what.items():
            found[kind][name] = message
            print(f"{kind}: {name}: {message}", file=sys.stderr, flush=True)
    if given.write:
        write(backend, run, found["refused"])
    known = {name for where, name in listed() if where == backend}
    report = {
        "backend": backend,
        "opset": given.opset,
        "cases": len(run),
        **found,
        "unlisted": sorted(set(found["refused"]) - known),
        "gone": sorted(known & run - set(found["refused"])),
    }
    print(json.dumps(report))
    return 1 if report["failed"] or report["unlisted"] or report["gone"] else 0


def write(backend: str, run: set[str], refused: Outcome) -> None:
    """Replace what the list says about the configurations that were run."""
    rows = {key: text for key, text in listed().items() if key[0] != backend or key[1] not in run}
    rows |= {(backend, name): text for name, text in refused.items()}
    with LIST.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["backend", "configuration", "error"])
        writer.writerows([*key, text] for key, text in sorted(rows.items()))


if __name__ == "__main__":
    sys.exit(main())
