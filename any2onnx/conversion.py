"""What every `convert_*` does after its front-end: finish the graph, check it, compare it when asked to."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from any2onnx.converters.finish import Finish, finish
from any2onnx.errors import UnknownOption, UsageError, did_you_mean


def finishing_arguments(
    framework: str,
    name: str | None,
    doc_string: str,
    given: Mapping[str, Any],
    output_path: str | Path | None,
    *,
    optimized: bool = True,
) -> Finish:
    """Return what to do after building, from the keyword arguments of a `convert_*` call.

    Raises:
        UnknownOption: An argument that does not exist.
    """
    known = {field.name for field in fields(Finish)} - {"framework", "steps", "verify"}
    for key in given:
        if key not in known:
            raise UnknownOption(f"there is no argument {key!r}{did_you_mean(key, known)}")
    chosen: dict[str, Any] = {"optimized": optimized, "output_path": output_path}
    chosen.update({key: value for key, value in given.items() if value is not None})
    return Finish(framework=framework, name=name or "", doc_string=doc_string or "", **chosen)


def finish_and_check(
    model: Any,
    built: ir.Model,
    request: Finish,
    parity: str,
    *,
    steps: Sequence[Callable[[onnx.ModelProto], onnx.ModelProto]] = (),
    allowed: Sequence[str] | None = None,
    forbidden: Sequence[str] | None = None,
    data: Any = None,
) -> onnx.ModelProto:
    """Return the finished model, compared with the original where `parity` is "smoke" or "full".

    Raises:
        UsageError: The graph uses an operator that is not allowed, or `parity` is none of the three words.
        ParityError: The comparison failed; nothing is written then.
    """
    if parity not in ("off", "smoke", "full"):
        raise UsageError(f"parity is {parity!r}", needs="'off', 'smoke' or 'full'")
    request = replace(
        request, steps=tuple(steps), verify=functools.partial(_check_operators, allowed=allowed, forbidden=forbidden)
    )
    if parity == "off":
        return finish(built, request)
    from any2onnx.io.save import save_model
    from any2onnx.parity import check_parity

    proto = finish(built, replace(request, output_path=None))
    report = check_parity(model, proto, data, suites="smoke" if parity == "smoke" else "default")
    report.raise_if_failed()
    result = {"verdict": report.verdict.value, "suites": parity, "budget_used": round(report.budget_used, 3)}
    proto.metadata_props.add(key="any2onnx.parity", value=json.dumps(result, sort_keys=True))
    if request.output_path is None:
        return proto
    return save_model(proto, request.output_path, external_data=request.external_data)


def _check_operators(built: ir.Model, *, allowed: Sequence[str] | None, forbidden: Sequence[str] | None) -> None:
    if allowed is None and forbidden is None:
        return
    used = {node.op_type for node in ir.traversal.RecursiveGraphIterator(built.graph)}
    wrong = sorted((used - set(allowed)) if allowed is not None else used & set(forbidden or ()))
    if wrong:
        raise UsageError(
            f"the model needs the operator {wrong[0]}, which white_op or black_op rules out",
            others=wrong[1:],
            remedy="another target_opset or option may do without it",
        )
