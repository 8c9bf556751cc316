"""The framework's side of the comparison: one interface, one runner per framework, and the choice among them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from any2onnx.errors import InvalidType, NotAModel, UsageError
from any2onnx.parity.runtime import OnnxFile, Port
from any2onnx.parity.signature import Feeds, Signature, to_numpy
from any2onnx.tree_ensemble.sources import library_of

if TYPE_CHECKING:
    import numpy as np

    from any2onnx.parity.intermediates import Intermediate
    from any2onnx.parity.labels import LabelScores
    from any2onnx.parity.ulp import Array

OUTPUTS_KEY = "any2onnx.outputs"
CHANNELS_FIRST_KEY = "any2onnx.channels_first"
"""metadata_props key: JSON list; for scikit-learn the method behind each output, else the names of the outputs."""

Framework = Literal["scikit-learn", "keras", "torch", "callable"]
OutputRequest = str | Sequence[str] | Mapping[str, str] | None


@dataclasses.dataclass(frozen=True)
class Bound:
    """One result of the framework tied to the ONNX output(s) that should hold it.

    Attributes:
        name: Name of the (first) ONNX output.
        source: What it is compared with: a method, or the position among the framework's outputs.
        ports: Positions of the ONNX outputs; several when one array was spread over columns.
        label: True for the labels of a classifier, clusterer or outlier detector.
        leaf: Which array of a tuple result, or None for all of it.
    """

    name: str
    source: str
    ports: tuple[int, ...]
    label: bool = False
    leaf: int | None = None


@dataclasses.dataclass(frozen=True)
class Problem:
    """A wrong name or count of outputs, found before any number is compared."""

    output: str
    note: str


@dataclasses.dataclass(frozen=True)
class Binding:
    """The pairs to compare and what is wrong with the names and the count."""

    bound: tuple[Bound, ...]
    problems: tuple[Problem, ...]
    note: str = ""


class Reference(Protocol):
    """What the harness needs from a framework.

    Attributes:
        framework: Which one.
        model_name: Class of the model, for reports and seeds.
        version: Version of the framework, empty for a plain callable.
        row_wise: True when rows never influence each other, so that any rows may share one call.
        conventional: True when ONNX has conventions of its own for shapes and dtypes (scikit-learn: `[N, 1]` for `[N]`,
            float32 for float32 rows); False when both must be equal.
        float64_problem: Why there is no float64 reference, once that is known.
    """

    framework: Framework
    model_name: str
    version: str
    row_wise: bool
    conventional: bool
    float64_problem: str

    def refine(self, signature: Signature, data: Any) -> Signature:
        """Add what the fitted model knows about its inputs (widths, ranges, categories)."""

    def select(self, data: Any, signature: Signature) -> Any:
        """Return the part of the user's data that the model takes, for the ONNX model's inputs."""

    def prepare(self, signature: Signature) -> None:
        """Fix how feeds become the model's arguments; raises UsageError when they cannot."""

    def accepts(self, feeds: Feeds) -> None:
        """Raise FrameworkRejects when the model cannot take the feeds."""

    def fixed_axes(self, signature: Signature) -> list[str]:
        """Return, in words, the axes that the model leaves free and the ONNX model has baked in."""

    def bind(self, ports: Sequence[Port], request: OutputRequest, onnx_file: OnnxFile, feeds: Feeds) -> Binding:
        """Tie results to ONNX outputs; ``feeds`` are inputs that the model accepts."""

    def run(self, feeds: Feeds) -> list[list[Array]]:
        """Run as the user does; for each bound result its arrays."""

    def run_float64(self, feeds: Feeds) -> list[list[Array]] | None:
        """Run in float64 on float64 feeds; None when there is no such reference."""

    def rounded(self, feeds: Feeds, rng: np.random.Generator, units: int) -> list[list[Array]] | None:
        """Run as the user does, with every rounded result on the way moved at random by up to ``units`` last places.

        None where the framework computes in more than the dtype of its answers, or does not let itself be moved.
        """

    def label_scores(self, feeds: Feeds, columns: int) -> list[LabelScores]:
        """Return the scores behind each of ``columns`` columns of labels, empty when there are none to be had."""

    def ranked_scores(self, feeds: Feeds) -> list[LabelScores]:
        """Return the scores of all candidates behind an output of ranked numbers (neighbours), empty without any."""

    def intermediates(self, feeds: Feeds, *, double: bool, finely: bool = False) -> list[Intermediate]:
        """Return what the framework computes on the way, in order; empty when it shows nothing.

        ``double`` asks for the float64 reference, on float64 feeds; ``finely`` for single operators instead of layers
        where the framework shows both.
        """

    def classes(self, leaf: int) -> Array | None:
        """Return the labels in the order of the columns of a score output, or None."""

    def declare(self, onnx_file: OnnxFile) -> None:
        """Take from the file what its converter wrote about the layout of inputs and outputs."""


class FrameworkRejects(Exception):
    """The framework raised on an input; the harness records it, whatever the class of the exception."""


