"""scikit-learn estimators written out in ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from any2onnx.parity.self_test.specimen import Specimen, Subject, floats, integers, strings
from any2onnx.parity.ulp import Array

SKLEARN = "scikit-learn"


def _table(rows: int = 200, columns: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def _row(*values: float) -> Array:
    return np.array(values, dtype=np.float32)


# --- linear ----------------------------------------------------------------------------------------------------------

_LOGISTIC = """scaled_logistic (float[batch, 3] x) => (int64[batch] label, float[batch, 3] probabilities) {
  wide = Cast <to = 11> (x)
  centred = Sub (wide, mean)
  scaled = Div (centred, scale)
  product = MatMul (scaled, coef)
  scores = Add (product, intercept)
  proba = Softmax <axis = 1> (scores)
  probabilities = Cast <to = 1> (proba)
  best = ArgMax <axis = 1, keepdims = 0> (scores)
  label = Gather (classes, best)
}"""


def _logistic() -> Subject:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = _table() * _row(1, 20, 0.1) + _row(0, 5, 1)
    y = np.argmax(_table(seed=1) + x * [1, 0.05, 2], axis=1) * 10
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x.astype(np.float64), y)
    scaler, final = model[0], model[-1]
    weights = {
        "mean": scaler.mean_,
        "scale": scaler.scale_,
        "coef": final.coef_.T,
        "intercept": final.intercept_,
        "classes": model.classes_.astype(np.int64),
    }
    return Subject(model, _LOGISTIC, weights, x)


_NAIVE_BAYES = """naive_bayes (float[batch, 3] x) => (int64[batch] label, float[batch, 2] probabilities) {
  wide = Cast <to = 11> (x)
  rows = Unsqueeze (wide, one)
  difference = Sub (rows, theta)
  squares = Mul (difference, difference)
  parts = Div (squares, var)
  sums = ReduceSum <keepdims = 0> (parts, two)
  halves = Mul (sums, half)
  joint = Add (halves, constant)
  proba = Softmax <axis = 1> (joint)
  probabilities = Cast <to = 1> (proba)
  best = ArgMax <axis = 1, keepdims = 0> (joint)
  label = Gather (classes, best)
}"""


def _naive_bayes() -> Subject:
    from sklearn.naive_bayes import GaussianNB

    x = _table() * _row(1, 1, 0.02)
    model = GaussianNB(var_smoothing=1e-3).fit(x.astype(np.float64), x[:, 0] + x[:, 2] > 0)
    constant = np.log(model.class_prior_) - 0.5 * np.log(2 * np.pi * model.var_).sum(axis=1)
    weights = {
        "theta": model.theta_[None],
        "var": model.var_[None],
        "half": np.float64(-0.5),
        "constant": constant,
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "classes": np.array([0, 1], np.int64),
    }
    return Subject(model, _NAIVE_BAYES, weights, x)


_MULTI_RIDGE = """multi_ridge (float[batch, 3] x) => (float[batch, 3] variable) {
  wide = Cast <to = 11> (x)
  product = MatMul (wide, coef)
  shifted = Add (product, intercept)
  variable = Cast <to = 1> (shifted)
}"""


def _multi_ridge() -> Subject:
    from sklearn.linear_model import Ridge

    x = _table()
    # Targets of very different units: an error in the small one is nothing against the large one.
    model = Ridge().fit(x.astype(np.float64), x @ np.arange(9.0).reshape(3, 3) * [1e6, 1, 1e-3] + [1e6, 1, 1e-3])
    return Subject(model, _MULTI_RIDGE, {"coef": model.coef_.T, "intercept": model.intercept_}, x)


# --- trees -----------------------------------------------------------------------------------------------------------


def floor32(thresholds: Array) -> Array:
    """Return the largest float32 number that is not above each threshold: the same decisions for every float32 row."""
    nearest = thresholds.astype(np.float32)
    return np.where(nearest.astype(np.float64) > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)


def _tree_text(tree: Any, thresholds: Array) -> str:
    inner = tree.children_left >= 0
    leaves = np.flatnonzero(~inner)
    modes = strings(np.where(inner, "BRANCH_LEQ", "LEAF"))
    return f"""tree (float[batch, 3] x) => (float[batch, 1] variable) {{
  variable = ai.onnx.ml.TreeEnsembleRegressor <
    n_targets = 1,
    nodes_treeids = {integers(np.zeros(tree.node_count))},
    nodes_nodeids = {integers(np.arange(tree.node_count))},
    nodes_featureids = {integers(np.where(inner, tree.feature, 0))},
    nodes_values = {floats(np.where(inner, thresholds, 0))},
    nodes_modes = {modes},
    nodes_truenodeids = {integers(np.where(inner, tree.children_left, 0))},
    nodes_falsenodeids = {integers(np.where(inner, tree.children_right, 0))},
    nodes_missing_value_tracks_true = {integers(np.where(inner, tree.missing_go_to_left, 0))},
    target_treeids = {integers(np.zeros(len(leaves)))},
    target_nodeids = {integers(leaves)},
    target_ids = {integers(np.zeros(len(leaves)))},
    target_weights = {floats(tree.value[leaves, 0, 0].astype(np.float32))}
  > (x)
}}"""


def _tree_model() -> tuple[Any, Array]:
    from sklearn.tree import DecisionTreeRegressor

    x = _table(300)
    x[::7, 0] = np.nan
    target = np.nan_to_num(x[:, 0], nan=2.0) + np.sin(3 * x[:, 1]) + x[:, 2]
    return DecisionTreeRegressor(max_depth=6, random_state=0).fit(x, target), x


def _tree() -> Subject:
    model, x = _tree_model()
    return Subject(model, _tree_text(model.tree_, floor32(model.tree_.threshold)), {}, x)


def tree_edit(kind: str) -> tuple[tuple[str, str], ...]:
    """Return the edits that spoil the tree: its lists are long, so they are written anew."""
    model, _ = _tree_model()
    tree = model.tree_
    right = _tree_text(tree, floor32(tree.threshold))
    if kind == "nearest":
        wrong = _tree_text(tree, tree.threshold.astype(np.float32))
    elif kind == "strict":
        wrong = right.replace("BRANCH_LEQ", "BRANCH_LT")
    elif kind == "missing":
        inner = np.where(tree.children_left >= 0, tree.missing_go_to_left, 0)
        wrong = right.replace(
            f"tracks_true = {integers(inner)}", f"tracks_true = {integers(np.zeros(tree.node_count))}"
        )
    else:
        leaves = np.flatnonzero(tree.children_left < 0)
        values = tree.value[leaves, 0, 0].astype(np.float32)
        wrong = right.replace(floats(values), floats(values.astype(np.float16)))
    return ((right, wrong),)


# --- preprocessing ---------------------------------------------------------------------------------------------------

CITIES = ("Berlin", "Lima", "Oslo", "Zürich")

_ONE_HOT = """one_hot (string[batch, 1] x) => (float[batch, 4] variable) {{
  code = ai.onnx.ml.LabelEncoder <keys_strings = {keys}, values_int64s = [0, 1, 2, 3], default_int64 = -1> (x)
  same = Equal (code, positions)
  variable = Cast <to = 1> (same)
}}"""


def _one_hot() -> Subject:
    from sklearn.preprocessing import OneHotEncoder

    x = np.array(CITIES, dtype=object)[np.arange(40) % 4][:, None]
    model = OneHotEncoder(handle_unknown="ignore").fit(x)
    return Subject(model, _ONE_HOT.format(keys=strings(CITIES)), {"positions": np.arange(4)[None]})


_ORDINAL = """ordinal (string[batch, 1] x) => (float[batch, 1] variable) {{
  variable = ai.onnx.ml.LabelEncoder <
    keys_strings = {keys}, values_floats = [0.0, 1.0, 2.0, 3.0], default_float = -1.0> (x)
}}"""


def _ordinal() -> Subject:
    from sklearn.preprocessing import OrdinalEncoder

    x = np.array(CITIES, dtype=object)[np.arange(40) % 4][:, None]
    model = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(x)
    return Subject(model, _ORDINAL.format(keys=strings(CITIES)))


_IMPUTER = """imputer (float[batch, 3] x) => (float[batch, 3] variable) {
  missing = IsNaN (x)
  variable = Where (missing, statistics, x)
}"""


def _imputer() -> Subject:
    from sklearn.impute import SimpleImputer

    x = np.exp(_table())
    x[::5, 1] = np.nan
    model = SimpleImputer(strategy="median").fit(x)
    return Subject(model, _IMPUTER, {"statistics": model.statistics_.astype(np.float32)[None]}, x)


_MIN_MAX = """min_max (float[batch, 3] x) => (float[batch, 3] variable) {
  wide = Cast <to = 11> (x)
  product = Mul (wide, scale)
  shifted = Add (product, shift)
  clipped = Clip (shifted, low, high)
  variable = Cast <to = 1> (clipped)
}"""


def _min_max() -> Subject:
    from sklearn.preprocessing import MinMaxScaler

    x = _table()
    model = MinMaxScaler(clip=True).fit(x.astype(np.float64))
    weights = {"scale": model.scale_, "shift": model.min_, "low": np.float64(0), "high": np.float64(1)}
    return Subject(model, _MIN_MAX, weights, x)


_BINS = """bins (float[batch, 1] x) => (float[batch, 1] variable) {
  wide = Cast <to = 11> (x)
  beyond = GreaterOrEqual (wide, edges)
  steps = Cast <to = 1> (beyond)
  variable = ReduceSum <keepdims = 1> (steps, one)
}"""


def _bins() -> Subject:
    from sklearn.preprocessing import KBinsDiscretizer

    x = _table(columns=1)
    model = KBinsDiscretizer(5, encode="ordinal", quantile_method="averaged_inverted_cdf").fit(x.astype(np.float64))
    edges = model.bin_edges_[0][1:-1]
    return Subject(model, _BINS, {"edges": edges[None], "one": np.array([1], np.int64)}, x)


_BINARIZER = """binarizer (float[batch, 3] x) => (float[batch, 3] variable) {
  above = Greater (x, threshold)
  variable = Cast <to = 1> (above)
}"""


def _binarizer() -> Subject:
    from sklearn.preprocessing import Binarizer

    x = _table()
    return Subject(Binarizer(threshold=0.5).fit(x), _BINARIZER, {"threshold": np.float32(0.5)}, x)


_POLYNOMIAL = """polynomial (float[batch, 2] x) => (float[batch, 5] variable) {
  wide = Cast <to = 11> (x)
  first = Gather <axis = 1> (wide, left)
  second = Gather <axis = 1> (wide, right)
  products = Mul (first, second)
  all = Concat <axis = 1> (wide, products)
  variable = Cast <to = 1> (all)
}"""


def _polynomial() -> Subject:
    from sklearn.preprocessing import PolynomialFeatures

    x = _table(columns=2)
    model = PolynomialFeatures(2, include_bias=False).fit(x)
    return Subject(model, _POLYNOMIAL, {"left": np.array([0, 0, 1]), "right": np.array([0, 1, 1])}, x)


# --- text ------------------------------------------------------------------------------------------------------------

_IDF = """idf (float[batch, 4] x) => (float[batch, 4] variable) {
  wide = Cast <to = 11> (x)
  weighted = Mul (wide, idf)
  norm = ReduceL2 <keepdims = 1> (weighted, one)
  empty = Equal (norm, zero)
  safe = Where (empty, unit, norm)
  divided = Div (weighted, safe)
  variable = Cast <to = 1> (divided)
}"""


def _idf() -> Subject:
    from sklearn.feature_extraction.text import TfidfTransformer

    counts = np.random.default_rng(0).poisson([0.2, 1.0, 3.0, 0.05], size=(100, 4)).astype(np.float32)
    model = TfidfTransformer().fit(counts.astype(np.float64))
    weights = {
        "idf": model.idf_[None],
        "one": np.array([1], np.int64),
        "zero": np.float64(0),
        "unit": np.float64(1),
    }
    return Subject(model, _IDF, weights, counts)


def unsmoothed(idf: Array) -> Array:
    """Return the weights of ``smooth_idf=False``."""
    documents = 100
    frequency = (1 + documents) / np.exp(idf - 1) - 1
    found: Array = np.log(documents / frequency) + 1
    return found


def split_at_blanks(document: str) -> list[str]:
    """Return the words between blanks."""
    return [word for word in document.split(" ") if word]


_COUNTS = """counts (string[batch] x) => (float[batch, 5] variable) {{
  some = Concat <axis = 0> (x, blank)
  low = StringNormalizer <case_change_action = "LOWER", locale = "C.UTF-8"> (some)
  words, lengths = StringSplit <delimiter = " "> (low)
  code = ai.onnx.ml.LabelEncoder <keys_strings = {keys}, values_int64s = [0, 1, 2, 3, 4], default_int64 = -1> (words)
  codes = Unsqueeze (code, two)
  same = Equal (codes, positions)
  hits = Cast <to = 1> (same)
  sums = ReduceSum <keepdims = 0> (hits, one)
  variable = Slice (sums, zero, minus)
}}"""


def _counts() -> Subject:
    from sklearn.feature_extraction.text import CountVectorizer

    documents = ["red green red", "blue Green", "red-ish blue äpfel", "RED blue"]
    model = CountVectorizer(tokenizer=split_at_blanks, token_pattern=None).fit(documents)
    words = sorted(model.vocabulary_, key=model.vocabulary_.get)
    weights = {
        "positions": np.arange(5)[None, None],
        "zero": np.array([0]),
        "minus": np.array([-1]),
        "one": np.array([1]),
        "two": np.array([2]),
        # StringNormalizer takes no empty batch: one document more, which is cut off at the end.
        "blank": np.array(["x"], dtype=object),
    }
    return Subject(model, _COUNTS.format(keys=strings(words)), weights, opset=20)


# --- neighbours and clusters -----------------------------------------------------------------------------------------

_NEIGHBOURS = """neighbours (float[batch, 3] x) => (double[batch, 2] distances, int64[batch, 2] indices) {
  wide = Cast <to = 11> (x)
  rows = Unsqueeze (wide, one)
  difference = Sub (rows, points)
  squares = Mul (difference, difference)
  sums = ReduceSum <keepdims = 0> (squares, two)
  all = Sqrt (sums)
  distances, indices = TopK <axis = 1, largest = 0, sorted = 1> (all, k)
}"""


def _neighbours() -> Subject:
    from sklearn.neighbors import NearestNeighbors

    points = _table(60)
    model = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(points.astype(np.float64))
    weights = {
        "points": points.astype(np.float64)[None],
        "one": np.array([1]),
        "two": np.array([2]),
        "k": np.array([2]),
    }
    return Subject(model, _NEIGHBOURS, weights, outputs=["kneighbors", "kneighbors"])


_CLUSTERS = """clusters (float[batch, 3] x) => (int64[batch] label, float[batch, 4] scores) {
  wide = Cast <to = 11> (x)
  rows = Unsqueeze (wide, one)
  difference = Sub (rows, centres)
  squares = Mul (difference, difference)
  sums = ReduceSum <keepdims = 0> (squares, two)
  all = Sqrt (sums)
  label = ArgMin <axis = 1, keepdims = 0> (all)
  scores = Cast <to = 1> (all)
}"""


def _clusters() -> Subject:
    from sklearn.cluster import KMeans

    x = _table()
    model = KMeans(4, n_init=1, random_state=0).fit(x.astype(np.float64))
    weights = {
        "centres": model.cluster_centers_.astype(np.float64)[None],
        "one": np.array([1]),
        "two": np.array([2]),
    }
    return Subject(model, _CLUSTERS, weights, x)


LOGISTIC = Specimen("scaled logistic regression", SKLEARN, _logistic)
NAIVE_BAYES = Specimen("naive Bayes", SKLEARN, _naive_bayes)
MULTI_RIDGE = Specimen("ridge with three targets", SKLEARN, _multi_ridge)
TREE = Specimen("tree with missing values", SKLEARN, _tree)
ONE_HOT = Specimen("one-hot encoder", SKLEARN, _one_hot)
ORDINAL = Specimen("ordinal encoder", SKLEARN, _ordinal)
IMPUTER = Specimen("imputer", SKLEARN, _imputer)
MIN_MAX = Specimen("clipped min-max scaler", SKLEARN, _min_max)
BINS = Specimen("discretizer", SKLEARN, _bins)
BINARIZER = Specimen("binarizer", SKLEARN, _binarizer)
POLYNOMIAL = Specimen("polynomial features", SKLEARN, _polynomial)
IDF = Specimen("tf-idf weights", SKLEARN, _idf)
COUNTS = Specimen("word counts", SKLEARN, _counts)
NEIGHBOURS = Specimen("nearest neighbours", SKLEARN, _neighbours)
CLUSTERS = Specimen("k-means", SKLEARN, _clusters)
