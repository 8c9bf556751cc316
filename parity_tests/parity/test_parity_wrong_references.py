"""The table of what `onnx.reference` computes wrongly: a specimen of each row, and plain nodes that are not in it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from any2onnx.parity import check_parity
from any2onnx.parity.lifted import LiftedGraph
from any2onnx.parity.wrong_references import ML, TABLE, given_of, wrong_reference

onnxruntime.set_default_logger_severity(4)
RNG = np.random.default_rng(0)


def f(*shape):
    return RNG.normal(size=shape).astype(np.float32)


X = f(2, 3, 7, 8)
BATCH = f(6, 3)
WEIGHTS = {"LSTM": 4, "GRU": 3, "RNN": 1}


def sequence(kind, *more, **attributes):
    gates = WEIGHTS[kind]
    return kind, [f(5, 2, 3), f(1, gates * 4, 3), f(1, gates * 4, 4), *more], {"hidden_size": 4, **attributes}


def stumps(**attributes):
    """Two small trees."""
    return {
        "nodes_treeids": [0] * 5 + [1] * 3,
        "nodes_nodeids": [0, 1, 2, 3, 4, 0, 1, 2],
        "nodes_featureids": [0, 0, 1, 0, 0, 2, 0, 0],
        "nodes_values": [0.1, 0, 0.2, 0, 0, -0.1, 0, 0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "BRANCH_LT", "LEAF", "LEAF", "BRANCH_GT", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 3, 0, 0, 1, 0, 0],
        "nodes_falsenodeids": [2, 0, 4, 0, 0, 2, 0, 0],
        **attributes,
    }


def classifier(labels, ids, **attributes):
    return stumps(
        classlabels_int64s=list(range(labels)),
        class_treeids=[0, 0, 0, 1, 1],
        class_nodeids=[1, 3, 4, 1, 2],
        class_ids=ids,
        class_weights=[0.2, 0.5, 0.3, 0.6, 0.1],
        **attributes,
    )


def regressor(**attributes):
    return stumps(
        n_targets=2,
        target_treeids=[0, 0, 0, 1, 1],
        target_nodeids=[1, 3, 4, 1, 2],
        target_ids=[0, 1, 0, 1, 1],
        target_weights=[0.2, 0.5, 0.3, 0.6, 0.1],
        **attributes,
    )


def ensemble(**attributes):
    return {
        "n_targets": 2,
        "nodes_featureids": [0, 1, 2],
        "nodes_splits": numpy_helper.from_array(np.array([0.1, 0.2, -0.1], np.float32)),
        "nodes_modes": numpy_helper.from_array(np.array([0, 1, 3], np.uint8)),
        "nodes_truenodeids": [0, 1, 3],
        "nodes_trueleafs": [1, 1, 1],
        "nodes_falsenodeids": [1, 2, 4],
        "nodes_falseleafs": [0, 1, 1],
        "leaf_targetids": [0, 1, 0, 1, 0],
        "leaf_weights": numpy_helper.from_array(np.array([0.2, 0.5, 0.3, 0.6, 0.1], np.float32)),
        "tree_roots": [0, 2],
        **attributes,
    }


SUPPORT = {
    "kernel_type": "RBF",
    "kernel_params": [0.5, 0.1, 2.0],
    "support_vectors": [float(v) for v in f(15)],
    "vectors_per_class": [2, 2, 1],
    "coefficients": [float(v) for v in f(10)],
    "rho": [0.3, 0.1, -0.2],
    "prob_a": [-1.0, -0.5, -2.0],
    "prob_b": [0.1, 0.2, 0.3],
    "classlabels_ints": [0, 1, 2],
}
ONE_ROW = {"coefficients": [0.5, -0.4, 1.0], "intercepts": [0.2], "classlabels_ints": [0, 1]}
SCALES = np.array([1, 1, 1.7, 2.3], np.float32)
GRID = RNG.uniform(-1.4, 1.4, (2, 4, 3, 2)).astype(np.float32)
LENGTHS = np.array([5, 3], np.int32)
# Operator, inputs, attributes; then what differs from the usual: number of outputs, opset, version of ai.onnx.ml.
WRONG = {
    "recurrent, lengths": [
        (*sequence("LSTM", None, LENGTHS), {}),
        (*sequence("GRU", None, LENGTHS), {}),
        (*sequence("RNN", None, LENGTHS), {}),
    ],
    "recurrent, activations": [
        (*sequence("LSTM", activations=["Relu"] * 3), {}),
        (*sequence("GRU", activations=["Relu", "Relu"]), {}),
    ],
    "recurrent, clip": [
        (*sequence("LSTM", clip=0.3), {}),
        (*sequence("GRU", clip=0.3), {}),
        (*sequence("RNN", clip=0.3), {}),
    ],
    "LSTM, input_forget": [(*sequence("LSTM", input_forget=1), {})],
    "Softmax below opset 13": [(name, [X], {}, {"opset": 11}) for name in ("Softmax", "LogSoftmax", "Hardmax")],
    "LRN": [("LRN", [X], {"size": 3, "alpha": 0.5}, {})],
    "LpNormalization, p=1": [("LpNormalization", [X], {"p": 1, "axis": 1}, {})],
    "LpPool, ceil_mode": [("LpPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "p": 3, "ceil_mode": 1}, {})],
    "MaxPool, indices": [("MaxPool", [X], {"kernel_shape": [3, 3]}, {"outputs": 2})],
    "MaxPool, SAME_LOWER": [
        ("MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}, {})
    ],
    "MaxUnpool": [
        (
            "MaxUnpool",
            [f(1, 1, 2, 2), np.array([[[[5, 7], [13, 15]]]]), np.array([1, 1, 5, 5])],
            {"kernel_shape": [2, 2], "strides": [2, 2]},
            {},
        )
    ],
    "Resize, rounded sizes": [
        ("Resize", [X, None, SCALES], {"mode": "linear", "coordinate_transformation_mode": "align_corners"}, {}),
        ("Resize", [X, None, SCALES], {"mode": "nearest"}, {}),
    ],
    "GridSample, cubic at a border": [
        ("GridSample", [X, GRID], {"mode": "cubic", "padding_mode": "border"}, {"opset": 20})
    ],
    "StringSplit, maxsplit": [
        (
            "StringSplit",
            [np.array(["a b", "c d e f", ""], object)],
            {"delimiter": " ", "maxsplit": 1},
            {"opset": 20, "outputs": 2},
        )
    ],
    "LinearClassifier, one row of coefficients": [("LinearClassifier", [BATCH], ONE_ROW, {"outputs": 2, "ml": 1})],
    "classifiers, PROBIT": [
        (
            "LinearClassifier",
            [BATCH],
            {
                "coefficients": [float(v) for v in f(9)],
                "intercepts": [0.1, 0.2, -0.3],
                "classlabels_ints": [0, 1, 2],
                "post_transform": "PROBIT",
            },
            {"outputs": 2, "ml": 1},
        )
    ],
    "TreeEnsembleClassifier, two classes": [
        ("TreeEnsembleClassifier", [BATCH], classifier(2, [0, 1, 1, 0, 1]), {"outputs": 2, "ml": 1}),
        ("TreeEnsembleClassifier", [BATCH], classifier(2, [1] * 5), {"outputs": 2, "ml": 1}),
        (
            "TreeEnsembleClassifier",
            [BATCH],
            classifier(2, [0] * 5, post_transform="LOGISTIC"),
            {"outputs": 2, "ml": 1},
        ),
    ],
    "TreeEnsembleRegressor, least or largest leaf": [
        ("TreeEnsembleRegressor", [BATCH], regressor(aggregate_function=name), {"ml": 1}) for name in ("MIN", "MAX")
    ],
    "TreeEnsemble, least or largest leaf": [
        ("TreeEnsemble", [BATCH], ensemble(aggregate_function=kind), {"ml": 5}) for kind in (2, 3)
    ],
    "TreeEnsemble, post_transform": [
        ("TreeEnsemble", [BATCH], ensemble(post_transform=kind), {"ml": 5}) for kind in (1, 2, 3)
    ],
    "SVMClassifier": [("SVMClassifier", [BATCH], SUPPORT, {"outputs": 2, "ml": 1})],
    "Normalizer, MAX": [("Normalizer", [BATCH], {"norm": "MAX"}, {"ml": 1})],
}
RIGHT = [
    (*sequence("LSTM"), {"outputs": 3}),
    (*sequence("LSTM", activations=["Sigmoid", "Tanh", "Tanh"]), {}),
    (*sequence("GRU", linear_before_reset=1), {}),
    (*sequence("RNN"), {}),
    ("Softmax", [X], {"axis": 1}, {}),
    ("Softmax", [X], {"axis": -1}, {"opset": 11}),
    ("LpNormalization", [X], {"p": 2, "axis": 1}, {}),
    ("LpPool", [X], {"kernel_shape": [3, 3], "p": 3}, {}),
    ("MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}, {}),
    ("MaxPool", [X], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, {}),
    ("AveragePool", [X], {"kernel_shape": [3, 3], "pads": [1, 0, 1, 0], "count_include_pad": 1}, {}),
    ("Resize", [X, None, np.array([1, 1, 2, 3], np.float32)], {"mode": "nearest"}, {}),
    ("Resize", [X, None, np.array([1, 1, 2, 2], np.float32)], {"mode": "linear"}, {}),
    ("Resize", [X, None, None, np.array([2, 3, 5, 9])], {"mode": "cubic"}, {}),
    ("GridSample", [X, GRID], {"mode": "cubic", "padding_mode": "zeros"}, {"opset": 20}),
    ("GridSample", [X, GRID], {"mode": "linear", "padding_mode": "border"}, {"opset": 20}),
    ("Conv", [X, f(4, 3, 3, 3), f(4)], {"strides": [2, 1], "pads": [1, 0, 0, 2]}, {}),
    ("ConvTranspose", [X, f(3, 2, 3, 3)], {"strides": [2, 2], "output_padding": [1, 1]}, {}),
    ("Gemm", [f(3, 4), f(5, 4), f(5)], {"transB": 1, "alpha": 0.5}, {}),
    ("CumSum", [X, np.array(2)], {"exclusive": 1, "reverse": 1}, {}),
    ("TopK", [f(3, 7), np.array([3])], {"largest": 0}, {"outputs": 2}),
    ("ScatterElements", [f(4, 5), np.array([[0, 2, -1]]), f(1, 3)], {"axis": 1, "reduction": "add"}, {}),
    ("LayerNormalization", [X, f(8), f(8)], {}, {}),
    ("Attention", [f(1, 4, 3, 8), f(1, 2, 5, 8), f(1, 2, 5, 8)], {"is_causal": 1}, {"opset": 23}),
    ("TreeEnsembleClassifier", [BATCH], classifier(3, [0, 1, 2, 0, 1]), {"outputs": 2, "ml": 1}),
    ("TreeEnsembleClassifier", [BATCH], classifier(2, [0] * 5), {"outputs": 2, "ml": 1}),
    ("TreeEnsembleRegressor", [BATCH], regressor(), {"ml": 1}),
    ("TreeEnsemble", [BATCH], ensemble(), {"ml": 5}),
    ("Normalizer", [BATCH], {"norm": "L2"}, {"ml": 1}),
    ("Scaler", [BATCH], {"offset": [0.1, 0.2, 0.3], "scale": [2.0, 3.0, 4.0]}, {"ml": 1}),
]


def model_of(specimen):
    operator, inputs, attributes, more = specimen
    names = [f"i{k}" if value is not None else "" for k, value in enumerate(inputs)]
    domain = ML if "ml" in more else ""
    outputs = [f"o{k}" for k in range(more.get("outputs", 1))]

    def declared(name, value):
        kind = TensorProto.STRING if value.dtype.kind == "O" else helper.np_dtype_to_tensor_dtype(value.dtype)
        return helper.make_tensor_value_info(name, kind, value.shape)

    feeds = {name: value for name, value in zip(names, inputs, strict=True) if name}
    graph = helper.make_graph(
        [helper.make_node(operator, names, outputs, domain=domain, **attributes)],
        "one",
        [declared(name, value) for name, value in feeds.items()],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    opsets = [helper.make_opsetid("", more.get("opset", 21)), helper.make_opsetid(ML, more.get("ml", 3))]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10), feeds


def in_onnxruntime(model, feeds):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)


def agree(found, wanted):
    for a, b in zip(found, wanted, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        if a.shape != b.shape:
            return False
        if a.dtype.kind in "OSU":
            if not (a.astype(str) == b.astype(str)).all():
                return False
        elif not np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True):
            return False
    return True


def test_every_row_has_a_specimen():
    assert set(WRONG) == {row.name for row in TABLE}
    assert len({row.name for row in TABLE}) == len(TABLE)


@pytest.mark.parametrize(
    ("name", "specimen"),
    [
        pytest.param(name, item, id=f"{name} {k} {item[0]}")
        for name, items in WRONG.items()
        for k, item in enumerate(items)
    ],
)
def test_the_reference_is_wrong_and_not_asked(name, specimen):
    model, feeds = model_of(specimen)
    # Rows are there for a reason: when onnx mends the operator, this says that the row can go.
    assert not agree(ReferenceEvaluator(model).run(None, feeds), in_onnxruntime(model, feeds))
    opsets = {item.domain: item.version for item in model.opset_import}
    row = wrong_reference(given_of(model.graph.node[0], opsets, list(feeds_in_order(model, feeds))))
    assert row is not None
    assert row.name == name
    found = LiftedGraph(model).run(feeds, wide=False)
    # What is computed here is an opinion of its own; for the rest onnxruntime stands in, and that is none.
    assert found.narrow == (set() if row.instead else set(model.graph.node[0].output))
    assert agree([found.arrays[value] for value in model.graph.node[0].output], in_onnxruntime(model, feeds))


def feeds_in_order(model, feeds):
    return (feeds.get(name) for name in model.graph.node[0].input)


@pytest.mark.parametrize(
    "specimen", RIGHT, ids=lambda specimen: f"{specimen[0]} {specimen[2] if len(str(specimen[2])) < 60 else ''}"
)
def test_the_reference_is_right_and_asked(specimen):
    model, feeds = model_of(specimen)
    assert agree(ReferenceEvaluator(model).run(None, feeds), in_onnxruntime(model, feeds))
    found = LiftedGraph(model).run(feeds, wide=False)
    assert not found.narrow


def test_independent_truths():
    """Where the table takes onnxruntime's side, the standard's formula does too."""
    model, feeds = model_of(WRONG["LRN"][0])
    padded = np.pad(X.astype(np.float64) ** 2, ((0, 0), (1, 1), (0, 0), (0, 0)))
    around = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    assert agree(in_onnxruntime(model, feeds), [X / (1 + 0.5 / 3 * around) ** 0.75])
    model, feeds = model_of(WRONG["LpNormalization, p=1"][0])
    assert agree(in_onnxruntime(model, feeds), [X / np.abs(X).sum(axis=1, keepdims=True)])
    model, feeds = model_of(WRONG["Softmax below opset 13"][0])
    flat = np.exp(X.reshape(2, -1).astype(np.float64))
    assert agree(in_onnxruntime(model, feeds), [(flat / flat.sum(axis=1, keepdims=True)).reshape(X.shape)])
    model, feeds = model_of(WRONG["MaxPool, indices"][0])
    values, indices = in_onnxruntime(model, feeds)
    assert agree([values], [X.ravel()[indices]])
    model, feeds = model_of(WRONG["TreeEnsemble, post_transform"][0])
    plain, _ = model_of(("TreeEnsemble", [BATCH], ensemble(), {"ml": 5}))
    assert agree(in_onnxruntime(model, feeds), [1 / (1 + np.exp(-in_onnxruntime(plain, feeds)[0].astype(np.float64)))])


def lstm_with_lengths(scale):
    """A graph with an LSTM over sequences of given lengths, and what it should give."""
    rng = np.random.default_rng(1)
    weights = {
        "W": rng.normal(size=(1, 16, 3)).astype(np.float32),
        "R": rng.normal(size=(1, 16, 4)).astype(np.float32),
        "lengths": np.array([3, 2], np.int32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("LSTM", ["x", "W", "R", "", "lengths"], ["", "h"], hidden_size=4, name="lstm"),
            helper.make_node("Mul", ["h", "scale"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 4])],
        [
            *(numpy_helper.from_array(value, name) for name, value in weights.items()),
            numpy_helper.from_array(np.array(scale, np.float32), "scale"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)

    def truth(x, factor=1.0):
        w, r = weights["W"][0].astype(x.dtype), weights["R"][0].astype(x.dtype)
        hidden = np.zeros((2, 4), x.dtype)
        for row, length in enumerate((3, 2)):
            h = c = np.zeros(4, x.dtype)
            for step in range(length):
                i, o, forget, g = np.split(x[step, row] @ w.T + h @ r.T, 4)
                gate = [1 / (1 + np.exp(-factor * v)) for v in (i, o, forget)]
                c = gate[2] * c + gate[0] * np.tanh(g)
                h = gate[1] * np.tanh(c)
            hidden[row] = h
        return hidden[None]

    return model, truth


def test_a_node_without_a_second_opinion_is_not_blamed():
    model, truth = lstm_with_lengths(1.0)
    check_parity(truth, model, suites="typical").raise_if_failed()
    # The LSTM is not what the function computes: the graph or onnxruntime, nobody can tell here.
    report = check_parity(lambda x: truth(x, 0.9), model, suites="typical", localise=True)
    (found,) = report.divergences
    if found.operator == "LSTM":
        assert found.cause == "unknown"
        assert "lengths of sequences" in found.explanation
    else:
        assert found.value == "y"


def test_a_wrong_node_behind_it_is_blamed_as_ever():
    model, truth = lstm_with_lengths(1.01)
    report = check_parity(truth, model, suites="typical", localise=True)
    (found,) = report.divergences
    assert (found.operator, found.cause) == ("Mul", "our rule")
