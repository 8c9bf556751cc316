"""The main job's Keras model: ResNet50 as keras.applications builds it."""

from __future__ import annotations

import keras
import onnx
import onnx_ir as ir
from keras_checks import compare, example, numpy_of, op_types, randomize, session

from any2onnx.converters.keras.walk import build_keras
from any2onnx.graph.opsets import Opsets
from any2onnx.operator_mappings.registry import default_registry
from any2onnx.passes.pipeline import optimize


def test_resnet50() -> None:
    model = randomize(keras.applications.ResNet50(weights=None, input_shape=(224, 224, 3), name="resnet50"))
    proto = ir.to_proto(optimize(build_keras(model, opsets=Opsets.of(21), registry=default_registry())))
    onnx.checker.check_model(proto, full_check=True)
    assert op_types(proto).count("Transpose") <= 1
    assert "BatchNormalization" not in op_types(proto)
    assert len(proto.graph.node) <= 130
    running = session(proto)
    for batch in (1, 2):
        x = example(model.inputs[0], batch, seed=batch)
        compare(running.run(None, {running.get_inputs()[0].name: x}), numpy_of(model(x, training=False)))
