"""What a specimen and a mutant are, and the list of all of them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.errors import UnknownOption, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from any2onnx.parity.reference import OutputRequest
    from any2onnx.parity.ulp import Array

Edits = tuple[tuple[str, str], ...]
FRAMEWORKS = ("scikit-learn", "keras", "torch")
_HEADER = '<ir_version: 9, opset_import: ["" : {opset}, "ai.onnx.ml" : 3]>\n'


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model with its ONNX form.

    Attributes:
        model: The model.
        text: The ONNX graph in onnx's own text form, without the header.
        weights: The constants that the text names.
        data: Rows for ``check_parity``, or None.
        outputs: The ``outputs`` argument of ``check_parity``.
        opset: Opset of the text.
    """

    model: Any
    text: str
    weights: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: Any = None
    outputs: OutputRequest = None
    opset: int = 18

    def proto(self) -> Any:
        """Return the ONNX model (onnx.ModelProto)."""
        import onnx
        from onnx import numpy_helper

        model = onnx.parser.parse_model(_HEADER.format(opset=self.opset) + self.text)
        for name, values in self.weights.items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        onnx.checker.check_model(model)
        return model


@dataclasses.dataclass(frozen=True)
class Specimen:
    """A right pair: ``build`` makes it, the same one each time."""

    name: str
    framework: str
    build: Callable[[], Subject]


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A specimen with one mistake.

    Attributes:
        name: The mistake.
        specimen: The specimen.
        suite: The suite that must catch it (``structure`` for names and counts of outputs).
        edits: Pieces of the text and what they become; each must occur. Or a function that returns them.
        weights: Changes to the constants: name to a function of the old value.
        culprit: ONNX values at one of which the mistake must be located; empty where the framework shows too little.
    """

    name: str
    specimen: Specimen
    suite: str
    edits: Edits | Callable[[], Edits] = ()
    weights: Mapping[str, Callable[[Array], Any]] = dataclasses.field(default_factory=dict)
    culprit: tuple[str, ...] = ()

    def subject(self) -> Subject:
        """Return the wrong pair.

        Raises:
            ValueError: An edit or a constant does not fit the specimen.
        """
        right = self.specimen.build()
        text = right.text
        for old, new in self.edits() if callable(self.edits) else self.edits:
            if old not in text:
                raise ValueError(f"mutant {self.name}: {old!r} is not in the text of {self.specimen.name}")
            text = text.replace(old, new)
        weights = dict(right.weights)
        for name, change in self.weights.items():
            if name not in weights:
                raise ValueError(f"mutant {self.name}: {self.specimen.name} has no constant {name!r}")
            weights[name] = change(np.array(weights[name]))
        return dataclasses.replace(right, text=text, weights=weights)


def floats(values: Any) -> str:
    """Return numbers as an ONNX text list; float32 numbers read back to themselves."""
    return "[" + ", ".join(_number(value) for value in np.asarray(values).ravel().tolist()) + "]"


def _number(value: float) -> str:
    text = repr(float(value))
    return text if "." in text or "e" in text else f"{text}.0"


def integers(values: Any) -> str:
    """Return whole numbers as an ONNX text list."""
    return "[" + ", ".join(str(int(value)) for value in np.asarray(values).ravel()) + "]"


def strings(values: Any) -> str:
    """Return texts as an ONNX text list."""
    return "[" + ", ".join(f'"{value}"' for value in values) + "]"


def all_specimens(framework: str | None = None) -> tuple[Specimen, ...]:
    """Return every right pair, the ill-conditioned ones included.

    Raises:
        UnknownOption: There is no such framework.
    """
    from any2onnx.parity.self_test import ill_conditioned

    found = [mutant.specimen for mutant in all_mutants(framework)]
    hard = [specimen for specimen in ill_conditioned.SPECIMENS if framework in (None, specimen.framework)]
    return tuple(dict.fromkeys([*found, *hard]))


def all_mutants(framework: str | None = None) -> tuple[Mutant, ...]:
    """Return every mutant.

    Raises:
        UnknownOption: There is no such framework.
    """
    from any2onnx.parity.self_test import keras_mutants, rare_mutants, sklearn_mutants, torch_mutants

    if framework is not None and framework not in FRAMEWORKS:
        raise UnknownOption(
            f"there is no framework {framework!r}{did_you_mean(framework, FRAMEWORKS)}", needs=", ".join(FRAMEWORKS)
        )
    every = (*sklearn_mutants.MUTANTS, *keras_mutants.MUTANTS, *torch_mutants.MUTANTS, *rare_mutants.MUTANTS)
    return tuple(mutant for mutant in every if framework in (None, mutant.specimen.framework))
