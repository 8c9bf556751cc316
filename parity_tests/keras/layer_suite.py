"""Runs the configurations of layer_cases.py: conversion, onnx's checker, onnxruntime against Keras.

As a program it is the process that run_layer_suite.py starts.
"""

from __future__ import annotations

import argparse
import json
import re
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras_checks import Array, compare, converted, numpy_of, randomize, session
from layer_cases import TENSORFLOW_ONLY, LayerCase, all_cases

from any2onnx.errors import ExportFailed, OpsetNotSupported
from any2onnx.options import Options

_TOKENS = ["a", "bb", "c d", "é", "A b, a!", "", "zz a bb", "[UNK]"]
BATCHES = (0, 1, 3)
RECURRENT = frozenset({"Bidirectional", "GRU", "LSTM", "RNN", "SimpleRNN"})


class KerasRefused(Exception):
    """Keras itself cannot build or run a configuration under the loaded backend."""


def model_of(case: LayerCase) -> Any:
    """Return a model of the layer alone, with random weights."""
    dtypes = [*case.dtypes, *[case.dtypes[-1]] * len(case.shapes)]
    inputs = [
        keras.Input(shape, dtype=d, name=f"x{k}") for k, (shape, d) in enumerate(zip(case.shapes, dtypes, strict=False))
    ]
    layer = case.built()
    outputs = layer(inputs, **case.call) if case.listed else layer(*inputs, **case.call)
    lora = [w for w in layer.weights if "lora" in w.path]
    model = keras.Model(inputs, outputs)
    return randomize(model) if not lora else randomize(model, seed=1)


def data_of(case: LayerCase, model: Any, batch: int, step: int) -> list[Array]:
    """Return inputs; dims that vary take the sizes in turn, other ones in each step."""
    found = []
    for k, tensor in enumerate(model.inputs):
        random = np.random.default_rng(10 * batch + step + 100 * k)
        shape = [
            batch if axis == 0 else case.sizes[(step + axis) % len(case.sizes)] if d is None else d
            for axis, d in enumerate(tensor.shape)
        ]
        dtype = str(tensor.dtype)
        if dtype == "string":
            found.append(random.choice(np.array(_TOKENS, object), shape))
        elif "int" in dtype or case.layer == "Embedding":
            found.append(random.integers(0, case.high, shape).astype(dtype))
        else:
            found.append(random.normal(size=shape).astype(dtype))
    return found


def run_case(
    case: LayerCase, opset: int = 21, batches: Sequence[int] = BATCHES, note: Callable[[str], None] = str
) -> None:
    """Convert one configuration and compare at every batch size, and at three sizes of dims that vary.

    Args:
        case: The configuration.
        opset: Target.
        batches: Sizes of the batch.
        note: Is told what is about to be run: Keras, the conversion or onnxruntime.

    Raises:
        KerasRefused: Keras itself raises, under this backend, on all or some of the data; the rest is compared.
        Exception: Whatever goes wrong in the conversion, in onnxruntime or in the comparison.
    """
    refusals: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        note("Keras")
        try:
            model = model_of(case)
        except Exception as error:
            raise KerasRefused(_brief(error)) from error
        note("conversion")
        try:
            running = session(converted(model, opset))
        except ExportFailed:
            # Keras's own error comes out of the recording as well.
            note("Keras")
            refuse_as_keras(case, model, batches[-1])
            raise
        # onnxruntime's recurrent kernels take no empty batch: by default an exception, by option an empty answer.
        option = {"options": Options({"empty_batch": True})} if case.layer in RECURRENT else {}
        empty = session(converted(model, opset, **option)) if option and 0 in batches else running
        names = [value.name for value in running.get_inputs()]
        steps = range(3) if any(None in shape for shape in case.shapes) else range(1)
        for step in steps:
            for batch in batches if step == 0 else batches[-1:]:
                data = data_of(case, model, batch, step)
                note(f"Keras, batch {batch}")
                try:
                    wanted = reference(case, model, data)
                except Exception as error:
                    refusals.append(f"batch {batch}: {_brief(error)}")
                    continue
                note(f"onnxruntime, batch {batch}")
                found = (running if batch else empty).run(None, dict(zip(names, data, strict=True)))
                if batch or _as_stated(model, data, wanted) or not _as_stated(model, data, found):
                    compare(found, wanted)
                else:
                    shapes = ", ".join(str(answer.shape) for answer in wanted)
                    refusals.append(f"batch 0: it answers {shapes}, which is not what it states")
    if refusals:
        raise KerasRefused("; ".join(dict.fromkeys(refusals)))


