"""Runs the configurations of layer_cases.py: conversion, onnx's checker, onnxruntime against Keras.

As a program it runs all of them under the Keras backend of the environment and prints what failed.
"""

from __future__ import annotations

import json
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras_checks import Array, compare, converted, numpy_of, randomize, session
from layer_cases import LayerCase, all_cases

_TOKENS = ["a", "bb", "c d", "é", "A b, a!", "", "zz a bb", "[UNK]"]


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


def run_case(case: LayerCase, opset: int = 21, batches: Sequence[int] = (1, 3)) -> None:
    """Convert one configuration and compare; raises what goes wrong."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = model_of(case)
        target: Any = {"": opset, "com.microsoft": 1} if case.contrib else opset
        running = session(converted(model, target))
        names = [value.name for value in running.get_inputs()]
        steps = range(3) if any(None in shape for shape in case.shapes) else range(1)
        for step in steps:
            for batch in batches if step == 0 else batches[-1:]:
                data = data_of(case, model, batch, step)
                compare(running.run(None, dict(zip(names, data, strict=True))), reference(model, data))


def reference(model: Any, data: Sequence[Array]) -> list[Array]:
    """Return what Keras answers."""
    if any(array.dtype == object for array in data):
        import tensorflow as tf

        data = [tf.constant(array) for array in data]
    answers = numpy_of(model(data[0] if len(data) == 1 else list(data), training=False))
    return [np.vectorize(bytes.decode, otypes=[object])(a) if a.dtype == object else a for a in answers]


def main() -> None:
    failed = {}
    backend = keras.backend.backend()
    cases = [case for case in all_cases() if "string" not in case.dtypes and backend not in case.not_on]
    chosen = cases[int(sys.argv[1]) :: int(sys.argv[2])] if len(sys.argv) > 2 else cases
    for case in chosen:
        try:
            run_case(case)
        except Exception:  # every failure is reported, with its own message
            failed[case.name] = traceback.format_exc(limit=1)[-400:]
        keras.backend.clear_session()
    print(json.dumps({"backend": backend, "cases": len(chosen), "failed": failed}))


if __name__ == "__main__":
    main()
