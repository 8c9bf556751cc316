"""Keras, PyTorch and plain functions against ONNX written by hand, right and altered."""

from __future__ import annotations

import keras
import numpy as np
import onnx
import parity_hand_made as made
import pytest
import torch
from onnx import helper

from any2onnx.errors import NotFitted, UsageError
from any2onnx.parity import Verdict, check_parity


def numpy_weights(model):
    return [keras.ops.convert_to_numpy(weight) for weight in model.weights]


# --- Keras ------------------------------------------------------------------------------------------------------


def dense_model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,), name="x")
    hidden = keras.layers.Dense(16, activation="relu")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="out")(hidden))


def dense_onnx(model, *, output="out", activation="Relu"):
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"]),
        helper.make_node(activation, ["h"], ["a"]),
        helper.make_node("Gemm", ["a", "w1", "b1"], ["l"]),
        helper.make_node("Softmax", ["l"], [output], axis=-1),
    ]
    constants = dict(zip(["w0", "b0", "w1", "b1"], numpy_weights(model), strict=True))
    return made.model(nodes, [made.info("x", ["batch", 6])], [made.info(output, ["batch", 3])], constants)


def test_keras_dense_passes_with_a_float64_reference():
    model = dense_model()
    report = check_parity(model, dense_onnx(model))
    assert report.passed, report
    typical = next(result for result in report.results if result.suite == "typical")
    assert typical.reference == "float64"
    # A real float64 run differs from the float32 run by its rounding.
    assert 0 < typical.rel_framework < 1e-6
    assert report.framework == "keras"


def test_keras_weights_are_left_alone():
    model = dense_model()
    before = numpy_weights(model)
    check_parity(model, dense_onnx(model))
    assert model.dtype == "float32"
    assert all(np.array_equal(a, b) for a, b in zip(before, numpy_weights(model), strict=True))


def test_keras_changed_weight():
    model = dense_model()
    report = check_parity(model, made.altered(dense_onnx(model), "w1", lambda w: w + np.float32(1e-3)[None] * (w > 0)))
    assert report["out"].verdict is Verdict.CONVERTER_IMPRECISE


def test_keras_wrong_activation():
    model = dense_model()
    assert not check_parity(model, dense_onnx(model, activation="Elu")).passed


def test_keras_output_names_when_they_are_stated():
    model = dense_model()
    assert check_parity(model, dense_onnx(model, output="y"), suites="typical").passed
    report = check_parity(model, dense_onnx(model, output="y"), outputs=["out"], suites="typical")
    assert report.verdict is Verdict.MISMATCH
    assert "'out'" in report.failures[0].note
    proto = dense_onnx(model, output="y")
    helper.set_model_props(proto, {"any2onnx.outputs": '["out"]'})
    assert check_parity(model, proto, suites="typical").verdict is Verdict.MISMATCH


def test_keras_int32_labels_must_stay_int32():
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, keras.ops.cast(keras.ops.argmax(inputs, axis=-1), "int32"))
    nodes = [
        helper.make_node("ArgMax", ["x"], ["best"], axis=-1, keepdims=0),
        helper.make_node("Cast", ["best"], ["y"], to=onnx.TensorProto.INT32),
    ]
    arguments = ([made.info("x", ["batch", 4])], [made.info("y", ["batch"], onnx.TensorProto.INT32)])
    assert check_parity(model, made.model(nodes, *arguments), suites="typical,shape").passed
    wide = made.model(
        [helper.make_node("ArgMax", ["x"], ["y"], axis=-1, keepdims=0)],
        arguments[0],
        [made.info("y", ["batch"], made.INT64)],
    )
    report = check_parity(model, wide, suites="typical")
    assert "dtype int64, the framework gives int32" in report.failures[0].note


def conv_model():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, None, 3), name="image")
    x = keras.layers.Conv2D(4, 3, name="conv")(inputs)
    x = keras.layers.BatchNormalization(name="bn")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    rng = np.random.default_rng(0)
    gamma, beta, mean, variance = (rng.uniform(0.5, 1.5, 4) for _ in range(4))
    model.get_layer("bn").set_weights([gamma, beta, mean, variance])
    return model


