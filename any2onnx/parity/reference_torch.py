"""PyTorch as reference: modules and exported programs, as they are and in float64."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import inspect
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.errors import MissingDependency, UsageError
from any2onnx.parity.reference import Framework, FrameworkRejects
from any2onnx.parity.reference_tensor import TensorReference
from any2onnx.parity.runtime import one_sentence
from any2onnx.parity.signature import Feeds, Signature, to_numpy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from any2onnx.parity.intermediates import Intermediate
    from any2onnx.parity.ulp import Array


class TorchReference(TensorReference):
    """A ``torch.nn.Module`` or ``torch.export.ExportedProgram``; the user's object is never changed."""

    framework: Framework = "torch"

    def __init__(self, model: Any) -> None:
        super().__init__()
        try:
            import torch
        except ImportError as error:
            raise MissingDependency("PyTorch is not installed", remedy="pip install 'any2onnx[torch]'") from error
        self.model_name = type(model).__name__
        self.version = f"torch {torch.__version__}"
        self._exported = isinstance(model, torch.export.ExportedProgram)
        if self._exported:
            self._module = model.module()
        elif any(part.training for part in model.modules()):
            # A converted model answers what the module answers in evaluation mode; the user's module stays as it is.
            self._module = copy.deepcopy(model).eval()
        else:
            self._module = model
        self._double: Any = None
        self._states: dict[int, _State] = {}
        self._by_keyword = False

    def refine(self, signature: Signature, data: Any) -> Signature:
        """Limit integer inputs to the smallest embedding table."""
        import torch

        tables = [part.num_embeddings for part in self._module.modules() if isinstance(part, torch.nn.Embedding)]
        if not tables:
            return signature
        return signature.with_inputs(
            [
                spec if spec.is_float or spec.pool is not None else dataclasses.replace(spec, high=min(tables))
                for spec in signature.inputs
            ]
        )

    def prepare(self, signature: Signature) -> None:
        """Pass inputs by keyword when the ONNX names are those of ``forward``, else by position."""
        self._names = signature.names
        forward = inspect.signature(self._module.forward).parameters
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        self._by_keyword = not self._exported and all(
            name in forward and forward[name].kind in kinds for name in signature.names
        )

    def run_float64(self, feeds: Feeds) -> list[list[Array]] | None:
        """Run a copy of the module with all floating weights in float64; None when it cannot run so."""
        if self.float64_problem:
            return None
        if self._double is None:
            self._double = copy.deepcopy(self._module).double()
        try:
            return [[array] for array in self._arrays(self._call(self._double, feeds))]
        except FrameworkRejects as error:
            # Modules that name float32 in their code mix dtypes after the cast; such a module has no float64 answer.
            self.float64_problem = str(error)
            return None

    def intermediates(self, feeds: Feeds, *, double: bool, finely: bool = False) -> list[Intermediate]:
        """Return what every ATen operator computes."""
        from any2onnx.parity.operators_torch import recorded_torch

        found: list[Intermediate] = []
        if double and self._double is None and self.run_float64(feeds) is None:
            return found
        module = self._double if double else self._module
        with recorded_torch(module, found):
            self._call(module, feeds)
        return found

    def rounded(self, feeds: Feeds, rng: np.random.Generator, units: int) -> list[list[Array]] | None:
        """Run the module with the results of its operators moved; None when that raises."""
        from any2onnx.parity.operators_torch import moved_torch

        try:
            with moved_torch(rng, units):
                result = self._call(self._module, feeds)
        except FrameworkRejects:
            return None
        return [[array] for array in self._arrays(result)]

    def _answer(self, feeds: Feeds) -> Any:
        return self._call(self._module, feeds)

    def _arrays(self, result: Any) -> list[Array]:
        return [to_numpy(tensor) for tensor in _tensors(result)]

    def _call(self, module: Any, feeds: Feeds) -> Any:
        import torch

        arguments = {name: _tensor(feeds[name]) for name in self._names}
        state = self._states.get(id(module))
        if state is None:
            state = self._states[id(module)] = _State(module)
        try:
            with torch.no_grad(), state.kept():
                if self._by_keyword:
                    return module(**arguments)
                return module(*arguments.values())
        except Exception as error:
            raise FrameworkRejects(one_sentence(error)) from error


class _State:
    """The buffers of a module as they are now: a module that counts or averages is to answer from the same state."""

    def __init__(self, module: Any) -> None:
        self._kept = [
            (part, name, buffer, _version(buffer), buffer.detach().clone())
            for part in module.modules()
            for name, buffer in part._buffers.items()
            if buffer is not None
        ]

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Put back what changes inside."""
        try:
            yield
        finally:
            for k, (part, name, buffer, version, values) in enumerate(self._kept):
                part._buffers[name] = buffer
                if version is None or _version(buffer) != version:
                    buffer.copy_(values)
                    self._kept[k] = (part, name, buffer, _version(buffer), values)


def _version(tensor: Any) -> int | None:
    """Return a number that grows with every write into a tensor; None where torch does not count them."""
    return None if tensor.is_inference() else int(tensor._version)


def _tensor(values: Array) -> Any:
    """Return a tensor with the same numbers (a copy: a module may write into its inputs)."""
    import torch

    if values.dtype.kind == "O":
        raise UsageError("a torch module takes no strings", remedy="pass the ONNX model's numeric inputs")
    if values.dtype.name == "bfloat16":
        return torch.from_numpy(np.array(values).view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(values, order="K"))


def _tensors(result: Any) -> list[Any]:
    """Return the tensors of a nested result in the order in which torch itself flattens it."""
    import torch
    from torch.utils import _pytree as pytree

    leaves, _ = pytree.tree_flatten(result)
    found = [leaf for leaf in leaves if leaf is not None]
    # A number of Python's is as wide as it gets, and torch would make it float32.
    wide = [torch.as_tensor(leaf, dtype=torch.float64) if isinstance(leaf, float) else leaf for leaf in found]
    tensors = [leaf if isinstance(leaf, torch.Tensor) else torch.as_tensor(leaf) for leaf in wide]
    return [tensor.to_dense() if tensor.is_sparse else tensor for tensor in tensors]
