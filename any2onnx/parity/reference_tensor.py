"""What the references of tensor frameworks have in common: results tied by name or position, no labels of their own."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from any2onnx.parity.reference import (
    Binding,
    Framework,
    OutputRequest,
    bind_by_position,
    declared_outputs,
    request_names,
)

if TYPE_CHECKING:
    import numpy as np

    from any2onnx.parity.intermediates import Intermediate
    from any2onnx.parity.labels import LabelScores
    from any2onnx.parity.runtime import OnnxFile, Port
    from any2onnx.parity.signature import Feeds, Signature
    from any2onnx.parity.ulp import Array


class TensorReference(abc.ABC):
    """A model of tensors; shapes and dtypes must be equal, and rows may influence each other."""

    framework: Framework
    row_wise = False
    conventional = False
    model_name = ""
    version = ""

    def __init__(self) -> None:
        self.float64_problem = ""
        self._names: tuple[str, ...] = ()

    @abc.abstractmethod
    def _answer(self, feeds: Feeds) -> Any:
        """Run the model as the user does; raises FrameworkRejects."""

    @abc.abstractmethod
    def _arrays(self, result: Any) -> list[Array]:
        """Return the arrays of a nested result, in the framework's order."""

    @staticmethod
    def _natural(result: Mapping[Any, Any]) -> list[str]:
        """Return the names of the entries of a dict result, in the order of ``_arrays``."""
        return [str(key) for key in result]

    def declare(self, onnx_file: OnnxFile) -> None:  # noqa: B027 (most frameworks have nothing to take)
        """Take nothing: the layout of tensors is what it is."""

    def refine(self, signature: Signature, data: Any) -> Signature:
        """Add nothing: the model says nothing about its inputs."""
        return signature

    def select(self, data: Any, signature: Signature) -> Any:
        """Return the data: a model of tensors takes what it is given."""
        return data

    def prepare(self, signature: Signature) -> None:
        """Remember the order of the inputs."""
        self._names = signature.names

    def accepts(self, feeds: Feeds) -> None:
        """Run the model."""
        self._answer(feeds)

    def fixed_axes(self, signature: Signature) -> list[str]:
        """Return nothing: the model does not say which of its axes are free."""
        return []

    def bind(self, ports: Sequence[Port], request: OutputRequest, onnx_file: OnnxFile, feeds: Feeds) -> Binding:
        """Tie results to outputs by name (dict results, declared names) or position."""
        result = self._answer(feeds)
        natural = self._natural(result) if isinstance(result, Mapping) else None
        names = request_names(request) or declared_outputs(onnx_file)
        return bind_by_position(ports, len(self._arrays(result)), names, natural)

    def run(self, feeds: Feeds) -> list[list[Array]]:
        """Run the model as the user does, in inference mode."""
        return [[array] for array in self._arrays(self._answer(feeds))]

    def rounded(self, feeds: Feeds, rng: np.random.Generator, units: int) -> list[list[Array]] | None:
        """Return nothing: the inside of the model cannot be moved."""
        return None

    def label_scores(self, feeds: Feeds, columns: int) -> list[LabelScores]:
        """Return nothing: a model of tensors shows no scores."""
        return []

    def ranked_scores(self, feeds: Feeds) -> list[LabelScores]:
        """Return nothing: a model of tensors does not show what it ranks."""
        return []

    def intermediates(self, feeds: Feeds, *, double: bool, finely: bool = False) -> list[Intermediate]:
        """Return nothing: the model shows nothing of its inside."""
        return []

    def classes(self, leaf: int) -> Array | None:
        """Return None: a model of tensors has no classes."""
        return None