def conv_onnx(model, *, epsilon=1e-3, channels_first=False, free=("h", "w")):
    kernel, bias, gamma, beta, mean, variance = numpy_weights(model)
    factor = gamma / np.sqrt(variance + epsilon)
    start = [] if channels_first else [helper.make_node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2])]
    nodes = [
        *start,
        helper.make_node("Conv", ["image" if channels_first else "nchw", "kernel", "bias"], ["c"]),
        helper.make_node("ReduceMean", ["c", "axes"], ["pooled"], keepdims=0),
    ]
    constants = {
        "kernel": (kernel * factor).transpose(3, 2, 0, 1).astype(np.float32),
        "bias": ((bias - mean) * factor + beta).astype(np.float32),
        "axes": np.array([2, 3]),
    }
    shape = ["batch", 3, *free] if channels_first else ["batch", *free, 3]
    return made.model(nodes, [made.info("image", shape)], [made.info("pooled", ["batch", 4])], constants)


def test_keras_convolution_at_every_size():
    model = conv_model()
    report = check_parity(model, conv_onnx(model))
    assert report.passed, report
    assert len({result.case for result in report.results if result.case.startswith(("h = ", "w = "))}) == 6


def test_keras_channels_first_input_is_recognised():
    model = conv_model()
    report = check_parity(model, conv_onnx(model, channels_first=True), suites="smoke")
    assert report.passed, report


def test_keras_dropped_epsilon():
    model = conv_model()
    assert check_parity(model, conv_onnx(model, epsilon=0.0)).verdict is Verdict.CONVERTER_IMPRECISE


def test_keras_baked_spatial_axis():
    model = conv_model()
    report = check_parity(model, conv_onnx(model, free=(9, 9)))
    assert {result.suite for result in report.failures} == {"shape"}
    assert "axis 1 of 'image' is fixed at 9" in report.failures[0].note


def test_keras_several_inputs_and_dict_outputs_by_name():
    a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
    model = keras.Model({"a": a, "b": b}, {"total": keras.ops.add(a, b), "gap": keras.ops.subtract(a, b)})
    nodes = [helper.make_node("Add", ["a", "b"], ["total"]), helper.make_node("Sub", ["a", "b"], ["gap"])]
    # Inputs and outputs in another order than in the model: names decide.
    inputs = [made.info("b", ["batch", 2]), made.info("a", ["batch", 2])]
    outputs = [made.info("total", ["batch", 2]), made.info("gap", ["batch", 2])]
    assert check_parity(model, made.model(nodes, inputs, outputs)).passed
    swapped = [helper.make_node("Add", ["a", "b"], ["total"]), helper.make_node("Sub", ["b", "a"], ["gap"])]
    assert check_parity(model, made.model(swapped, inputs, outputs))["gap"].verdict is Verdict.CONVERTER_IMPRECISE


def test_keras_token_ids_stay_inside_the_embedding():
    model = keras.Sequential([keras.Input((5,), dtype="int32", name="ids"), keras.layers.Embedding(7, 3)])
    (table,) = numpy_weights(model)
    proto = made.model(
        [helper.make_node("Gather", ["table", "ids"], ["y"])],
        [made.info("ids", ["batch", 5], onnx.TensorProto.INT32)],
        [made.info("y", ["batch", 5, 3])],
        {"table": table},
    )
    report = check_parity(model, proto)
    assert report.verdict is Verdict.EXACT
    assert not check_parity(model, made.altered(proto, "table", lambda t: t[::-1])).passed


class Tripled(keras.layers.Layer):
    """A layer whose configuration does not give it back."""

    def __init__(self, factor, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, inputs):
        return inputs * self.factor()


def test_keras_layer_without_a_config_has_no_float64_reference_and_says_why():
    inputs = keras.Input((3,), name="x")
    model = keras.Model(inputs, Tripled(lambda: 3.0)(inputs))
    proto = made.model(
        [helper.make_node("Mul", ["x", "three"], ["y"])],
        [made.info("x", ["batch", 3])],
        [made.info("y", ["batch", 3])],
        {"three": np.float32(3)},
    )
    report = check_parity(model, proto)
    assert report.passed, report
    assert any("no float64 reference (" in note for note in report.notes)
    assert {result.reference for result in report.compared} == {"framework", "itself"}
    assert not check_parity(model, made.altered(proto, "three", lambda _: np.float32(3.001))).passed


