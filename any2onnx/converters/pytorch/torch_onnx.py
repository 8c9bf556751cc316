"""The arguments of torch.onnx.export that convert_pytorch has no use for, or another name.

Those that change nothing about the model are taken and ignored, as torch.onnx itself ignores most of them; those that
ask for something that is not done here are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from any2onnx.errors import UsageError

_IGNORED: Final = frozenset(
    {
        "artifacts_dir",
        "autograd_inlining",
        "do_constant_folding",
        "dynamo",
        "fallback",
        "operator_export_type",
        "verbose",
    }
)


def _is_false(value: Any) -> bool:
    return not value


def _is_evaluation(value: Any) -> bool:
    return value is None or getattr(value, "name", str(value)) == "EVAL"


# Name → the values that may be given, what the others ask for, what to do instead.
_REFUSED: Final[Mapping[str, tuple[Callable[[Any], bool], str, str]]] = {
    "export_params": (
        bool,
        "a model without its weights",
        "save with external_data=True: the .onnx file has none then",
    ),
    "keep_initializers_as_inputs": (
        _is_false,
        "weights among the inputs",
        "leave it out: since IR version 4 a weight need not be an input to be replaced",
    ),
    "training": (
        _is_evaluation,
        "the model in training mode",
        "export the program yourself: torch.export.export(model)",
    ),
    "report": (_is_false, "a report of the conversion", "any2onnx.check_parity(model, onnx_model) returns one"),
    "profile": (_is_false, "a profile of the conversion", "python -m cProfile"),
    "dump_exported_program": (
        _is_false,
        "the exported program as a file",
        "torch.export.save(torch.export.export(…), path)",
    ),
    "export_modules_as_functions": (
        _is_false,
        "modules as functions",
        "names and metadata of nodes carry the module's path",
    ),
}


def without_torch_onnx(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments without those of torch.onnx.export that change nothing.

    Raises:
        UsageError: One of them asks for what is not done here.
    """
    kept: dict[str, Any] = {}
    for name, value in arguments.items():
        if name in _REFUSED:
            allowed, what, instead = _REFUSED[name]
            if not allowed(value):
                raise UsageError(f"{name}={value!r} asks for {what}, which is not done here", remedy=instead)
        elif name not in _IGNORED:
            kept[name] = value
    return kept


def example_inputs(model: Any, args: Any, kwargs: Mapping[str, Any] | None) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return positional and keyword inputs: a lone tensor is a tuple of one, a dict at the end holds keyword inputs.

    torch.onnx takes the last element for keyword inputs whenever it is a dict. Here it is one of the inputs where its
    keys are no parameters of `forward`, so that a model that is given a dict can be converted as it is called.
    """
    given = args if isinstance(args, tuple) else tuple(args) if isinstance(args, list) else (args,)
    if kwargs or not given or not isinstance(given[-1], dict):
        return given, dict(kwargs or {})
    names = _parameters(model)
    if names is None or not set(given[-1]) <= set(names[len(given) - 1 :]):
        return given, {}
    return given[:-1], dict(given[-1])


def _parameters(model: Any) -> list[str] | None:
    import inspect

    forward = getattr(model, "forward", None)
    return list(inspect.signature(forward).parameters) if callable(forward) else None
