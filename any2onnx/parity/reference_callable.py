"""Plain functions of arrays as reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity.reference import FrameworkRejects, flatten
from any2onnx.parity.reference_tensor import TensorReference
from any2onnx.parity.runtime import one_sentence

if TYPE_CHECKING:
    from any2onnx.parity.reference import Framework
    from any2onnx.parity.signature import Feeds
    from any2onnx.parity.ulp import Array


class CallableReference(TensorReference):
    """A plain function of arrays; it is called with one positional array per ONNX input."""

    framework: Framework = "callable"

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function
        self.model_name = getattr(function, "__qualname__", type(function).__qualname__)

    def run_float64(self, feeds: Feeds) -> list[list[Array]] | None:
        """Call the function on float64 feeds; None when it refuses them."""
        try:
            return self.run(feeds)
        except FrameworkRejects as error:
            self.float64_problem = str(error)
            return None

    def _arrays(self, result: Any) -> list[Array]:
        return flatten(result)

    def _answer(self, feeds: Feeds) -> Any:
        try:
            with np.errstate(all="ignore"):
                return self._function(*(feeds[name] for name in self._names))
        except Exception as error:
            raise FrameworkRejects(one_sentence(error)) from error
