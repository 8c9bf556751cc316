"""Sizes at which a model takes another path than the traced one.

torch.export follows one path through `if` statements on sizes and keeps the conditions of that path as guards. The
ONNX model has this one path only, so a guard that other sizes break is worth a warning.

Of `squeeze` no guard is kept: the trace takes a dynamic dim to be longer than 1 (`capture._settings`) and leaves it
there. What depends on that is found by its nodes. Nor is there one of ``size == 0``, which torch takes to be false of
any size that is dynamic; so a trace with an empty example is run and compared.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from any2onnx.converters.capturing import warn
from any2onnx.converters.pytorch.keys import target_key
from any2onnx.errors import ExportFailed

# Sizes that are tried: from the traced one up to this multiple of it. Far beyond, most models have limits of their own.
_REACH = 3
_MOST_TRIALS = 400
_MOST_SHOWN = 3


def warn_of_other_paths(program: Any, names: Mapping[Any, str]) -> list[str]:
    """Warn of conditions on sizes that the trace has relied on and that larger sizes do not meet.

    Conditions that only exclude sizes below the traced ones are left out: a convolution has a smallest input.

    Args:
        program: The exported program.
        names: Of its size symbols; equal names are equal sizes.

    Returns:
        The conditions, in terms of the names.
    """
    env = _shape_env(program)
    if env is None:
        return []
    found = _dims_taken_as_long(program, env, names)
    traced = {names[s]: int(v) for s, v in _traced(env).items() if s in names}
    for expression in dict.fromkeys(guard.expr for guard in env.guards):
        if any(symbol not in names for symbol in expression.free_symbols):
            continue
        text = _text(expression, names)
        used = [name for name in traced if re.search(rf"\b{re.escape(_word(name))}\b", text)]
        if used and _breaks(text, used, traced):
            found.append(_readable(text, used))
    if found:
        more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
        warn(
            "the model takes another path for sizes at which this does not hold: "
            + "; ".join(found[:_MOST_SHOWN])
            + more
            + ". The ONNX model has the traced path only and is right where the conditions hold"
        )
    return found


def _dims_taken_as_long(program: Any, env: Any, names: Mapping[Any, str]) -> list[str]:
    """Return the conditions under which `squeeze` leaves dynamic dims where the trace does.

    Raises:
        ExportFailed: One does not hold for the example itself.
    """
    found: list[str] = []
    for graph in (module.graph for module in program.graph_module.modules() if hasattr(module, "graph")):
        for node in graph.nodes:
            if node.op != "call_function" or not target_key(node.target).startswith("aten.squeeze"):
                continue
            for size in _squeezed(node):
                if env.bound_sympy(size).lower >= 2:
                    continue
                length = size.xreplace(_traced(env))
                known = all(symbol in names for symbol in size.free_symbols)
                text = _readable(_text(size, names), list(names.values())) if known else "a size found in the data"
                if length == 1:
                    where = str(node.meta.get("stack_trace") or "").strip().splitlines()
                    raise ExportFailed(
                        f"squeeze removes a dim of the example, {text} = 1, that was declared dynamic: at every other "
                        "size the dim stays",
                        where=where[-1].strip() if where else None,
                        needs="results of as many dims at every size",
                        remedy="drop the dimension from dynamic_shapes; or index it, x[:, 0]; or squeeze(dim) another",
                    )
                found.append(f"{text} != 1")
    return list(dict.fromkeys(found))


def _squeezed(node: Any) -> list[Any]:
    """Return the sizes, as expressions, of the dynamic dims that a squeeze would remove if they were 1."""
    shape = getattr(node.args[0].meta.get("val"), "shape", ())
    dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", range(len(shape)))
    chosen = [shape[d] for d in ([dims] if isinstance(dims, int) else dims)] if shape else []
    return [size.node.expr for size in chosen if not isinstance(size, int) and size.node.maybe_as_int() is None]


def check_empty_example(program: Any, model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Compare the program of an example that has a dynamic dim of size 0 with the model, on this example.

    Raises:
        ExportFailed: They differ: the model has a path of its own for size 0, and the trace has taken the other.
    """
    import copy

    import torch

    placeholders = [n.meta.get("val") for n in program.graph.nodes if n.op == "placeholder"]
    sizes = [s for val in placeholders for s in getattr(val, "shape", ()) if not isinstance(s, int)]
    env = _shape_env(program)
    if not any(size.node.expr.xreplace(_traced(env)) == 0 for size in sizes):
        return
    answers = []
    with torch.random.fork_rng(devices=[]):
        for function in (model, program.module()):
            torch.manual_seed(0)
            leaves = torch.utils._pytree.tree_leaves(function(*copy.deepcopy(args), **copy.deepcopy(dict(kwargs))))
            answers.append([leaf for leaf in leaves if isinstance(leaf, torch.Tensor)])
    same = len(answers[0]) == len(answers[1]) and all(
        a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-5, equal_nan=True)
        for a, b in zip(*answers, strict=True)
    )
    if not same:
        raise ExportFailed(
            "the model takes a path of its own where a dynamic dim has size 0, as it has in the example; torch.export "
            "traces the other path",
            needs="one path for all sizes",
            remedy="an example in which no dynamic dim is empty, or drop the empty one from dynamic_shapes",
        )