def framework_of(model: Any) -> Framework:
    """Tell the framework of a model by its base classes, without importing any framework.

    Raises:
        NotAModel: The object is no estimator, Keras model, module, exported program or callable.
    """
    bases = type(model).__mro__
    names = {f"{base.__module__}.{base.__name__}" for base in bases}
    # Keras first: under its torch backend every layer is a torch module too.
    if any(base.__module__.split(".")[0] == "keras" and base.__name__ in ("Layer", "Model") for base in bases):
        return "keras"
    if names & {"torch.nn.modules.module.Module", "torch.export.exported_program.ExportedProgram"}:
        return "torch"
    estimator = hasattr(model, "get_params") and hasattr(model, "fit")
    methods = ("predict", "transform", "score_samples", "kneighbors")
    # The Boosters of XGBoost and LightGBM are no estimators, but predict like them.
    estimator = estimator or library_of(model) is not None
    if not isinstance(model, type) and estimator and any(hasattr(model, m) for m in methods):
        return "scikit-learn"
    if callable(model) and not isinstance(model, type):
        return "callable"
    raise NotAModel(
        f"{model.__name__ if isinstance(model, type) else type(model).__name__} is no model",
        needs="a fitted scikit-learn estimator, a Keras model, a torch module or ExportedProgram, or a function",
        remedy="pass an instance, not a class" if isinstance(model, type) else None,
    )


def make_reference(model: Any) -> Reference:
    """Return the runner for a model."""
    framework = framework_of(model)
    if framework == "scikit-learn":
        from any2onnx.parity.reference_sklearn import SklearnReference

        return SklearnReference(model)
    if framework == "keras":
        from any2onnx.parity.reference_keras import KerasReference

        return KerasReference(model)
    if framework == "torch":
        from any2onnx.parity.reference_torch import TorchReference

        return TorchReference(model)
    from any2onnx.parity.reference_callable import CallableReference

    return CallableReference(model)


def declared_outputs(onnx_file: OnnxFile) -> list[str] | None:
    """Return the list that the converter wrote under ``any2onnx.outputs``, or None.

    Raises:
        InvalidType: The entry is no JSON list of strings.
    """
    text = onnx_file.metadata.get(OUTPUTS_KEY)
    if text is None:
        return None
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidType(f"metadata {OUTPUTS_KEY!r} of the ONNX model is no JSON", where=str(error)) from error
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise InvalidType(f"metadata {OUTPUTS_KEY!r} of the ONNX model is no list of strings", where=text)
    return found


def declared_channels_first(onnx_file: OnnxFile) -> dict[str, frozenset[str]]:
    """Return the names of the inputs and of the outputs that the converter put channels first in.

    Raises:
        InvalidType: The entry is no JSON object with two lists of strings.
    """
    text = onnx_file.metadata.get(CHANNELS_FIRST_KEY)
    if text is None:
        return {"inputs": frozenset(), "outputs": frozenset()}
    try:
        found = json.loads(text)
        if not isinstance(found, dict) or not all(isinstance(found.get(key), list) for key in ("inputs", "outputs")):
            raise ValueError(text)
    except ValueError as error:
        raise InvalidType(
            f"metadata {CHANNELS_FIRST_KEY!r} of the ONNX model is no object with lists of inputs and outputs",
            where=str(error),
        ) from error
    return {key: frozenset(str(name) for name in found[key]) for key in ("inputs", "outputs")}


def bind_by_position(
    ports: Sequence[Port], count: int, names: Sequence[str] | None, natural: Sequence[str] | None
) -> Binding:
    """Tie the outputs of a tensor framework to ONNX outputs.

    Args:
        ports: The ONNX outputs.
        count: Number of arrays that the framework returns.
        names: Names that the outputs must have, in order, or None when nobody states them.
        natural: Names that the framework itself gives (keys of a dict), used when they are all present.

    Returns:
        The pairs, and a problem for every output that is missing, unexpected or named differently.
    """
    problems: list[Problem] = []
    position = {port.name: i for i, port in enumerate(ports)}
    wanted = list(names) if names is not None else None
    if wanted is None and natural is not None and all(name in position for name in natural):
        wanted = list(natural)
    bound: list[Bound] = []
    used: set[int] = set()
    for i in range(count):
        name = wanted[i] if wanted is not None and i < len(wanted) else None
        if name is not None and name in position:
            at = position[name]
        elif i < len(ports):
            at = i
            if name is not None:
                problems.append(Problem(ports[i].name, f"the output should be called {name!r}"))
        else:
            problems.append(Problem(name or f"output {i}", f"the ONNX model has no output for result {i}"))
            continue
        used.add(at)
        bound.append(Bound(ports[at].name, f"output {i}", (at,)))
    problems += [
        Problem(port.name, "the framework has no such output") for i, port in enumerate(ports) if i not in used
    ]
    if names is not None and len(names) > count:
        problems += [Problem(name, "the framework has no such output") for name in list(names)[count:]]
    note = "" if wanted is not None else "outputs are compared by position: no names are declared"
    return Binding(tuple(bound), tuple(problems), note)


def request_names(request: OutputRequest) -> list[str] | None:
    """Return the output names that the caller asks for, for frameworks without methods."""
    if request is None:
        return None
    if isinstance(request, str):
        return [request]
    return [str(name) for name in request]


def flatten(result: Any) -> list[Array]:
    """Return the arrays of a nested result (tuples, lists, dicts in their order) as numpy arrays; None is left out."""
    if result is None:
        return []
    if isinstance(result, Mapping):
        return [array for value in result.values() for array in flatten(value)]
    if isinstance(result, (tuple, list)):
        return [array for value in result for array in flatten(value)]
    array = to_numpy(result)
    if array.dtype.kind == "O" and array.ndim == 0:
        raise UsageError(f"the model returned a {type(result).__name__}, and only arrays can be compared")
    return [array]
