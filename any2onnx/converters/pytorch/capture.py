"""From a module to an exported program: evaluation mode, example inputs, dynamic dimensions, errors of the trace."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from any2onnx.converters.capturing import CAPTURE, warn
from any2onnx.converters.pytorch.guards import check_empty_example
from any2onnx.converters.pytorch.quick_trace import limits_as_guards, quick_trace
from any2onnx.converters.pytorch.recurrent_trace import recurrent_layers_whole
from any2onnx.converters.pytorch.replacing import replaced
from any2onnx.converters.pytorch.structures import outputs_registered, register_structures
from any2onnx.converters.pytorch.trace_errors import explained, without_dumps
from any2onnx.errors import Any2OnnxError, NotAModel, UsageError, did_you_mean


def capture(
    model: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    *,
    dynamic_shapes: Any = None,
    dynamic_axes: Any = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> tuple[Any, dict[Any, str]]:
    """Return the exported program and the names of its size symbols.

    Raises:
        NotAModel: The object is neither a module nor an exported program.
        UsageError: The description of dynamic dimensions does not fit the inputs.
        ExportFailed: torch.export cannot trace the model.
    """
    import torch

    if isinstance(model, torch.nn.DataParallel | torch._dynamo.OptimizedModule):
        # What they wrap has the names of the inputs and computes the same.
        model = getattr(model, "_orig_mod", None) or model.module
    if isinstance(model, torch.export.ExportedProgram):
        return model, symbol_names(model, {})
    if isinstance(model, torch.jit.ScriptModule):
        raise NotAModel(
            "a TorchScript module cannot be traced by torch.export", remedy="convert the torch.nn.Module it came from"
        )
    if not isinstance(model, torch.nn.Module) or isinstance(model, type):
        kind = "a class, not an instance" if isinstance(model, type) else f"of type {type(model).__qualname__}"
        raise NotAModel(
            f"the object is {kind}",
            needs="a torch.nn.Module or a torch.export.ExportedProgram",
            remedy="wrap a function in a module whose forward calls it",
        )
    given = _combined(model, args, kwargs)
    if hasattr(dynamic_shapes, "dynamic_shapes"):  # torch.export.ShapesCollection, AdditionalInputs
        dynamic_shapes = dynamic_shapes.dynamic_shapes(model, args, dict(kwargs))
    with CAPTURE:  # a trace of the same model in another thread holds other weights meanwhile
        register_structures(given)
        _check_weights(model, args, kwargs)
        args, kwargs = _apart(model, args, kwargs)
    given = _combined(model, args, kwargs)
    if dynamic_axes is not None and dynamic_shapes is None:
        dynamic_shapes = _from_axes(model, args, kwargs, dynamic_axes, input_names, output_names)
    spec = _complete(dynamic_shapes, given, input_names)
    if isinstance(spec, Mapping):
        spec = {name: _counted_from_front(entry, given.get(name), name) for name, entry in spec.items()}
    elif isinstance(spec, list | tuple):
        spec = _counted_from_front(spec, type(spec)(given.values()), "the inputs")
    names: dict[int, Any] = {}
    if spec is not None:
        _align(spec, given, names)
    with CAPTURE, _evaluation_mode(model), outputs_registered(model), _settings(torch):
        program = _exported(model, args, dict(kwargs), spec)
        if spec is not None:
            check_empty_example(program, model, args, kwargs)
    leaves = torch.utils._pytree.tree_leaves((args, dict(kwargs)))
    return program, symbol_names(program, {k: names[id(leaf)] for k, leaf in enumerate(leaves) if id(leaf) in names})


def _check_weights(model: Any, args: Any, kwargs: Any) -> None:
    """Refuse weights without numbers beside inputs with numbers: torch would speak of two devices.

    Raises:
        UsageError: Some weights are on the meta device.
    """
    import torch

    leaves = torch.utils._pytree.tree_leaves((args, dict(kwargs)))
    if any(isinstance(leaf, torch.Tensor) and leaf.is_meta for leaf in leaves):
        return
    empty = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if empty:
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        raise UsageError(
            f"the weights {empty[0]!r}{more} have no numbers: they are on the meta device",
            needs="a model with its weights in memory",
            remedy="model.load_state_dict(weights, assign=True)",
        )


def _apart(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the example inputs with a tensor of its own for each of them.

    Given one tensor for two inputs, or a weight for an input, torch.export takes both for one and reads one only.
    """
    import torch

    pytree = torch.utils._pytree
    leaves = [leaf for leaf in pytree.tree_leaves((args, dict(kwargs))) if isinstance(leaf, torch.Tensor)]
    known = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    if len({id(leaf) for leaf in leaves} - known) == len(leaves):
        return args, kwargs

    def own(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return leaf
        repeated = id(leaf) in known
        known.add(id(leaf))
        return leaf.detach().clone() if repeated else leaf

    apart: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_map(own, (args, dict(kwargs)))
    return apart


def _exported(model: Any, args: tuple[Any, ...], kwargs: dict[str, Any], spec: Any) -> Any:
    """Trace, with dims of one name as one dim; where that asks too much of torch, with dims that are only dynamic."""
    import torch

    repeated = {text for text, count in Counter(_texts(spec)).items() if count > 1 and text.isidentifier()}
    attempts = [{text: torch.export.Dim(text) for text in sorted(repeated)}, {}] if repeated else [{}]
    for k, shared in enumerate(attempts):
        try:
            with warnings.catch_warnings(), limits_as_guards(set(shared)):
                warnings.simplefilter("ignore")
                return torch.export.export(
                    model, args, kwargs, dynamic_shapes=_without_texts(spec, shared), strict=False
                )
        except Any2OnnxError:
            raise
        except Exception as error:  # torch raises a dozen unrelated classes here
            if k + 1 == len(attempts) or "Constraints violated" not in str(error):
                raise explained(error) from error
    raise AssertionError("the last attempt returns or raises")


def _texts(spec: Any) -> Iterator[str]:
    if isinstance(spec, str):
        yield spec
    elif isinstance(spec, Mapping | list | tuple):
        for part in spec.values() if isinstance(spec, Mapping) else spec:
            yield from _texts(part)


@contextlib.contextmanager
def _evaluation_mode(model: Any) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def _settings(torch: Any) -> Iterator[None]:
    # Without it a dynamic dim whose example has size 0 or 1 is taken for static.
    with (
        torch.fx.experimental._config.patch(backed_size_oblivious=True),
        recurrent_layers_whole(),
        _masks_taken_as_given(torch),
        # Their checks of parameters read the data.
        replaced(torch.distributions.Distribution, "_validate_args", False),
        quick_trace(),
        without_dumps(),
        torch.no_grad(),
    ):
        yield


@contextlib.contextmanager
def _masks_taken_as_given(torch: Any) -> Iterator[None]:
    """Let torch's transformers not compare their mask with a causal one, a hint for speed that reads the data."""
    layers = torch.nn.modules.transformer
    before = layers._detect_is_causal_mask

    def by_hint(mask: Any, is_causal: bool | None = None, size: int | None = None) -> bool:
        return is_causal is True

    layers._detect_is_causal_mask = by_hint
    try:
        yield
    finally:
        layers._detect_is_causal_mask = before


# --- dynamic dimensions ---------------------------------------------------------------------------------------------


def _combined(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by the names of `forward`, as torch.export combines them."""
    try:
        return dict(inspect.signature(model.forward).bind(*args, **kwargs).arguments)
    except TypeError as error:
        raise UsageError(
            f"the example inputs do not fit forward{inspect.signature(model.forward)}: {error}",
            remedy="args=(x, …), kwargs={name: value}",
        ) from error


def _complete(spec: Any, given: Mapping[str, Any], input_names: Sequence[str] | None) -> Any:
    """Return dynamic_shapes with an entry for every argument: torch.export wants all of them.

    As in torch.onnx, the keys may be the names that the inputs get.
    """
    if not isinstance(spec, Mapping):
        return spec
    renamed = dict(zip(input_names or (), given, strict=False))
    if not set(spec) <= set(given) and set(spec) <= set(renamed):
        spec = {renamed[name]: entry for name, entry in spec.items()}
    unknown = [name for name in spec if name not in given]
    if unknown:
        raise UsageError(
            f"dynamic_shapes names {unknown[0]!r}, which is no argument of the call{did_you_mean(unknown[0], given)}",
            needs=f"names among {list(given)}",
        )
    return {name: spec.get(name) for name in given}


def _without_texts(spec: Any, shared: Mapping[str, Any]) -> Any:
    """Replace names given as plain text by torch.export's own marks; the text names the dim in the model."""
    import torch

    if isinstance(spec, str):
        return shared.get(spec, torch.export.Dim.DYNAMIC)
    if isinstance(spec, Mapping):
        return {key: _without_texts(value, shared) for key, value in spec.items()}
    if isinstance(spec, list | tuple):
        return type(spec)(_without_texts(value, shared) for value in spec)
    return spec


def _align(spec: Any, value: Any, found: dict[int, Any]) -> None:
    """Note the spec of every leaf of `value`, by the leaf's id."""
    import torch

    pytree = torch.utils._pytree
    if spec is None:
        return
    if isinstance(value, torch.Tensor | int | float):
        found[id(value)] = spec
    elif isinstance(value, Mapping) and isinstance(spec, Mapping):
        for key, item in value.items():
            _align(spec.get(key), item, found)
    else:
        children = list(value) if isinstance(value, list | tuple) else []
        node = pytree.SUPPORTED_NODES.get(type(value))
        if not children and node is not None:
            children = list(node.flatten_fn(value)[0])
        specs = list(spec.values()) if isinstance(spec, Mapping) else list(spec)
        for part, item in zip(specs, children, strict=False):
            _align(part, item, found)


def _from_axes(
    model: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    dynamic_axes: Mapping[str, Any],
    input_names: Sequence[str] | None,
    output_names: Sequence[str] | None,
) -> dict[str, Any]:
    """Return torch.onnx's older ``dynamic_axes`` in the form of torch.export; entries of outputs are not needed."""
    import torch

    pytree = torch.utils._pytree
    given = _combined(model, args, kwargs)
    _check_names(dynamic_axes, input_names, output_names, list(given))
    leaves = [leaf for leaf in pytree.tree_leaves((args, dict(kwargs))) if isinstance(leaf, torch.Tensor)]
    position = {id(leaf): k for k, leaf in reversed(list(enumerate(leaves)))}

    def leaf_spec(name: str, leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor):
            return None
        k = position[id(leaf)]
        chosen = input_names[k] if input_names and k < len(input_names) else name
        axes = dynamic_axes.get(chosen)
        if axes is None:
            return None
        if isinstance(axes, Mapping):
            return {_axis(axis, leaf, chosen): str(label) for axis, label in axes.items()}
        return {k: f"{chosen}_dim_{k}" for k in (_axis(axis, leaf, chosen) for axis in axes)}

    return {
        name: pytree.tree_map(lambda leaf, name=name: leaf_spec(name, leaf), value) for name, value in given.items()
    }


def _check_names(
    axes: Mapping[str, Any], inputs: Sequence[str] | None, outputs: Sequence[str] | None, own: Sequence[str]
) -> None:
    """Refuse names of which none is an input's or an output's; warn of a few, as torch.onnx does.

    The outputs' own names are not known yet.
    """
    known = {*(inputs or ()), *(outputs or ()), *own}
    unknown = [name for name in axes if name not in known and not str(name).startswith("output")]
    text = f"dynamic_axes names {', '.join(map(repr, unknown))}, which is no input and no output"
    if unknown and len(unknown) == len(axes):
        raise UsageError(text + did_you_mean(str(unknown[0]), known), needs=f"names among {sorted(known)}")
    if unknown:
        warn(f"{text}{did_you_mean(str(unknown[0]), known)}; it is ignored")


def _axis(axis: int, tensor: Any, name: str) -> int:
    """Return an axis counted from the front.

    Raises:
        UsageError: The tensor has no such axis.
    """
    if not -tensor.dim() <= axis < tensor.dim():
        raise UsageError(
            f"the dynamic axis {axis} of {name!r} does not exist",
            needs=f"an axis of a tensor of shape {tuple(tensor.shape)}",
        )
    return int(axis) % int(tensor.dim())


def _counted_from_front(spec: Any, value: Any, name: str) -> Any:
    """Return dynamic_shapes with axes counted from the front: torch.export passes over those below 0 in silence."""
    import torch

    if isinstance(value, torch.Tensor) and isinstance(spec, Mapping):
        return {_axis(axis, value, name): entry for axis, entry in spec.items()}
    if isinstance(spec, Mapping) and (dataclasses.is_dataclass(value) or isinstance(value, Mapping)):
        fields = value if isinstance(value, Mapping) else _fields(value)
        entries = {key: _counted_from_front(entry, fields.get(key), f"{name}.{key}") for key, entry in spec.items()}
        # torch.export takes names for plain dicts only; for what is registered, a list of its parts.
        plain = type(value) in torch.utils._pytree.BUILTIN_TYPES
        return entries if plain else [entries.get(key) for key in fields]
    if isinstance(value, list | tuple) and isinstance(spec, list | tuple) and len(value) == len(spec):
        parts = [_counted_from_front(entry, item, name) for entry, item in zip(spec, value, strict=True)]
        return tuple(parts) if isinstance(spec, tuple) else parts
    return spec


def _fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as torch.export registers them: without those that are None."""
    found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: item for name, item in found.items() if item is not None}


def symbol_names(program: Any, specs: Mapping[int, Any]) -> dict[Any, str]:
    """Return a name for each size symbol of the inputs.

    Args:
        program: The exported program.
        specs: For an input, by its position: the user's entry of dynamic_shapes.
    """
    names: dict[Any, str] = {}
    inputs = [
        (s.arg.name, getattr(s.arg, "value", None))
        for s in program.graph_signature.input_specs
        if s.kind.name == "USER_INPUT"
    ]
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    anonymous: list[tuple[Any, str, int]] = []
    for k, (name, _) in enumerate(inputs):
        node = nodes.get(name)
        shape = getattr(node.meta.get("val") if node is not None else None, "shape", ())
        for axis, size in enumerate(shape):
            if isinstance(size, int) or size.node.maybe_as_int() is not None:
                continue
            symbols = sorted(size.node.expr.free_symbols, key=str)
            label = _label(_entry(specs.get(k), axis), bool(size.node.expr.is_Symbol))
            if label and len(symbols) == 1:
                names.setdefault(symbols[0], label)
            else:
                anonymous += [(symbol, name, axis) for symbol in symbols]
    for symbol, text in _remembered(program, nodes).items():
        names.setdefault(symbol, text)
    for symbol, name, axis in anonymous:
        if symbol not in names:
            free = axis == 0 and "batch" not in names.values()
            names[symbol] = "batch" if free else f"{name}_dim_{axis}"
    return names


def _entry(spec: Any, axis: int) -> Any:
    if isinstance(spec, Mapping):
        return spec.get(axis)
    return spec[axis] if isinstance(spec, list | tuple) and axis < len(spec) else None


def _label(entry: Any, is_symbol: bool) -> str | None:
    if isinstance(entry, str):
        return entry
    root = getattr(entry, "root", None)
    if root is not None and not is_symbol:
        return str(root.__name__)
    name = getattr(entry, "__name__", None)
    return str(name) if name and is_symbol and root is None else None


def _remembered(program: Any, nodes: Mapping[str, Any]) -> dict[Any, str]:
    """Return the names that the trace itself remembers (torch.export.Dim), for a program that the user exported."""
    names: dict[Any, str] = {}
    for node in nodes.values():
        mode = getattr(node.meta.get("val"), "fake_mode", None)
        env = getattr(mode, "shape_env", None)
        if env is None:
            continue
        for symbol, sources in env.var_to_sources.items():
            for source in sources:
                label = env.source_name_to_debug_name.get(getattr(source, "name", None) or "")
                if label is None and callable(getattr(source, "name", None)):
                    label = env.source_name_to_debug_name.get(source.name())
                if label:
                    names.setdefault(symbol, str(label))
        break
    return names
