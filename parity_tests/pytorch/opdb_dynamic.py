"""Survey of torch's operator database with dynamic sizes: traced at one sample, run at others.

    python parity_tests/pytorch/opdb_dynamic.py --out dynamic.jsonl --resume --show

Each entry's first samples are traced with every dim marked `torch.export.Dim.AUTO`: torch keeps the dims that the
operator leaves free. The model then runs on the traced sample and on samples whose free dims are longer: the same
tensors with their first elements appended along each. What torch itself answers for those is what is expected.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import opdb_support as opdb
import torch
from opdb_survey import SECONDS, TooSlow, _alarm

from any2onnx.converters.capturing import CAPTURE
from any2onnx.errors import Any2OnnxError, ExportFailed

# What must be sorted, positive definite or the factors of a matrix is not so any longer at other sizes.
SPECIAL = re.compile(r"bucketize|searchsorted|.*cholesky.*|linalg.tensorinv|linalg.ldl_solve")


def free_dims(program: Any) -> list[dict[int, Any]]:
    """Return for each tensor input of a program its dynamic dims and their size expressions."""
    nodes = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    found = []
    for spec in program.graph_signature.input_specs:
        if spec.kind.name != "USER_INPUT":
            continue
        val = nodes[spec.arg.name].meta.get("val")
        if hasattr(val, "shape"):
            found.append({k: s.node.expr for k, s in enumerate(val.shape) if not isinstance(s, int)})
    return found


def longer(tensors: Sequence[torch.Tensor], dims: Sequence[dict[int, Any]], more: int) -> list[torch.Tensor] | None:
    """Return tensors whose free dims are longer by `more`; None where a size is no symbol of its own."""
    result = []
    source = torch.Generator().manual_seed(0)
    for tensor, free in zip(tensors, dims, strict=True):
        for axis, expression in free.items():
            if not expression.is_Symbol:
                return None
            if tensor.shape[axis] == 0:
                return None
            place = torch.arange(tensor.shape[axis] + more)
            tensor = tensor.index_select(axis, place % tensor.shape[axis])
            if tensor.is_floating_point():
                # Not the same again: repeated rows would make matrices singular.
                factor = 1 - (place >= tensor.shape[axis] - more) * torch.rand(len(place), generator=source)
                tensor = (tensor.movedim(axis, -1) * factor.to(tensor.dtype)).movedim(-1, axis)
        result.append(tensor.contiguous())
    return result


def check_dynamic(op: Any, sample: Any) -> opdb.Outcome:
    """Trace a sample with free dims and compare at its own and at longer sizes."""
    case = opdb.prepare(op, sample)
    if any(t.dim() == 0 for t in case.tensors) and all(t.dim() == 0 for t in case.tensors):
        raise opdb.NotExportable("no dims")
    marks = [dict.fromkeys(range(t.dim()), torch.export.Dim.AUTO) for t in case.tensors]
    try:
        copies = tuple(t.clone() for t in case.tensors)
        with CAPTURE:
            program = torch.export.export(case.model, copies, dynamic_shapes=(tuple(marks),), strict=False)
    except Exception as error:
        raise opdb.NotExportable(f"{type(error).__name__}: {error}") from error
    dims = free_dims(program)
    if not any(dims):
        raise opdb.NotExportable("no dim stays free")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            proto = opdb._proto(opdb.build(program))
    except ExportFailed as error:
        raise opdb.NotExportable(str(error)) from error
    except Any2OnnxError as error:
        return opdb.Outcome("refused", f"{type(error).__name__}: {error}")
    except Exception as error:
        return opdb.Outcome("error", f"{type(error).__name__}: {error}")
    guarded = any(p.key == "any2onnx.sizes" for p in proto.metadata_props)
    for more in (0,) if SPECIAL.fullmatch(op.name) else (0, 1, 3):
        tensors = longer(case.tensors, dims, more)
        if tensors is None:
            break
        try:
            want = [v for v in torch.utils._pytree.tree_leaves(case.model(*opdb._copies(tensors))) if v is not None]
        except Exception:  # torch does not take the longer tensors either
            continue
        try:
            got = opdb.run_model(proto, tensors)
        except Exception as error:
            if guarded and more:
                continue
            return opdb.Outcome("error", f"+{more}: {type(error).__name__}: {error}")
        outcome = opdb.judge(opdb.Case(op, case.model, tuple(tensors), tuple(want)), got)
        random = "values differ" in outcome.detail and opdb.draws_numbers(program)
        if outcome.status != "same" and not random and not (guarded and more):
            return opdb.Outcome(outcome.status, f"+{more}: {outcome.detail}")
    return opdb.Outcome("same")


def survey(task: tuple[str, int]) -> dict[str, Any]:
    """Check the first samples of one entry."""
    name, most = task
    signal.signal(signal.SIGALRM, _alarm)
    op = next(op for op in opdb.database() if opdb.label(op) == name)
    counts: Counter[str] = Counter()
    details: list[str] = []
    started = time.process_time()
    dtype = next((d for d in (torch.float32, torch.int64) if d in op.supported_dtypes("cpu")), None)
    found = list(opdb.samples(op, dtype, every=True)) if dtype else []
    for k in sorted({int(k * max(len(found) / most, 1)) for k in range(min(most, len(found)))}):
        signal.alarm(SECONDS)
        try:
            outcome = check_dynamic(op, found[k])
        except opdb.NotExportable as error:
            outcome = opdb.Outcome("not exportable", str(error))
        except TooSlow as error:
            outcome = opdb.Outcome("error", str(error))
        finally:
            signal.alarm(0)
        counts[outcome.status] += 1
        if outcome.status in ("wrong", "error", "refused"):
            details.append(f"{outcome.status} [{k}] {outcome.detail[:500]}")
    return {"entry": name, **counts, "details": details, "seconds": round(time.process_time() - started, 2)}


def main() -> None:
    """Run the survey from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=".*")
    parser.add_argument("--most", type=int, default=3)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--show", action="store_true")
    arguments = parser.parse_args()
    done: list[dict[str, Any]] = []
    if arguments.resume and arguments.out.exists():
        done = [json.loads(line) for line in arguments.out.read_text().splitlines()]
    names = list(dict.fromkeys(opdb.label(op) for op in opdb.database()))[:: arguments.every]
    seen = {line["entry"] for line in done}
    work = [(n, arguments.most) for n in names if re.fullmatch(arguments.only, n) and n not in seen]
    out = arguments.out.open("a" if arguments.resume else "w")
    with multiprocessing.get_context("fork").Pool(arguments.jobs, maxtasksperchild=100) as pool:
        for line in pool.imap_unordered(survey, work):
            done.append(line)
            print(json.dumps(line), file=out, flush=True)
            if arguments.show and line["details"]:
                print(line["entry"], *line["details"], sep="\n    ", flush=True)
    totals = Counter("failed" if line["details"] else "passed" if line.get("same") else "static" for line in done)
    print(f"{totals['passed']} entries pass at longer sizes, {totals['failed']} do not, {totals['static']} stay static")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