def refuse_as_keras(case: LayerCase, model: Any, batch: int) -> None:
    """Raise KerasRefused where Keras itself cannot run the model."""
    try:
        reference(case, model, data_of(case, model, batch, 0))
    except Exception as error:
        raise KerasRefused(f"batch {batch}: {_brief(error)}") from error


def reference(case: LayerCase, model: Any, data: Sequence[Array]) -> list[Array]:
    """Return what Keras answers."""
    backend = keras.backend.backend()
    given: list[Any] = list(data)
    if any(array.dtype == object for array in data):
        import tensorflow as tf

        given = [tf.constant(array) for array in data]
    argument = given[0] if len(given) == 1 else given
    if case.layer in TENSORFLOW_ONLY and backend != "tensorflow":
        # Other backends have no strings: as in a tf.data pipeline, the layer itself is called.
        answers = [np.asarray(y) for y in keras.tree.flatten(model.layers[-1](argument))]
    else:
        answers = numpy_of(model(argument, training=False))
    answers = [np.vectorize(_text, otypes=[object])(a) if a.dtype == object else a for a in answers]
    # TensorFlow computes these layers under every backend; JAX and NumPy hand its int64 on as int32.
    if case.layer in TENSORFLOW_ONLY and backend in {"jax", "numpy"}:
        return [a.astype(np.int64) if a.dtype == np.int32 else a for a in answers]
    # numpy computes means of integers in float64, where Keras states float32.
    stated = [tensor.dtype for tensor in model.outputs]
    wide = [
        backend == "numpy" and a.dtype == np.float64 and d == "float32" for a, d in zip(answers, stated, strict=True)
    ]
    return [a.astype(np.float32) if w else a for a, w in zip(answers, wide, strict=True)]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _as_stated(model: Any, data: Sequence[Array], answers: Sequence[Array]) -> bool:
    """Tell whether answers have the shapes that Keras states for such inputs.

    TensorFlow's convolutions, for one, give an empty batch back as it came, whatever the strides and filters.
    """
    given = [keras.KerasTensor((None, *array.shape[1:]), t.dtype) for array, t in zip(data, model.inputs, strict=True)]
    stated = keras.tree.flatten(model.compute_output_spec(given[0] if len(given) == 1 else given))
    return all(
        len(answer.shape) == len(spec.shape)
        and all(d in (None, size) for d, size in zip(spec.shape, answer.shape, strict=True))
        for answer, spec in zip(answers, stated, strict=True)
    )


def _brief(error: Exception) -> str:
    """Return class and first words of an error, without what differs from run to run."""
    plain = re.sub(r"\x1b\[\d+m|\{\{.*?\}\}", "", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith("Exception encountered")] or lines or [""]
    return f"{type(error).__name__}: {said[0][:150]}"


# --- as a program -----------------------------------------------------------------------------------------------------


def outcome(case: LayerCase, opset: int, batches: Sequence[int], note: Callable[[str], None]) -> dict[str, str]:
    """Return {}, or what happened: refused (by Keras), opset_refused (named by the converter's refusal), failed."""
    wrong = keras.backend.backend() in case.wrong_on
    try:
        run_case(case, opset, batches, note)
    except KerasRefused as error:
        return {"refused": str(error)}
    except OpsetNotSupported as error:
        return {"opset_refused": str(error.summary)} if opset < 21 else {"failed": str(error)}
    except AssertionError as error:
        return {"refused": "its own answer is wrong"} if wrong else {"failed": str(error)[-400:]}
    except Exception:  # every failure is reported, with its own message
        return {"failed": traceback.format_exc(limit=-2)[-600:]}
    return {"failed": "Keras's answer is right now: wrong_on is out of date"} if wrong else {}


def serve(cases: Sequence[LayerCase], start: int, opset: int, batches: Sequence[int]) -> None:
    """Run the cases from a number on, saying on stdout where it is; see run_layer_suite.py."""

    def say(**what: Any) -> None:
        print(json.dumps({"outcome": None, **what}), flush=True)

    say(count=len(cases))
    for k, case in enumerate(cases[start:], start):
        say(name=case.name, stage="Keras")
        what = outcome(case, opset, batches, lambda stage, case=case: say(name=case.name, stage=stage))
        say(name=case.name, at=k, outcome=what)
        # Names start anew; to collect all garbage as well would take longer than most cases.
        keras.backend.clear_session(free_memory=k % 50 == 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("opset", "start", "k", "n"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--batches")
    parser.add_argument("--layer")
    given = parser.parse_args()
    cases = [case for case in all_cases() if given.layer in (None, case.layer)][given.k - 1 :: given.n]
    serve(cases, given.start, given.opset, [int(b) for b in given.batches.split(",")])


if __name__ == "__main__":
    main()