def test_keras_unbuilt_model():
    with pytest.raises(NotFitted, match="not built"):
        check_parity(keras.Sequential([keras.layers.Dense(2)]), dense_onnx(dense_model()))


# --- PyTorch ----------------------------------------------------------------------------------------------------


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = torch.nn.Linear(5, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.last = torch.nn.Linear(8, 3)

    def forward(self, x):
        logits = self.last(torch.tanh(self.norm(self.first(x))))
        return {"logits": logits, "best": logits.argmax(1)}


def net_onnx(net, *, epsilon=1e-5, outputs=("logits", "best")):
    state = {name: value.numpy() for name, value in net.state_dict().items()}
    factor = state["norm.weight"] / np.sqrt(state["norm.running_var"] + epsilon)
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"], transB=1),
        helper.make_node("Tanh", ["h"], ["t"]),
        helper.make_node("Gemm", ["t", "w1", "b1"], ["logits"], transB=1),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
    ]
    constants = {
        "w0": (state["first.weight"] * factor[:, None]).astype(np.float32),
        "b0": ((state["first.bias"] - state["norm.running_mean"]) * factor + state["norm.bias"]).astype(np.float32),
        "w1": state["last.weight"],
        "b1": state["last.bias"],
    }
    known = {"logits": made.info("logits", ["batch", 3]), "best": made.info("best", ["batch"], made.INT64)}
    used = nodes if "best" in outputs else nodes[:3]
    return made.model(used, [made.info("x", ["batch", 5])], [known[name] for name in outputs], constants)


def trained_net():
    net = Net()
    for _ in range(3):
        net(torch.randn(16, 5) * 2 + 1)
    return net.eval()


def test_torch_module_and_exported_program():
    net = trained_net()
    proto = net_onnx(net)
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, (torch.randn(4, 5),), dynamic_shapes=({0: batch},), strict=False)
    for model in (net, program):
        report = check_parity(model, proto, (torch.randn(10, 5),))
        assert report.passed, report
        assert report["logits"].results[0].reference == "float64"
        assert report["logits"].results[0].rel_framework > 0


def test_torch_outputs_are_tied_by_the_keys_of_the_result():
    net = trained_net()
    assert check_parity(net, net_onnx(net, outputs=("best", "logits"))).passed


def test_torch_dropped_output():
    net = trained_net()
    report = check_parity(net, net_onnx(net, outputs=("logits",)))
    assert report.verdict is Verdict.MISMATCH
    assert report.failures[0].note.startswith("the ONNX model has no output")


def test_torch_changed_weight_and_wrong_epsilon():
    net = trained_net()
    assert not check_parity(net, made.altered(net_onnx(net), "w1", lambda w: w * np.float32(1.001))).passed
    assert check_parity(net, net_onnx(net, epsilon=1e-3)).verdict is Verdict.CONVERTER_IMPRECISE


def test_torch_running_statistics_are_left_alone():
    net = Net()
    before = net.norm.running_mean.clone()
    check_parity(net, net_onnx(net), suites="typical")
    assert net.training
    assert torch.equal(before, net.norm.running_mean)
    assert next(net.parameters()).dtype == torch.float32


class Noisy(torch.nn.Module):
    def forward(self, x):
        return torch.nn.functional.dropout(x, 0.5, training=True)


def test_torch_random_module_is_inconclusive():
    identity = made.model(
        [helper.make_node("Identity", ["x"], ["y"])], [made.info("x", ["batch", 4])], [made.info("y", ["batch", 4])]
    )
    report = check_parity(Noisy(), identity)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert not report.passed


class Half(torch.nn.Module):
    def forward(self, x):
        return x * 3, x.sum(1)


