"""Survey of torch's operator database: every entry with all its samples, in several element types.

    python parity_tests/pytorch/opdb_survey.py --dtypes float32,int64 --jobs 2 --out survey.jsonl
    python parity_tests/pytorch/opdb_survey.py --dtypes float32 --only 'linalg.*' --show

One line of JSON for each entry and type: how many samples are the same, refused, wrong or in error, and the first
messages of each kind. An entry passes where every sample that torch.export can trace is the same.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DTYPES = ("float32", "float64", "int64", "int32", "bool", "float16", "bfloat16", "complex64")
MOST_FAILURES = 12
# For a few samples together, on the wall.
SECONDS = 120
# Of one entry in one type, on the processor; what is left then counts as untried.
LIMIT = 1200.0


STATUSES = ("same", "wrong", "error", "refused", "not exportable")


class TooSlow(Exception):
    """A sample took longer than its limit."""


def _alarm(_number: int, _frame: Any) -> None:
    raise TooSlow(f"no result after {SECONDS} s")


def _outcomes(op: Any, found: list[Any], opset: int) -> list[Any]:
    """Check a few samples, together or, where that takes too long or fails, one by one."""
    import opdb_support as opdb

    signal.alarm(SECONDS)
    try:
        return list(opdb.check_all(op, found, opset))
    except TooSlow as error:
        outcome = opdb.Outcome("error", f"TooSlow: {error}")
    except Exception as error:
        outcome = opdb.Outcome("error", f"survey: {type(error).__name__}: {error}")
    finally:
        signal.alarm(0)
    if len(found) == 1:
        return [outcome]
    return [o for sample in found for o in _outcomes(op, [sample], opset)]


def survey_entry(op: Any, dtype_name: str, most: int, opset: int = 21) -> dict[str, Any]:
    """Check the samples of one entry, at most so many, evenly spread (0: all of them)."""
    import opdb_support as opdb
    import torch

    signal.signal(signal.SIGALRM, _alarm)
    dtype = getattr(torch, dtype_name)
    counts: Counter[str] = Counter()
    details: dict[str, list[str]] = {}
    started = time.process_time()
    found = list(opdb.samples(op, dtype, every=True))
    step = max(len(found) / most, 1.0) if most else 1.0
    chosen = sorted({int(k * step) for k in range(int(len(found) / step))})
    for start in range(0, len(chosen), opdb.TOGETHER):
        places = chosen[start : start + opdb.TOGETHER]
        for k, outcome in zip(places, _outcomes(op, [found[k] for k in places], opset), strict=True):
            counts[outcome.status] += 1
            if outcome.status != "same":
                messages = details.setdefault(outcome.status, [])
                if len(messages) < 4 and all(m.partition("] ")[2] != outcome.detail[:700] for m in messages):
                    messages.append(f"[{k}] {outcome.detail[:700]}")
        if (
            sum(counts[s] for s in ("refused", "wrong", "error")) >= MOST_FAILURES
            or time.process_time() - started > LIMIT
        ):
            break
    tried = sum(counts.values())
    return {
        "entry": opdb.label(op),
        "dtype": dtype_name,
        "opset": opset,
        **dict(counts),
        "untried": len(found) - tried,
        "seconds": round(time.process_time() - started, 2),
        "details": details,
    }


def _worker(task: tuple[str, str, int, int]) -> dict[str, Any]:
    import opdb_support as opdb

    name, dtype_name, most, opset = task
    op = next(op for op in opdb.database() if opdb.label(op) == name)
    return survey_entry(op, dtype_name, most, opset)


def tasks(dtypes: list[str], only: str, most: int, opset: int) -> Iterator[tuple[str, str, int, int]]:
    """Return the entries and types to look at."""
    import opdb_support as opdb
    import torch

    pattern = re.compile(only)
    for dtype_name in dtypes:
        for op in opdb.entries(getattr(torch, dtype_name)):
            if pattern.fullmatch(opdb.label(op)):
                yield opdb.label(op), dtype_name, most, opset


def status_of(line: dict[str, Any]) -> str:
    """Return the verdict on one entry and type: the worst of its samples, ``pass``, or ``not exportable``."""
    if "verdict" in line:
        return str(line["verdict"])
    for status in ("wrong", "error", "refused"):
        if line.get(status):
            return status
    return "pass" if line.get("same") else "not exportable"


def summary(lines: list[dict[str, Any]]) -> str:
    """Return the counts for each element type."""
    text = []
    for dtype in dict.fromkeys(line["dtype"] for line in lines):
        found = Counter(status_of(line) for line in lines if line["dtype"] == dtype)
        exportable = sum(found.values()) - found["not exportable"]
        share = 100 * found["pass"] / exportable if exportable else 100.0
        rest = ", ".join(f"{found[s]} {s}" for s in ("refused", "wrong", "error"))
        tried = sum(line.get(s, 0) for line in lines if line["dtype"] == dtype for s in STATUSES)
        left = sum(line.get("untried", 0) for line in lines if line["dtype"] == dtype)
        rest += f"; {tried} of {tried + left} samples tried"
        earlier = sum("verdict" in line for line in lines if line["dtype"] == dtype)
        rest += f", {earlier} entries as in the table before" if earlier else ""
        text.append(f"{dtype}: {found['pass']} of {exportable} exportable entries pass ({share:.1f} %); {rest}")
    return "\n".join(text)


def markdown(lines: list[dict[str, Any]]) -> str:
    """Return a table: every entry, and what became of it in each element type; of several lines the last counts."""
    found = {(line["entry"], line["dtype"]): line for line in lines}
    dtypes = sorted({line["dtype"] for line in lines}, key=DTYPES.index)
    text = [
        "# Coverage: torch's operator database",
        "",
        "Written by `parity_tests/pytorch/opdb_survey.py --markdown` from torch.testing's `op_db`, run in onnxruntime.",
        "An entry passes where every sample that was tried and that torch.export can trace gives the same; where not",
        "all samples were tried, they are spread evenly over the entry's list. `–` is what torch does not have, or",
        "cannot export, in that type. Answers in half types are judged by float64, to two units in the last place or",
        "twice torch's own error; bfloat16 runs through the casts to float32 that the converter puts around operators.",
        "",
        *(f"* {line}" for line in summary(sorted(found.values(), key=_of_type)).splitlines()),
        "",
        f"| entry | {' | '.join(dtypes)} | why not |",
        f"| --- |{' --- |' * (len(dtypes) + 1)}",
    ]
    for entry in sorted({name for name, _ in found}):
        cells, why = [], ""
        for dtype in dtypes:
            line = found.get((entry, dtype))
            verdict = status_of(line) if line else "–"
            cells.append("–" if verdict == "not exportable" else verdict)
            if line and not why:
                messages = line["details"].get("refused", [])
                why = messages[0].partition("] ")[2].partition("\n")[0].partition(" (did you")[0] if messages else ""
        text.append(f"| {entry} | {' | '.join(cells)} | {why.replace('|', chr(92) + '|')} |")
    return "\n".join(text) + "\n"


def _of_type(line: dict[str, Any]) -> int:
    return DTYPES.index(line["dtype"])


def from_table(text: str) -> list[dict[str, Any]]:
    """Return the verdicts of a table that `markdown` wrote, as results to --merge with newer ones."""
    rows = [[c.strip() for c in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("| ")]
    dtypes = [c for c in rows[0][1:] if c not in ("why not |", "why not")]
    found = []
    for row in rows[2:]:
        cells, why = row[1 : 1 + len(dtypes)], " | ".join(row[1 + len(dtypes) :])
        found += [
            {
                "entry": row[0],
                "dtype": d,
                "verdict": c,
                "details": {"refused": [f"[0] {why}"]} if c == "refused" else {},
            }
            for d, c in zip(dtypes, cells, strict=True)
            if c != "–"
        ]
    return found


def _earlier(path: Path) -> list[dict[str, Any]]:
    text = path.read_text(encoding="utf-8")
    return from_table(text) if path.suffix == ".md" else [json.loads(line) for line in text.splitlines()]


def main() -> None:
    """Run the survey from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", default=",".join(DTYPES))
    parser.add_argument("--only", default=".*", help="regular expression for the entries' names")
    parser.add_argument("--most", type=int, default=0, help="at most so many samples of each entry (0: all)")
    parser.add_argument("--opset", type=int, default=21)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--resume", action="store_true", help="go on where an earlier run into --out ended")
    parser.add_argument("--show", action="store_true", help="print what does not pass")
    parser.add_argument("--again", type=Path, help="only what did not pass in this earlier survey")
    parser.add_argument("--markdown", type=Path, help="write a table of this and the --merge surveys")
    parser.add_argument(
        "--merge", type=Path, nargs="*", default=[], help="results of earlier surveys, or an earlier table"
    )
    arguments = parser.parse_args()
    work = list(tasks(arguments.dtypes.split(","), arguments.only, arguments.most, arguments.opset))
    if arguments.again:
        earlier = [json.loads(line) for line in arguments.again.read_text().splitlines()]
        failed = {(e["entry"], e["dtype"]) for e in earlier if status_of(e) in ("wrong", "error", "refused")}
        work = [task for task in work if task[:2] in failed]
    lines = []
    if arguments.resume and arguments.out and arguments.out.exists():
        lines = [json.loads(line) for line in arguments.out.read_text().splitlines()]
        done = {(line["entry"], line["dtype"]) for line in lines}
        work = [task for task in work if task[:2] not in done]
    out = arguments.out.open("a" if arguments.resume else "w") if arguments.out else None
    context = multiprocessing.get_context("fork")
    with context.Pool(arguments.jobs, maxtasksperchild=100) as pool:
        for line in pool.imap_unordered(_worker, work):
            lines.append(line)
            if out:
                print(json.dumps(line), file=out, flush=True)
            if arguments.show and status_of(line) in ("wrong", "error", "refused"):
                shown = {k: v for k, v in line.items() if k not in ("details", "entry", "dtype")}
                print(f"{line['entry']} {line['dtype']}: {status_of(line)} {shown}")
                for status in ("wrong", "error", "refused"):
                    for message in line["details"].get(status, []):
                        print(f"    {status} {message}", flush=True)
    print(summary(lines))
    if arguments.markdown:
        earlier = [line for path in arguments.merge for line in _earlier(path)]
        arguments.markdown.write_text(markdown(earlier + lines), encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
