"""PyTorch as reference: modules and exported programs, as they are and in float64."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.errors import MissingDependency, UsageError
from any2onnx.parity.reference import (
    Binding,
    Framework,
    FrameworkRejects,
    OutputRequest,
    bind_by_position,
    declared_outputs,
    request_names,
)
from any2onnx.parity.runtime import OnnxFile, Port, one_sentence
from any2onnx.parity.signature import Feeds, Signature, to_numpy

if TYPE_CHECKING:
    from any2onnx.parity.intermediates import Intermediate
    from any2onnx.parity.labels import LabelScores
    from any2onnx.parity.ulp import Array


class TorchReference:
    """A ``torch.nn.Module`` or ``torch.export.ExportedProgram``; the user's object is never changed."""

    framework: Framework = "torch"
    row_wise = False
    conventional = False

    def __init__(self, model: Any) -> None:
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
        self.float64_problem = ""
        self._names: tuple[str, ...] = ()
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

    def select(self, data: Any) -> Any:
        """A model of tensors takes what it is given."""
        return data

    def prepare(self, signature: Signature) -> None:
        """Pass inputs by keyword when the ONNX names are those of ``forward``, else by position."""
        self._names = signature.names
        forward = inspect.signature(self._module.forward).parameters
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        self._by_keyword = not self._exported and all(
            name in forward and forward[name].kind in kinds for name in signature.names
        )

    def accepts(self, feeds: Feeds) -> None:
        """Run the module."""
        self._call(self._module, feeds)

    def fixed_axes(self, signature: Signature) -> list[str]:
        """A module does not say which of its axes are free."""
        return []

    def bind(self, ports: Sequence[Port], request: OutputRequest, onnx_file: OnnxFile, feeds: Feeds) -> Binding:
        """Tie results to outputs by name (dict results, declared names) or position."""
        result = self._call(self._module, feeds)
        natural = [str(key) for key in result] if isinstance(result, Mapping) else None
        names = request_names(request) or declared_outputs(onnx_file)
        return bind_by_position(ports, len(_tensors(result)), names, natural)

    def run(self, feeds: Feeds) -> list[list[Array]]:
        """Run the module in the mode it is in, without gradients."""
        return [[to_numpy(tensor)] for tensor in _tensors(self._call(self._module, feeds))]

    def run_float64(self, feeds: Feeds) -> list[list[Array]] | None:
        """Run a copy of the module with all floating weights in float64; None when it cannot run so."""
        if self.float64_problem:
            return None
        if self._double is None:
            self._double = copy.deepcopy(self._module).double()
        try:
            return [[to_numpy(tensor)] for tensor in _tensors(self._call(self._double, feeds))]
        except FrameworkRejects as error:
            # Modules that name float32 in their code mix dtypes after the cast; such a module has no float64 answer.
            self.float64_problem = str(error)
            return None

    def label_scores(self, feeds: Feeds, columns: int) -> list[LabelScores]:
        """A module shows no scores."""
        return []

    def ranked_scores(self, feeds: Feeds) -> list[LabelScores]:
        """A module does not show what it ranks."""
        return []

    def intermediates(self, feeds: Feeds, *, double: bool) -> list[Intermediate]:
        """Return what every ATen operator computes."""
        from any2onnx.parity.intermediates import recorded_torch

        found: list[Intermediate] = []
        if double and self._double is None and self.run_float64(feeds) is None:
            return found
        module = self._double if double else self._module
        with recorded_torch(module, found):
            self._call(module, feeds)
        return found

    def classes(self, leaf: int) -> Array | None:
        """A module has no classes."""
        return None

    def _call(self, module: Any, feeds: Feeds) -> Any:
        import torch

        arguments = {name: _tensor(feeds[name]) for name in self._names}
        try:
            with torch.no_grad():
                if self._by_keyword:
                    return module(**arguments)
                return module(*arguments.values())
        except Exception as error:
            raise FrameworkRejects(one_sentence(error)) from error


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
    tensors = [leaf if isinstance(leaf, torch.Tensor) else torch.as_tensor(leaf) for leaf in found]
    return [tensor.to_dense() if tensor.is_sparse else tensor for tensor in tensors]