@pytest.mark.parametrize(
    ("kind", "torch_type"), [(onnx.TensorProto.FLOAT16, torch.float16), (onnx.TensorProto.BFLOAT16, torch.bfloat16)]
)
def test_torch_narrow_floats(kind, torch_type):
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["wide", "three"], ["product"]),
        helper.make_node("ReduceSum", ["wide", "axis"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["product"], ["y"], to=kind),
        helper.make_node("Cast", ["sum"], ["z"], to=kind),
    ]
    outputs = [made.info("y", ["batch", 6], kind), made.info("z", ["batch"], kind)]
    constants = {"three": np.float32(3), "axis": np.array([1])}
    proto = made.model(nodes, [made.info("x", ["batch", 6], kind)], outputs, constants)
    report = check_parity(Half(), proto, torch.randn(9, 6).to(torch_type))
    assert report.passed, report
    assert report["y"].verdict is Verdict.EXACT
    assert report["y"].results[0].dtype == str(torch_type).removeprefix("torch.")
    assert not check_parity(Half(), made.altered(proto, "three", lambda _: np.float32(3.1))).passed


def test_torch_fixed_batch_is_run_in_pieces():
    net = trained_net()
    proto = net_onnx(net)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    report = check_parity(net, proto, torch.randn(7, 5))
    assert report.passed, report
    assert report["logits"].results[0].rows == 7


# --- functions --------------------------------------------------------------------------------------------------


def test_function_of_arrays():
    proto = made.model(
        [helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("Exp", ["s"], ["y"])],
        [made.info("a", ["n"]), made.info("b", ["n"])],
        [made.info("y", ["n"])],
    )
    report = check_parity(lambda a, b: np.exp(a + b), proto)
    assert report.passed, report
    assert not check_parity(lambda a, b: np.exp(a - b), proto).passed
    assert check_parity(lambda a, b: (np.exp(a + b), a), proto).verdict is Verdict.MISMATCH


def test_function_that_rejects_everything():
    proto = made.model([helper.make_node("Exp", ["x"], ["y"])], [made.info("x", ["n"])], [made.info("y", ["n"])])

    def refuse(x):
        raise ValueError("never")

    with pytest.raises(UsageError, match="rejects") as caught:
        check_parity(refuse, proto)
    assert "never" in str(caught.value)


def test_function_without_batch_axis():
    proto = made.model(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)], [made.info("x", [3, 4])], [made.info("y", [])]
    )
    assert check_parity(np.sum, proto, suites="boundary,special").passed
    assert not check_parity(np.max, proto, suites="boundary").passed


def test_nan_in_pooling_is_not_judged_but_elsewhere_it_is():
    nodes = [helper.make_node("ReduceMax", ["x", "axis"], ["y"], keepdims=0)]
    arguments = ([made.info("x", ["batch", 4])], [made.info("y", ["batch"])])
    report = check_parity(lambda x: np.fmax.reduce(x, axis=1), made.model(nodes, *arguments, {"axis": np.array([1])}))
    assert report.passed, report
    lost = made.model(
        [helper.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=0)], *arguments, {"axis": np.array([1])}
    )
    report = check_parity(lambda x: np.nansum(x, axis=1), lost)
    assert {(r.suite, r.case) for r in report.failures} == {("special", "NaN")}


def floor_of_thirds(shift):
    nodes = [
        helper.make_node("Sub", ["x", "shift"], ["moved"]),
        helper.make_node("Mul", ["moved", "three"], ["product"]),
        helper.make_node("Floor", ["product"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["y"], to=made.INT64),
    ]
    constants = {"shift": np.float32(shift), "three": np.float32(3)}
    return made.model(nodes, [made.info("x", ["n", 1])], [made.info("y", ["n", 1], made.INT64)], constants)


def test_whole_numbers_that_the_reference_reaches_within_the_budget_are_ties():
    def thirds(x):
        return np.floor(x * x.dtype.type(3)).astype(np.int64)

    # The first row lies on a jump, the second near one and far beyond the budget.
    rows = np.array([[1 / 3], [0.3335], [0.5]], dtype=np.float32)
    near = check_parity(thirds, floor_of_thirds(1e-7), rows, suites="data")
    assert near["y"].results[0].tied == 1
    assert near["y"].verdict is Verdict.WITHIN_BUDGET
    far = check_parity(thirds, floor_of_thirds(1e-3), rows, suites="data")
    assert (far["y"].results[0].tied, far["y"].results[0].wrong) == (1, 1)
    assert far["y"].verdict is Verdict.MISMATCH
