"""ONNX models written by hand for the tests of the harness: right ones, and the parts to make wrong ones from."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, DOUBLE, INT64, STRING = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.STRING


def info(name, shape, kind=FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, constants=(), metadata=None, opset=18):
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(constants).items()]
    graph = helper.make_graph(nodes, "hand_made", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    helper.set_model_props(proto, metadata or {})
    onnx.checker.check_model(proto)
    return proto


def affine(weights, bias, *, output="variable", batch="batch", mean=None, scale=None, dtype=np.float32):
    """x @ weights + bias in one precision, after (x - mean) / scale where given."""
    kind = FLOAT if dtype == np.float32 else DOUBLE
    weights = np.asarray(weights, dtype=dtype)
    constants = {"w": weights, "b": np.asarray(bias, dtype=dtype)}
    nodes = []
    at = "x"
    if mean is not None:
        constants["mean"] = np.asarray(mean, dtype=dtype)
        nodes.append(helper.make_node("Sub", [at, "mean"], ["centred"]))
        at = "centred"
    if scale is not None:
        constants["scale"] = np.asarray(scale, dtype=dtype)
        nodes.append(helper.make_node("Div", [at, "scale"], ["scaled"]))
        at = "scaled"
    nodes.append(helper.make_node("MatMul", [at, "w"], ["product"]))
    nodes.append(helper.make_node("Add", ["product", "b"], [output]))
    return model(
        nodes,
        [info("x", [batch, weights.shape[0]], kind)],
        [info(output, [None, weights.shape[1]], kind)],
        constants,
    )


def softmax_classifier(weights, bias, classes, *, names=("label", "probabilities"), outputs=2, metadata=None):
    """A multinomial classifier with labels and probabilities."""
    classes = np.asarray(classes)
    text = classes.dtype.kind in "OSU"
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["proba"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["best"], axis=1, keepdims=0),
        helper.make_node("Gather", ["classes", "best"], [names[0]]),
        helper.make_node("Identity", ["proba"], [names[1]]),
    ]
    found = [info(names[0], ["batch"], STRING if text else INT64), info(names[1], ["batch", len(classes)])]
    constants = {
        "w": np.asarray(weights, dtype=np.float32),
        "b": np.asarray(bias, dtype=np.float32),
        "classes": classes.astype(object) if text else classes.astype(np.int64),
    }
    return model(
        nodes[: 4 if outputs == 1 else 5],
        [info("x", ["batch", np.shape(weights)[0]])],
        found[:outputs],
        constants,
        metadata,
    )


def floor32(thresholds):
    """The largest float32 number that is not above each threshold: the same decisions for every float32 row."""
    nearest = thresholds.astype(np.float32)
    return np.where(nearest.astype(np.float64) > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def tree_regressor(trees, width, *, rounding=floor32, weight=1.0, base=0.0):
    """TreeEnsembleRegressor from scikit-learn trees, with a choice of how thresholds become float32."""
    columns = {name: [] for name in ("tree", "node", "feature", "value", "mode", "yes", "no")}
    leaves = {name: [] for name in ("tree", "node", "weight")}
    for number, tree in enumerate(trees):
        inner = tree.children_left >= 0
        columns["tree"] += [number] * tree.node_count
        columns["node"] += range(tree.node_count)
        columns["feature"] += np.where(inner, tree.feature, 0).tolist()
        columns["value"] += np.where(inner, rounding(tree.threshold), 0).astype(np.float32).tolist()
        columns["mode"] += ["BRANCH_LEQ" if is_inner else "LEAF" for is_inner in inner]
        columns["yes"] += np.where(inner, tree.children_left, 0).tolist()
        columns["no"] += np.where(inner, tree.children_right, 0).tolist()
        at = np.flatnonzero(~inner)
        leaves["tree"] += [number] * len(at)
        leaves["node"] += at.tolist()
        leaves["weight"] += (tree.value[at, 0, 0] * weight).astype(np.float32).tolist()
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["variable"],
        domain="ai.onnx.ml",
        n_targets=1,
        base_values=[float(base)],
        nodes_treeids=columns["tree"],
        nodes_nodeids=columns["node"],
        nodes_featureids=columns["feature"],
        nodes_values=columns["value"],
        nodes_modes=columns["mode"],
        nodes_truenodeids=columns["yes"],
        nodes_falsenodeids=columns["no"],
        # scikit-learn sends NaN to the side that its fit chose; here it always goes right.
        nodes_missing_value_tracks_true=[0] * len(columns["tree"]),
        target_treeids=leaves["tree"],
        target_nodeids=leaves["node"],
        target_ids=[0] * len(leaves["node"]),
        target_weights=leaves["weight"],
    )
    return model([node], [info("x", ["batch", width])], [info("variable", ["batch", 1])])


def rbf_regressor(points, coefficients, *, dtype):
    """sum_i c_i exp(-|x - p_i|^2 / 2), the distances by expansion, all in `dtype`: in float32 it cancels."""
    kind = FLOAT if dtype == np.float32 else DOUBLE
    points = points.astype(np.float64)
    nodes = [
        helper.make_node("Cast", ["x"], ["wide"], to=kind),
        helper.make_node("Mul", ["wide", "wide"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "one"], ["norms"], keepdims=1),
        helper.make_node("MatMul", ["wide", "pt"], ["cross"]),
        helper.make_node("Mul", ["cross", "two"], ["twice"]),
        helper.make_node("Sub", ["norms", "twice"], ["part"]),
        helper.make_node("Add", ["part", "point_norms"], ["distance"]),
        helper.make_node("Mul", ["distance", "half"], ["exponent"]),
        helper.make_node("Exp", ["exponent"], ["kernel"]),
        helper.make_node("MatMul", ["kernel", "c"], ["mean"]),
        helper.make_node("Cast", ["mean"], ["variable"], to=FLOAT),
    ]
    constants = {
        "one": np.array([1], dtype=np.int64),
        "pt": points.T.astype(dtype),
        "two": np.array(2, dtype=dtype),
        "half": np.array(-0.5, dtype=dtype),
        "point_norms": (points**2).sum(1).astype(dtype)[None],
        "c": coefficients.reshape(-1, 1).astype(dtype),
    }
    return model(nodes, [info("x", ["batch", points.shape[1]])], [info("variable", ["batch", 1])], constants)


def altered(proto, initializer, change):
    """A copy of a model with one initializer changed."""
    twin = onnx.ModelProto()
    twin.CopyFrom(proto)
    for i, tensor in enumerate(twin.graph.initializer):
        if tensor.name == initializer:
            twin.graph.initializer[i].CopyFrom(
                numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), initializer)
            )
            return twin
    raise AssertionError(f"no initializer {initializer}")
