"""scikit-learn models against ONNX written by hand: right ones pass, each way of being wrong is caught."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pandas as pd
import parity_hand_made as made
import polars as pl
import pytest
from onnx import helper
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeRegressor

from any2onnx.errors import (
    MalformedFile,
    NotAModel,
    NotFitted,
    ParityError,
    ParityInconclusive,
    UnknownOption,
    UsageError,
)
from any2onnx.parity import Verdict, check_parity
from any2onnx.parity.suites import SUITES


def table(seed=0, rows=120, columns=4, mean=0.0):
    return (np.random.default_rng(seed).normal(size=(rows, columns)) + mean).astype(np.float32)


def ridge(mean=0.0):
    x = table(mean=mean)
    return Ridge().fit(x, x @ np.array([1.0, -2.0, 0.5, 3.0]) + 0.25)


def ridge_onnx(model, **options):
    return made.affine(model.coef_[:, None], [model.intercept_], **options)


def classifier(labels=(0, 1, 2)):
    x = table(1)
    y = np.asarray(labels)[(x[:, 0] > 0).astype(int) + (x[:, 1] > 0.5)]
    return LogisticRegression().fit(x, y)


def classifier_onnx(model, **options):
    return made.softmax_classifier(model.coef_.T, model.intercept_, model.classes_, **options)


# --- right conversions pass, whatever the conditioning ----------------------------------------------------------


def test_centred_ridge_passes_every_suite():
    report = check_parity(ridge(), ridge_onnx(ridge()), table(5))
    assert report.passed, report
    assert {result.suite for result in report.results} == set(SUITES) - {"categorical", "text"}
    assert report["variable"].source == "predict"
    assert report["variable"].rel < 1e-6
    assert report.verdict <= Verdict.WITHIN_BUDGET
    assert 0 < report.budget_used < 1


def test_the_framework_refusing_nan_is_a_divergence_not_a_failure():
    report = check_parity(ridge(), ridge_onnx(ridge()), suites="special")
    assert {result.case for result in report.results} == {"NaN", "+inf", "-inf"}
    assert {result.status for result in report.results} == {"skipped"}
    assert "rejects" in report.results[0].note
    assert not report.passed
    with pytest.raises(ParityInconclusive, match="nothing"):
        report.raise_if_failed()


def scaled_ridge():
    # Large mean, small variance: float32 rows have lost what the scaler needs, before any conversion.
    x = table(mean=1e5)
    return make_pipeline(StandardScaler(), Ridge()).fit(x, (x - 1e5) @ np.array([1.0, -2.0, 0.5, 3.0]))


def scaled_ridge_onnx(model):
    scaler, last = model
    return made.affine(last.coef_[:, None], [last.intercept_], mean=scaler.mean_, scale=scaler.scale_)


def test_large_mean_is_ill_conditioned_or_the_frameworks_own_error():
    model = scaled_ridge()
    report = check_parity(model, scaled_ridge_onnx(model), table(3, mean=1e5))
    assert report.passed, report
    assert report.verdict in (Verdict.ILL_CONDITIONED, Verdict.FRAMEWORK_IMPRECISE)
    worst = report.worst
    # The measured facts that the verdict rests on: an error no tolerance would accept, and a far larger sensitivity.
    assert worst.rel > 1e-5
    assert report["variable"].results[0].sensitivity > report["variable"].results[0].rel


def test_the_same_alteration_is_caught_although_the_model_is_ill_conditioned():
    model = scaled_ridge()
    wrong = made.altered(scaled_ridge_onnx(model), "w", lambda w: w * np.float32(1.05))
    assert check_parity(model, wrong, table(3, mean=1e5)).verdict is Verdict.CONVERTER_IMPRECISE


def gaussian_process():
    x = np.random.default_rng(2).uniform(-1, 1, size=(60, 2)).astype(np.float32)
    kernel = RBF(1.0, length_scale_bounds="fixed")
    return GaussianProcessRegressor(kernel, alpha=1e-8, optimizer=None).fit(x, np.sin(3 * x[:, 0]) + x[:, 1]), x


def test_cancellation_in_float32_is_the_converters_fault_and_float64_inside_repairs_it():
    model, x = gaussian_process()
    single = check_parity(model, made.rbf_regressor(model.X_train_, model.alpha_, dtype=np.float32), x)
    assert single.verdict is Verdict.CONVERTER_IMPRECISE, single
    assert single.worst.rel > 10 * single.worst.sensitivity
    assert "variable" in str(single)
    with pytest.raises(ParityError, match="converter-imprecise"):
        single.raise_if_failed()
    double = check_parity(model, made.rbf_regressor(model.X_train_, model.alpha_, dtype=np.float64), x)
    assert double.passed, double


def test_classifier_passes_with_numbers_and_with_text():
    for labels in ((0, 1, 2), ("red", "größer", "blue"), (10, -3, 7)):
        model = classifier(labels)
        report = check_parity(model, classifier_onnx(model), table(7))
        assert report.passed, report
        assert report["label"].verdict is Verdict.EXACT
        assert report["label"].results[0].equal == 120


def test_float64_model_on_float64_rows():
    x = table().astype(np.float64)
    model = Ridge().fit(x, x @ np.array([1.0, -2.0, 0.5, 3.0]))
    report = check_parity(model, ridge_onnx(model, dtype=np.float64))
    assert report.passed, report
    assert report["variable"].results[0].dtype == "float64"
    wrong = made.altered(ridge_onnx(model, dtype=np.float64), "w", lambda w: w.astype(np.float32).astype(np.float64))
    assert check_parity(model, wrong).verdict is Verdict.CONVERTER_IMPRECISE


# --- wrong conversions are caught -------------------------------------------------------------------------------


def failed_suites(report):
    return {result.suite for result in report.failures}


@pytest.mark.parametrize("change", [1e-3, 1e-5])
def test_changed_weight(change):
    model = ridge()
    wrong = made.altered(ridge_onnx(model), "w", lambda w: w + np.float32(change) * np.eye(len(w), 1, dtype=np.float32))
    report = check_parity(model, wrong)
    assert report.verdict is Verdict.CONVERTER_IMPRECISE
    assert "typical" in failed_suites(report)
    assert report.budget_used > 1


def test_swapped_classes():
    model = classifier()
    report = check_parity(model, made.altered(classifier_onnx(model), "classes", lambda c: c[[1, 0, 2]]))
    assert report["label"].verdict is Verdict.MISMATCH
    assert report["label"].results[0].wrong > 0
    assert report["probabilities"].verdict.passed


def test_swapped_probabilities():
    model = classifier()
    proto = made.softmax_classifier(model.coef_[[1, 0, 2]].T, model.intercept_[[1, 0, 2]], model.classes_[[1, 0, 2]])
    report = check_parity(model, proto)
    assert report["label"].verdict is Verdict.EXACT
    assert report["probabilities"].verdict is Verdict.CONVERTER_IMPRECISE


def test_dropped_output():
    model = classifier()
    report = check_parity(model, classifier_onnx(model, outputs=1))
    assert [(r.output, r.verdict) for r in report.failures] == [("predict_proba", Verdict.MISMATCH)]
    # Saying that only labels are wanted is how one leaves the scores out on purpose.
    assert check_parity(model, classifier_onnx(model, outputs=1), outputs="predict").passed


def test_renamed_output():
    model = ridge()
    report = check_parity(model, ridge_onnx(model, output="renamed"))
    assert report.verdict is Verdict.MISMATCH
    assert {(r.suite, r.output) for r in report.failures} == {("structure", "renamed")}
    assert check_parity(model, ridge_onnx(model, output="renamed"), outputs={"renamed": "predict"}).passed


def test_declared_outputs_are_held_to_their_declaration():
    model = classifier()
    declared = {"any2onnx.outputs": '["predict", "decision_function"]'}
    report = check_parity(model, classifier_onnx(model, metadata=declared))
    # The file says decision function and holds probabilities.
    assert report["probabilities"].source == "decision_function"
    assert report["probabilities"].verdict is Verdict.CONVERTER_IMPRECISE
    named = {"any2onnx.outputs": '["predict", "predict_proba"]'}
    assert check_parity(model, classifier_onnx(model, metadata=named)).passed
    renamed = check_parity(model, classifier_onnx(model, names=("label", "p"), metadata=named))
    assert "called" in renamed.failures[0].note


def test_baked_batch_in_the_signature():
    model = ridge()
    report = check_parity(model, ridge_onnx(model, batch=1))
    assert failed_suites(report) == {"shape"}
    assert "fixed at 1" in report.failures[0].note
    assert check_parity(model, ridge_onnx(model, batch=1), suites="typical").passed


def test_baked_batch_inside_the_graph():
    model = ridge()
    proto = ridge_onnx(model)
    proto.graph.node[-1].output[0] = "column"
    proto.graph.node.append(helper.make_node("Reshape", ["column", "shape"], ["variable"]))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array([128, 1]), "shape"))
    report = check_parity(model, proto)
    assert "shape" in failed_suites(report)
    assert "onnxruntime raises" in report["variable"].worst.note


def test_float16_leak():
    model = ridge()
    proto = ridge_onnx(model)
    proto.graph.node[-1].output[0] = "wide"
    proto.graph.node.append(helper.make_node("Cast", ["wide"], ["half"], to=onnx.TensorProto.FLOAT16))
    proto.graph.node.append(helper.make_node("Cast", ["half"], ["variable"], to=onnx.TensorProto.FLOAT))
    assert check_parity(model, proto, suites="typical").verdict is Verdict.CONVERTER_IMPRECISE
    proto.graph.node[-1].attribute[0].i = onnx.TensorProto.FLOAT16
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    report = check_parity(model, proto)
    assert report.verdict is Verdict.MISMATCH
    assert "dtype float16" in report.worst.note


def test_wrong_shape():
    model = ridge()
    proto = ridge_onnx(model)
    proto.graph.node[-1].output[0] = "column"
    proto.graph.node.append(helper.make_node("Transpose", ["column"], ["variable"]))
    report = check_parity(model, proto)
    assert report.verdict is Verdict.MISMATCH
    assert "shape" in report.failures[0].note


def test_labels_as_floats_are_a_mismatch():
    model = classifier()
    proto = classifier_onnx(model)
    proto.graph.node[3].output[0] = "whole"
    proto.graph.node.append(helper.make_node("Cast", ["whole"], ["label"], to=onnx.TensorProto.FLOAT))
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    report = check_parity(model, proto)
    assert report["label"].verdict is Verdict.MISMATCH
    assert "dtype float32" in report["label"].worst.note


# --- trees ------------------------------------------------------------------------------------------------------


def tree_case(seed):
    x = table(seed, rows=300)
    y = x[:, 0] * 2 + np.abs(x[:, 1]) + x[:, 2] * x[:, 3]
    return x, y


def nearest(thresholds):
    return thresholds.astype(np.float32)


def test_thresholds_rounded_to_nearest_are_caught_by_the_boundary_suite_alone():
    x, y = tree_case(0)
    model = DecisionTreeRegressor(random_state=0).fit(x, y)
    right = made.tree_regressor([model.tree_], 4)
    wrong = made.tree_regressor([model.tree_], 4, rounding=nearest)
    finite = ("data", "typical", "boundary", "shape")
    assert check_parity(model, right, x, suites=finite).passed
    report = check_parity(model, wrong, x, suites=finite)
    assert {(r.suite, r.case) for r in report.failures} == {("boundary", "thresholds")}
    assert report.verdict is Verdict.CONVERTER_IMPRECISE


def test_boosted_trees_and_their_thresholds():
    x, y = tree_case(1)
    model = GradientBoostingRegressor(n_estimators=30, random_state=0).fit(x, y)
    trees = [tree.tree_ for tree in model.estimators_.ravel()]
    base = float(model.init_.constant_[0, 0])
    options = {"weight": model.learning_rate, "base": base}
    assert check_parity(model, made.tree_regressor(trees, 4, **options), x).passed
    report = check_parity(model, made.tree_regressor(trees, 4, rounding=nearest, **options), x)
    assert ("boundary", "thresholds") in {(r.suite, r.case) for r in report.failures}


def test_a_jump_at_a_threshold_excuses_nothing():
    # One step in one feature: half an ulp away the answer is another, and still a wrong side is wrong.
    x = np.array([[0.1], [0.3]], dtype=np.float32)
    model = DecisionTreeRegressor().fit(x, [0.0, 1.0])
    up = made.tree_regressor([model.tree_], 1, rounding=lambda t: np.nextafter(made.floor32(t), np.float32(1)))
    report = check_parity(model, up, suites="boundary")
    assert report["variable"].verdict is Verdict.CONVERTER_IMPRECISE
    assert check_parity(model, made.tree_regressor([model.tree_], 1), suites="boundary").passed


def test_missing_nan_branch_is_caught_by_special():
    x, y = tree_case(2)
    x[::5, 0] = np.nan
    model = DecisionTreeRegressor(max_depth=4, random_state=0).fit(x, y * np.where(np.isnan(x[:, 0]), 3, 1))
    report = check_parity(model, made.tree_regressor([model.tree_], 4), suites="special")
    assert {r.case for r in report.failures} == {"NaN"}


# --- ties -------------------------------------------------------------------------------------------------------


def symmetric_classifier():
    model = LogisticRegression().fit(np.array([[-1.0], [1.0]]), [0, 1])
    model.coef_ = np.array([[1.0]])
    model.intercept_ = np.array([0.0])
    return model


def two_columns(model, shift=0.0):
    weights = np.concatenate([-model.coef_, model.coef_]).T / 2
    return made.softmax_classifier(weights, [-shift / 2, shift / 2], model.classes_)


def test_a_label_within_the_budget_of_its_scores_is_a_tie():
    model = symmetric_classifier()
    near = np.linspace(-2e-7, 2e-7, 41, dtype=np.float32)[:, None]
    rows = np.concatenate([near, np.array([[-3.0], [2.0]], dtype=np.float32)])
    report = check_parity(model, two_columns(model, shift=1e-7), rows, suites="data")
    label = report["label"].results[0]
    assert label.verdict is Verdict.WITHIN_BUDGET
    assert label.tied > 0
    assert label.wrong == 0


def test_a_label_beyond_the_budget_of_its_scores_is_wrong():
    model = symmetric_classifier()
    rows = np.linspace(-1e-3, 1e-3, 41, dtype=np.float32)[:, None]
    label = check_parity(model, two_columns(model, shift=1e-3), rows, suites="data")["label"].results[0]
    assert label.verdict is Verdict.MISMATCH
    assert label.wrong > 0


def test_clusters_are_judged_by_distances():
    x = table(4)
    model = KMeans(3, n_init=1, random_state=0).fit(x)
    centres = model.cluster_centers_
    nodes = [
        helper.make_node("Unsqueeze", ["x", "one"], ["rows"]),
        helper.make_node("Sub", ["rows", "centres"], ["gap"]),
        helper.make_node("ReduceL2", ["gap", "two"], ["scores"], keepdims=0),
        helper.make_node("ArgMin", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    constants = {"one": np.array([1]), "two": np.array([2]), "centres": centres[None].astype(np.float32)}
    proto = made.model(
        nodes,
        [made.info("x", ["batch", 4])],
        [made.info("label", ["batch"], made.INT64), made.info("scores", ["batch", 3])],
        constants,
    )
    report = check_parity(model, proto, x)
    assert report.passed, report
    # An estimator fitted on float32 rows takes no others: its float64 reference is a widened copy.
    assert report["scores"].results[0].reference == "float64"
    swapped = made.altered(proto, "centres", lambda c: c[:, ::-1])
    assert check_parity(model, swapped, x)["label"].verdict is Verdict.MISMATCH


# --- inputs -----------------------------------------------------------------------------------------------------


def mixed_frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"colour": rng.choice(["red", "blue"], 50), "size": rng.normal(size=50), "n": rng.integers(0, 5, 50)}
    )


def mixed_pair():
    frame = mixed_frame()
    steps = [
        ("one", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["colour"]),
        ("keep", "passthrough", ["size", "n"]),
    ]
    model = ColumnTransformer(steps).fit(frame)
    nodes = [
        helper.make_node("Equal", ["colour", "known"], ["match"]),
        helper.make_node("Cast", ["match"], ["hot"], to=made.FLOAT),
        helper.make_node("Cast", ["n"], ["number"], to=made.FLOAT),
        helper.make_node("Concat", ["hot", "size", "number"], ["variable"], axis=1),
    ]
    inputs = [
        made.info("colour", ["batch", 1], made.STRING),
        made.info("size", ["batch", 1]),
        made.info("n", ["batch", 1], made.INT64),
    ]
    constants = {"known": np.array([["blue", "red"]], dtype=object)}
    return model, made.model(nodes, inputs, [made.info("variable", ["batch", 4])], constants, opset=19)


@pytest.mark.parametrize("library", [pd.DataFrame, pl.DataFrame])
def test_named_columns_from_frames_of_any_library(library):
    model, proto = mixed_pair()
    report = check_parity(model, proto, library(mixed_frame().to_dict("list")))
    assert report.passed, report
    names = {result.case for result in report.results}
    assert {"categories", "unseen categories"} <= names


def test_named_columns_without_data():
    model, proto = mixed_pair()
    report = check_parity(model, proto)
    assert report.passed, report
    wrong = made.altered(proto, "known", lambda k: np.array([["blue", "green"]], dtype=object))
    assert not check_parity(model, wrong).passed


def test_columns_of_a_frame_are_found_by_name_in_any_order():
    model, proto = mixed_pair()
    shuffled = mixed_frame().assign(unused=1.0)[["n", "unused", "colour", "size"]]
    assert check_parity(model, proto, shuffled, suites="data").passed


def test_unseen_category_that_the_framework_refuses():
    x = np.array([["a"], ["b"], ["c"]], dtype=object)
    model = OrdinalEncoder().fit(x)
    node = helper.make_node(
        "LabelEncoder",
        ["x"],
        ["variable"],
        domain="ai.onnx.ml",
        keys_strings=["a", "b", "c"],
        values_floats=[0.0, 1.0, 2.0],
    )
    proto = made.model([node], [made.info("x", ["batch", 1], made.STRING)], [made.info("variable", ["batch", 1])])
    report = check_parity(model, proto)
    assert report.passed, report
    assert {r.case: r.status for r in report.results if "unseen" in r.case} == {"unseen categories": "skipped"}


# --- arguments and errors ---------------------------------------------------------------------------------------


def test_forms_of_the_onnx_model(tmp_path):
    import onnx_ir

    model = ridge()
    proto = ridge_onnx(model)
    path = tmp_path / "m.onnx"
    onnx.save(ridge_onnx(model), path, save_as_external_data=True, location="m.data", size_threshold=0)
    for form in (proto.SerializeToString(), str(path), path, onnx_ir.from_proto(proto), onnx_ir.load(path)):
        assert check_parity(model, form, suites="typical").passed


def test_same_arguments_same_report():
    model = classifier()
    first, second = (check_parity(model, classifier_onnx(model)).to_json() for _ in range(2))
    assert first == second
    assert check_parity(model, classifier_onnx(model), seed=1).to_json() != first


def test_cases_do_not_depend_on_which_suites_run():
    model = ridge()
    alone = check_parity(model, ridge_onnx(model), suites="typical").results
    among = check_parity(model, ridge_onnx(model)).results
    assert set(alone) <= set(among)


def test_a_small_check_takes_well_under_a_second():
    model = classifier()
    proto = classifier_onnx(model)
    check_parity(model, proto)
    # CPU time: what else the machine does is no matter.
    start = time.process_time()
    check_parity(model, proto)
    assert time.process_time() - start < 1.0


def test_time_limit_is_inconclusive():
    report = check_parity(ridge(), ridge_onnx(ridge()), time_limit=0.0)
    assert report.verdict is Verdict.INCONCLUSIVE
    with pytest.raises(ParityInconclusive):
        report.raise_if_failed()


def test_the_model_is_left_alone():
    model = classifier()
    before = {name: np.copy(value) for name, value in vars(model).items() if isinstance(value, np.ndarray)}
    check_parity(model, classifier_onnx(model))
    assert all(np.array_equal(getattr(model, name), value) for name, value in before.items())


def test_framework_as_reference_and_fixed_budget():
    model = ridge()
    report = check_parity(model, ridge_onnx(model), reference="framework", suites="typical")
    assert report.passed
    assert report.results[0].reference == "framework"
    assert not check_parity(model, ridge_onnx(model), budget=1e-12, suites="boundary").passed


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (UnknownOption, {"suites": "tipical"}),
        (UnknownOption, {"suites": ["typical", 3]}),
        (UnknownOption, {"reference": "float16"}),
        (UsageError, {"budget": -1}),
        (UsageError, {"budget": "loose"}),
        (UnknownOption, {"outputs": "predict_probab"}),
        (UsageError, {"data": {"y": table()}}),
        (UsageError, {"data": table(columns=3)}),
        (UsageError, {"data": np.zeros((0, 4))}),
        (UsageError, {"data": np.array([["a", "b", "c", "d"]])}),
    ],
)
def test_wrong_arguments(error, arguments):
    with pytest.raises(error):
        check_parity(ridge(), ridge_onnx(ridge()), **arguments)


def test_wrong_models():
    proto = ridge_onnx(ridge())
    with pytest.raises(NotFitted, match="not fitted"):
        check_parity(Ridge(), proto)
    with pytest.raises(NotAModel, match="Ridge"):
        check_parity(Ridge, proto)
    with pytest.raises(NotAModel):
        check_parity(3, proto)
    with pytest.raises(NotAModel, match="no ONNX model"):
        check_parity(ridge(), 3)
    with pytest.raises(MalformedFile):
        check_parity(ridge(), b"no model")
    with pytest.raises(MalformedFile, match="no outputs"):
        check_parity(ridge(), b"")
    with pytest.raises(MalformedFile, match="no such"):
        check_parity(ridge(), "does_not_exist.onnx")


def test_models_of_different_fits_do_not_go_together():
    other = LinearRegression().fit(table(columns=3), np.arange(120))
    with pytest.raises(UsageError, match="3"):
        check_parity(other, ridge_onnx(ridge()))


def test_forest_labels_and_probabilities_from_averaged_trees():
    x = table(6)
    model = RandomForestClassifier(5, max_depth=3, random_state=0).fit(x, x[:, 0] > 0)
    report = check_parity(model, made.softmax_classifier(np.zeros((4, 2)), [0, 0], [0, 1]))
    assert report["label"].verdict is Verdict.MISMATCH
    # Boolean classes may come as integers.
    assert "dtype" not in report["label"].worst.note
