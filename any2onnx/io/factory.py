"""Models from weights and a factory: ``module:function`` builds the architecture, the file only gives numbers.

The factory is the caller's own code, named on purpose; the file is data and cannot run anything.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from any2onnx.errors import Any2OnnxError, MalformedFile, MissingDependency, NotAModel, UsageError
from any2onnx.io.preflight import check_hdf5


def resolve_factory(factory: str | Callable[[], Any]) -> Callable[[], Any]:
    """Return the function that ``module:function`` names; a callable is returned as it is.

    The working folder is searched too, as ``python -m`` does.

    Raises:
        UsageError: The text has another form, or module or function do not exist.
    """
    if callable(factory):
        return factory
    module_name, separator, attribute = factory.partition(":")
    if not (separator and module_name and attribute):
        raise UsageError(
            f"{factory!r} does not name a factory", needs="module:function", remedy="--factory my_package.models:build"
        )
    folder = os.getcwd()
    added = folder not in sys.path
    if added:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(f"the factory's module {module_name!r} cannot be imported: {error}") from error
    finally:
        if added:
            sys.path.remove(folder)
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise UsageError(f"module {module_name!r} has no {attribute!r}", needs="module:function")
        found = getattr(found, part)
    if not callable(found):
        raise UsageError(f"{factory!r} is no function")
    function: Callable[[], Any] = found
    return function


def build(factory: str | Callable[[], Any]) -> Any:
    """Call the factory without arguments and return its torch module or Keras model.

    Raises:
        UsageError: It cannot be found or fails.
        NotAModel: It returns something else.
    """
    function = resolve_factory(factory)
    try:
        model = function()
    except Any2OnnxError:
        raise
    except Exception as error:
        raise UsageError(
            f"the factory failed: {type(error).__name__}: {error}", needs="a function without required arguments"
        ) from error
    if framework_of(model) is None:
        raise NotAModel(f"the factory returned {type(model).__name__}", needs="a torch.nn.Module or a keras.Model")
    return model


def framework_of(model: object) -> str | None:
    """Return ``"sklearn"``, ``"keras"``, ``"pytorch"``, ``"onnx"`` or None, without importing any of them.

    A Keras model under the torch backend is a torch module too; Keras is asked first.
    """
    bases = {f"{base.__module__}.{base.__qualname__}" for base in type(model).__mro__}
    if any(name.startswith(("keras.", "keras.src.")) for name in bases):
        return "keras"
    if any(name.startswith("torch.") for name in bases):
        return "pytorch"
    if any(name.startswith(("onnx.", "onnx_ir.", "google.")) for name in bases) and hasattr(model, "graph"):
        return "onnx"
    if "sklearn.base.BaseEstimator" in bases or hasattr(model, "get_params"):
        return "sklearn"
    return None


def fill_from_safetensors(model: Any, path: Path) -> Any:
    """Load the tensors of a safetensors file into the model; weights of the right dtype stay memory-mapped (torch).

    Raises:
        MissingDependency: safetensors is not installed.
        MalformedFile: The library's parser refuses the file, or names or shapes do not fit the model.
    """
    try:
        import safetensors
    except ImportError as error:
        raise MissingDependency("safetensors files need safetensors", remedy="pip install 'any2onnx[safe]'") from error
    try:
        if framework_of(model) == "keras":
            with safetensors.safe_open(str(path), framework="numpy") as file:
                return _fill_keras(model, {name: file.get_tensor(name) for name in file.keys()}, path)  # noqa: SIM118
        from safetensors.torch import load_file

        return fill_torch(model, load_file(str(path)), path)
    except safetensors.SafetensorError as error:
        raise MalformedFile(f"the safetensors file is damaged: {error}", where=str(path)) from error


def fill_torch(model: Any, state: Any, path: Path) -> Any:
    """Put a state dict into a torch module, strictly, and switch it to inference.

    Raises:
        MalformedFile: ``state`` is no dict of tensors, or does not fit the module.
    """
    import torch

    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise MalformedFile("the file holds no state dict", where=str(path), needs="a dict of names and tensors")
    own = model.state_dict(keep_vars=True)
    state = dict(state)
    by_identity = {id(value): name for name, value in own.items() if name in state}
    for name, value in own.items():
        # Tied weights are saved once; assigning would untie the name that the file leaves out.
        if name not in state and id(value) in by_identity:
            state[name] = state[by_identity[id(value)]]
    same = all(own[name].dtype == value.dtype for name, value in state.items() if name in own)
    try:
        # `assign` keeps the mapped tensors instead of copying each into the module's random ones.
        model.load_state_dict(state, strict=True, assign=same)
    except RuntimeError as error:
        raise MalformedFile(
            "the weights do not fit the model that the factory builds",
            where=str(path),
            needs=" ".join(str(error).split()),
        ) from error
    return model.eval()


def _fill_keras(model: Any, tensors: dict[str, Any], path: Path) -> Any:
    weights = {weight.path: weight for weight in model.weights}
    if len(weights) != len(model.weights):
        raise UsageError("the model has weights of equal paths; give its layers names of their own")
    if set(weights) != set(tensors):
        # A Sequential model numbers itself, so its name may differ from one process to the next.
        weights, tensors = _without_common_root(weights), _without_common_root(tensors)
    problems = sorted(set(weights) ^ set(tensors))
    problems += [
        f"{name}: {tuple(tensors[name].shape)} in the file, {tuple(weight.shape)} in the model"
        for name, weight in weights.items()
        if name in tensors and tuple(tensors[name].shape) != tuple(weight.shape)
    ]
    if problems:
        raise MalformedFile(
            "the weights do not fit the model that the factory builds",
            where=str(path),
            needs="tensors named by the path of each weight (`weight.path`), of its shape",
            others=problems[:20],
        )
    for name, weight in weights.items():
        weight.assign(tensors[name])
    return model


def _without_common_root(named: dict[str, Any]) -> dict[str, Any]:
    roots = {name.partition("/")[0] for name in named}
    if len(roots) != 1 or not all("/" in name for name in named):
        return named
    return {name.partition("/")[2]: value for name, value in named.items()}


def fill_from_keras_weights(model: Any, path: Path, stream: BinaryIO) -> Any:
    """Load a ``.weights.h5`` file, after checking it, into a Keras model.

    Raises:
        NotAModel: The factory's model is none of Keras.
        MalformedFile: The file fails the checks, or does not fit.
    """
    if framework_of(model) != "keras":
        raise NotAModel("a .weights.h5 file fills a Keras model", needs="a factory that returns one")
    check_hdf5(stream, stream.seek(0, os.SEEK_END), str(path))
    try:
        model.load_weights(str(path))
    except (ValueError, KeyError, OSError) as error:
        raise MalformedFile(
            "the weights do not fit the model that the factory builds", where=str(path), needs=str(error)[:500]
        ) from error
    return model
