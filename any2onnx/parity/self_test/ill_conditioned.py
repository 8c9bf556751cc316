"""Right conversions that a fixed tolerance would fail: badly conditioned, tied, chaotic, or with long sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from any2onnx.parity.self_test.specimen import Specimen, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from any2onnx.parity.ulp import Array

SKLEARN, KERAS, TORCH = "scikit-learn", "keras", "torch"


def _normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _constant(value: float) -> Array:
    return np.array(value, dtype=np.float32)


# --- scikit-learn, all in float32 as most converters write it ---------------------------------------------------------


def _far_ridge() -> Subject:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = _normal(200, 3) + np.float32(1e5)
    model = make_pipeline(StandardScaler(), Ridge()).fit(x.astype(np.float64), x @ [1.0, 2.0, 3.0] - 6e5)
    text = """ridge (float[batch, 3] x) => (float[batch, 1] variable) {
      centred = Sub (x, mean)
      scaled = Div (centred, scale)
      product = MatMul (scaled, coef)
      variable = Add (product, intercept)
    }"""
    arrays = {"mean": model[0].mean_, "scale": model[0].scale_, "coef": model[-1].coef_[:, None]}
    arrays["intercept"] = np.array([model[-1].intercept_])
    return Subject(model, text, {name: value.astype(np.float32) for name, value in arrays.items()}, x)


def _far_logistic() -> Subject:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = _normal(200, 3) + np.float32(1e5)
    y = np.digitize(x[:, 0] - 1e5, [-0.5, 0.5])
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(x.astype(np.float64), y)
    text = """logistic (float[batch, 3] x) => (int64[batch] label, float[batch, 3] probabilities) {
      centred = Sub (x, mean)
      scaled = Div (centred, scale)
      product = MatMul (scaled, coef)
      scores = Add (product, intercept)
      probabilities = Softmax <axis = 1> (scores)
      label = ArgMax <axis = 1, keepdims = 0> (scores)
    }"""
    final = model[-1]
    arrays = {"mean": model[0].mean_, "scale": model[0].scale_, "coef": final.coef_.T, "intercept": final.intercept_}
    return Subject(model, text, {name: value.astype(np.float32) for name, value in arrays.items()}, x)


def _far_components() -> Subject:
    from sklearn.decomposition import PCA

    x = _normal(200, 3) + np.float32(1e5)
    model = PCA(2).fit(x.astype(np.float64))
    text = """components (float[batch, 3] x) => (float[batch, 2] variable) {
      centred = Sub (x, mean)
      variable = MatMul (centred, components)
    }"""
    arrays = {"mean": model.mean_, "components": model.components_.T}
    return Subject(model, text, {name: value.astype(np.float32) for name, value in arrays.items()}, x)


_DISTANCES = """{name} (float[batch, 2] x) => ({outputs}) {{
  wide = Cast <to = 11> (x)
  rows = Unsqueeze (wide, one)
  difference = Sub (rows, points)
  squares = Mul (difference, difference)
  sums = ReduceSum <keepdims = 0> (squares, two)
  all = Sqrt (sums)
  {answer}
}}"""


def _distances(points: Array) -> dict[str, Array]:
    return {"points": points.astype(np.float64)[None], "one": np.array([1]), "two": np.array([2]), "k": np.array([3])}


def _tied_neighbours() -> Subject:
    from sklearn.neighbors import NearestNeighbors

    # Every point three times: which of the three comes first is nobody's business.
    points = np.repeat(_normal(20, 2), 3, axis=0)
    model = NearestNeighbors(n_neighbors=3, algorithm="kd_tree").fit(points.astype(np.float64))
    text = _DISTANCES.format(
        name="neighbours",
        outputs="double[batch, 3] distances, int64[batch, 3] indices",
        answer="distances, indices = TopK <axis = 1, largest = 0, sorted = 1> (all, k)",
    )
    return Subject(model, text, _distances(points), outputs=["kneighbors", "kneighbors"])


def _tied_clusters() -> Subject:
    from sklearn.cluster import KMeans

    x = _normal(100, 2)
    model = KMeans(2, n_init=1, random_state=0).fit(x.astype(np.float64))
    model.cluster_centers_ = np.array([[-1.0, 0.0], [1.0, 0.0]])
    # Half of the rows lie exactly between the centres, moved by a rotation that rounds.
    angle = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    model.cluster_centers_ = model.cluster_centers_ @ angle
    x[::2, 0] = 0
    rows = (x @ angle).astype(np.float32)
    text = _DISTANCES.format(
        name="clusters",
        outputs="int64[batch] label, float[batch, 2] scores",
        answer="label = ArgMin <axis = 1, keepdims = 0> (all)\n  scores = Cast <to = 1> (all)",
    )
    return Subject(model, text, _distances(model.cluster_centers_), rows)


def _tied_classes() -> Subject:
    from sklearn.linear_model import LogisticRegression

    x = _normal(200, 4)
    model = LogisticRegression().fit(x.astype(np.float64), np.digitize(x[:, 0], [-0.5, 0.5]))
    # Two classes with the same weights up to rounding: their order is decided by the last bit.
    model.coef_[1] = model.coef_[0] * (1 + 1e-15)
    model.intercept_[1] = model.intercept_[0]
    text = """tied (float[batch, 4] x) => (int64[batch] label, float[batch, 3] probabilities) {
      product = MatMul (x, coef)
      scores = Add (product, intercept)
      probabilities = Softmax <axis = 1> (scores)
      label = ArgMax <axis = 1, keepdims = 0> (scores)
    }"""
    weights = {"coef": model.coef_.T.astype(np.float32), "intercept": model.intercept_.astype(np.float32)}
    return Subject(model, text, weights, x)


# --- Keras ------------------------------------------------------------------------------------------


def _keras_weights(layer: Any) -> list[Array]:
    import keras

    return [np.asarray(keras.ops.convert_to_numpy(weight)) for weight in layer.weights]


def _long_mean() -> Subject:
    import keras

    keras.utils.set_random_seed(30)
    x = keras.Input((24, 24, 3), name="x")
    convolution, dense = keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Dense(5, activation="softmax")
    model = keras.Model(x, dense(keras.layers.GlobalAveragePooling2D()(convolution(x))))
    text = """long_mean (float[batch, 24, 24, 3] x) => (float[batch, 5] y) {
      first = Transpose <perm = [0, 3, 1, 2]> (x)
      maps = Conv (first, kernel, bias)
      active = Relu (maps)
      pooled = ReduceMean <keepdims = 0> (active, axes)
      scores = Gemm (pooled, w, b)
      y = Softmax <axis = 1> (scores)
    }"""
    kernel, bias = _keras_weights(convolution)
    w, b = _keras_weights(dense)
    weights = {"kernel": kernel.transpose(3, 2, 0, 1), "bias": bias, "w": w, "b": b, "axes": np.array([2, 3])}
    return Subject(model, text, weights)


def _steep_network() -> Subject:
    import keras

    keras.utils.set_random_seed(0)
    x = keras.Input((8,), name="x")
    value, body, weights = x, "", {}
    initializer = keras.initializers.RandomNormal(stddev=1.5)
    layers = []
    for i in range(6):
        layers.append(keras.layers.Dense(8, activation="tanh", kernel_initializer=initializer))
        value = layers[-1](value)
        source = "x" if i == 0 else f"h{i - 1}"
        body += f"  g{i} = Gemm ({source}, w{i}, b{i})\n  {'y' if i == 5 else f'h{i}'} = Tanh (g{i})\n"
    for i, layer in enumerate(layers):
        weights[f"w{i}"], weights[f"b{i}"] = _keras_weights(layer)
    return Subject(keras.Model(x, value), f"steep (float[batch, 8] x) => (float[batch, 8] y) {{\n{body}}}", weights)


def _chaotic_recurrence() -> Subject:
    # onnxruntime's tanh inside of an RNN is off by half a unit of 1 also near 0, and the recurrence blows that up.
    return _recurrence(0.8)


def _long_recurrence() -> Subject:
    return _recurrence(0.35)


def _recurrence(deviation: float) -> Subject:
    import keras

    keras.utils.set_random_seed(0)
    x = keras.Input((40, 2), name="x")
    layer = keras.layers.SimpleRNN(6, recurrent_initializer=keras.initializers.RandomNormal(stddev=deviation))
    model = keras.Model(x, layer(x))
    kernel, recurrent, bias = _keras_weights(layer)
    text = """recurrence (float[batch, 40, 2] x) => (float[batch, 6] y) {
      some = Concat <axis = 0> (x, blank)
      time = Transpose <perm = [1, 0, 2]> (some)
      all, last = RNN <hidden_size = 6> (time, w, r, b)
      flat = Squeeze (last, zero)
      y = Slice (flat, zero, minus)
    }"""
    biases = np.concatenate([bias, np.zeros(6, np.float32)])[None]
    weights = {"w": kernel.T[None], "r": recurrent.T[None], "b": biases, "zero": np.array([0])}
    # onnxruntime's recurrent operators end the whole process at an empty batch: one row more, cut off at the end.
    weights |= {"blank": np.zeros((1, 40, 2), np.float32), "minus": np.array([-1])}
    return Subject(model, text, weights)


# --- torch ------------------------------------------------------------------------------------------


def _fast_waves() -> Subject:
    import torch

    class Waves(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.sin(x * 10000.0)

    text = "waves (float[batch, 4] x) => (float[batch, 4] y) {\n  fast = Mul (x, factor)\n  y = Sin (fast)\n}"
    return Subject(Waves(), text, {"factor": _constant(10000)})


def _two_moments() -> Subject:
    import torch

    class Moments(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            far = x + 100.0
            return (far * far).mean(1) - far.mean(1) ** 2

    text = """moments (float[batch, 16] x) => (float[batch] y) {
      far = Add (x, hundred)
      squares = Mul (far, far)
      first = ReduceMean <keepdims = 0> (squares, axis)
      mean = ReduceMean <keepdims = 0> (far, axis)
      second = Mul (mean, mean)
      y = Sub (first, second)
    }"""
    return Subject(Moments(), text, {"hundred": _constant(100), "axis": np.array([1])})


def _long_sum() -> Subject:
    import torch

    class Sums(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x.cumsum(1)[:, -1:], x.sum(1)

    text = """sums (float[batch, 3000] x) => (float[batch, 1] last, float[batch] total) {
      all = CumSum (x, place)
      last = Slice (all, start, end, axis)
      total = ReduceSum <keepdims = 0> (x, axis)
    }"""
    weights = {"place": np.array(1), "start": np.array([-1]), "end": np.array([3000]), "axis": np.array([1])}
    return Subject(Sums(), text, weights)


def _near_singular() -> Subject:
    import torch

    class Inverse(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            a, b, c, d = (x[:, i] for i in range(4))
            return a / (a * (b + d * 1e-3) - b * (a + c * 1e-3))

    text = """inverse (float[batch, 4] x) => (float[batch] y) {
      a, b, c, d = Split <axis = 1, num_outputs = 4> (x)
      ds = Mul (d, small)
      bd = Add (b, ds)
      left = Mul (a, bd)
      cs = Mul (c, small)
      ac = Add (a, cs)
      right = Mul (b, ac)
      determinant = Sub (left, right)
      quotient = Div (a, determinant)
      y = Squeeze (quotient, axis)
    }"""
    return Subject(Inverse(), text, {"small": _constant(1e-3), "axis": np.array([1])})


def _iterated(name: str, start: str, prepare: Callable[[Any], Any], **constants: Any) -> Subject:
    """Return twelve rounds of the logistic map, each of which doubles an error, behind a first step.

    Args:
        name: Name of the graph.
        start: The lines of the graph that make ``x0`` of ``x``.
        prepare: What they do, in torch.
        constants: The constants that they name.
    """
    import torch

    class Iterated(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            x = prepare(x)
            for _ in range(12):
                x = 3.9 * x * (1 - x)
            return x

    rounds = "".join(
        f"  l{i} = Mul (x{i}, rate)\n  r{i} = Sub (one, x{i})\n  x{i + 1} = Mul (l{i}, r{i})\n" for i in range(12)
    )
    text = f"{name} (float[batch, 3] x) => (float[batch, 3] y) {{\n{start}{rounds}  y = Identity (x12)\n}}"
    return Subject(Iterated(), text, {"rate": _constant(3.9), "one": _constant(1), **constants})


def _chaos() -> Subject:
    import torch

    return _iterated("chaos", "  whole = Floor (x)\n  x0 = Sub (x, whole)\n", lambda x: x - torch.floor(x))


def _saturated_chaos() -> Subject:
    import torch

    start = "  steep = Mul (x, twenty)\n  x0 = Sigmoid (steep)\n"
    return _iterated("saturated", start, lambda x: torch.sigmoid(20 * x), twenty=_constant(20))


def _saturated_logarithm() -> Subject:
    import torch

    class Logarithm(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.log(1 - torch.tanh(4 * x) + 1e-6)

    text = """saturated (float[batch, 4] x) => (float[batch, 4] y) {
      steep = Mul (x, four)
      bounded = Tanh (steep)
      rest = Sub (one, bounded)
      positive = Add (rest, small)
      y = Log (positive)
    }"""
    return Subject(Logarithm(), text, {"four": _constant(4), "one": _constant(1), "small": _constant(1e-6)})


def _tied_choice() -> Subject:
    import torch

    class Choice(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            # Most of what is left is 0, and which zeros come first is nobody's business; no change of x parts them.
            left = torch.relu(x - 1)
            return torch.topk(left, 4, dim=1).indices

    text = """choice (float[batch, 9] x) => (int64[batch, 4] best) {
      less = Sub (x, one)
      left = Relu (less)
      kept, best = TopK <axis = 1> (left, k)
    }"""
    return Subject(Choice(), text, {"one": _constant(1), "k": np.array([4])})


def _sharp_softmax() -> Subject:
    import torch

    class Sharp(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.softmax(x * 300, 1)

    text = (
        "sharp (float[batch, 6] x) => (float[batch, 6] y) {\n  large = Mul (x, f)\n  y = Softmax <axis = 1> (large)\n}"
    )
    return Subject(Sharp(), text, {"f": _constant(300)})


def _stairs() -> Subject:
    import torch

    class Stairs(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.floor(x / 0.1)

    text = "stairs (float[batch, 4] x) => (float[batch, 4] y) {\n  part = Div (x, tenth)\n  y = Floor (part)\n}"
    return Subject(Stairs(), text, {"tenth": _constant(0.1)})


def _small_logarithm() -> Subject:
    import torch

    class Logarithm(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.log(1 + x * x * 1e-6)

    text = """logarithm (float[batch, 4] x) => (float[batch, 4] y) {
      square = Mul (x, x)
      small = Mul (square, factor)
      near = Add (small, one)
      y = Log (near)
    }"""
    return Subject(Logarithm(), text, {"factor": _constant(1e-6), "one": _constant(1)})


def _cosine() -> Subject:
    import torch

    class Angle(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            left, right = x[:, :3], x[:, :3] + x[:, 3:] * 1e-3
            return torch.acos(
                ((left * right).sum(1) / (left.norm(dim=1) * right.norm(dim=1)).clamp(min=1e-12)).clamp(-1, 1)
            )

    text = """angle (float[batch, 6] x) => (float[batch] y) {
      left, change = Split <axis = 1, num_outputs = 2> (x)
      tiny = Mul (change, small)
      right = Add (left, tiny)
      products = Mul (left, right)
      inner = ReduceSum <keepdims = 0> (products, axis)
      a = ReduceL2 <keepdims = 0> (left, axis)
      b = ReduceL2 <keepdims = 0> (right, axis)
      both = Mul (a, b)
      sizes = Max (both, least)
      cosine = Div (inner, sizes)
      inside = Clip (cosine, minus, one)
      y = Acos (inside)
    }"""
    return Subject(
        Angle(),
        text,
        {
            "small": _constant(1e-3),
            "least": _constant(1e-12),
            "minus": _constant(-1),
            "one": _constant(1),
            "axis": np.array([1]),
        },
    )


SPECIMENS = (
    Specimen("ridge far from the origin", SKLEARN, _far_ridge),
    Specimen("logistic regression far from the origin", SKLEARN, _far_logistic),
    Specimen("components far from the origin", SKLEARN, _far_components),
    Specimen("neighbours with duplicates", SKLEARN, _tied_neighbours),
    Specimen("rows between two clusters", SKLEARN, _tied_clusters),
    Specimen("two classes with equal scores", SKLEARN, _tied_classes),
    Specimen("mean of a long map", KERAS, _long_mean),
    Specimen("steep network", KERAS, _steep_network),
    Specimen("long recurrence", KERAS, _long_recurrence),
    Specimen("chaotic recurrence", KERAS, _chaotic_recurrence),
    Specimen("chaos behind a saturated sigmoid", TORCH, _saturated_chaos),
    Specimen("logarithm behind a saturated tanh", TORCH, _saturated_logarithm),
    Specimen("choice among equals", TORCH, _tied_choice),
    Specimen("fast waves", TORCH, _fast_waves),
    Specimen("variance from two moments", TORCH, _two_moments),
    Specimen("long sums", TORCH, _long_sum),
    Specimen("nearly singular inverse", TORCH, _near_singular),
    Specimen("chaotic iteration", TORCH, _chaos),
    Specimen("sharp softmax", TORCH, _sharp_softmax),
    Specimen("stairs", TORCH, _stairs),
    Specimen("logarithm near one", TORCH, _small_logarithm),
    Specimen("angle of nearly parallel vectors", TORCH, _cosine),
)