def _shape_env(program: Any) -> Any:
    for node in program.graph.nodes:
        mode = getattr(node.meta.get("val"), "fake_mode", None)
        if mode is not None:
            return mode.shape_env
    return None


def _traced(env: Any) -> Mapping[Any, Any]:
    values: Mapping[Any, Any] = env.backed_var_to_val if hasattr(env, "backed_var_to_val") else env.var_to_val
    return values


def _word(name: str) -> str:
    """Return a name as one Python word."""
    return "d_" + re.sub(r"\W", "_", name)


def _text(expression: Any, names: Mapping[Any, str]) -> str:
    import sympy
    from torch.utils._sympy.printers import PythonPrinter

    words = {symbol: sympy.Symbol(_word(names[symbol])) for symbol in expression.free_symbols}
    return str(PythonPrinter().doprint(expression.xreplace(words)))


def _breaks(text: str, used: list[str], traced: Mapping[str, int]) -> bool:
    """Tell whether a condition fails for some sizes from the traced ones on."""
    try:
        code = compile(text, "<guard>", "eval")
        free = [name for name in traced if name.isidentifier() and _concerns(name, used)]
        sums = [(_word(name), compile(name, "<size>", "eval")) for name in used if not name.isidentifier()]
        for sizes in _trials([traced[name] for name in free]):
            by_name = dict(zip(free, sizes, strict=True))
            values = {_word(name): size for name, size in by_name.items()}
            values.update({word: eval(made, _GLOBALS, by_name) for word, made in sums})  # noqa: S307
            if not eval(code, _GLOBALS, values):  # noqa: S307
                return True
        return False
    except (SyntaxError, NameError, ZeroDivisionError, TypeError, AttributeError):
        # Printed with functions that are no plain Python: nothing can be said of it.
        return False


_GLOBALS = {"__builtins__": {}, "min": min, "max": max, "abs": abs, "int": int, "float": float}


def _concerns(name: str, used: list[str]) -> bool:
    """Tell whether a size is used, or is part of one that is: users may call a size ``past+length``."""
    return any(re.search(rf"\b{re.escape(name)}\b", other) for other in used)


def _trials(traced: list[int]) -> Iterator[tuple[int, ...]]:
    each = max(2, int(_MOST_TRIALS ** (1 / len(traced))))
    ranges = [list(range(max(t, 2), _REACH * max(t, 2) + 2)) for t in traced]
    # Several sizes at once: neighbours of the traced ones matter most, then a spread over the range.
    chosen = [
        r if len(r) <= each else sorted({*r[: each // 2], *r[:: max(1, len(r) // (each // 2 + 1))]}) for r in ranges
    ]
    return itertools.islice(itertools.product(*chosen), _MOST_TRIALS)


def _readable(text: str, used: list[str]) -> str:
    for name in used:
        text = re.sub(rf"\b{re.escape(_word(name))}\b", name, text)
    return text
