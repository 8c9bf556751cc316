"""Sizes at which a model takes another path than the traced one.

torch.export follows one path through `if` statements on sizes and keeps the conditions of that path as guards. The
ONNX model has this one path only, so a guard that other sizes break is worth a warning.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from any2onnx.converters.capturing import warn

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
    if env is None or not env.guards or not names:
        return []
    found: list[str] = []
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


def _shape_env(program: Any) -> Any:
    for node in program.graph.nodes:
        mode = getattr(node.meta.get("val"), "fake_mode", None)
        if mode is not None:
            return mode.shape_env
    return None


def _traced(env: Any) -> Mapping[Any, Any]:
    values: Mapping[Any, Any] = getattr(env, "backed_var_to_val", None) or env.var_to_val
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
