"""The ways in which people write Keras models, as a table: a name, and a function that builds the model.

As a program it converts all of them under one backend and prints what is wrong; see test_keras_styles.py.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from keras import layers, ops
from keras_checks import Array, compare, numpy_of, randomize, session

from any2onnx import convert_keras

SIZES = ((7, 6), (12, 9), (8, 16))
"""Of dims that vary, in three steps."""
_EMPTY = {"empty_batch": True}
"""onnxruntime's recurrent kernels take no empty batch: by default an exception, by option an empty answer."""


@dataclass(frozen=True, slots=True)
class Style:
    """A model, and how it is called.

    Attributes:
        model: The built model.
        call: `call(model, arrays)` with the arrays in the order of the ONNX inputs; packed as the model's own inputs
            by default.
        inputs: Names of the ONNX inputs, where they are part of the style.
        outputs: Names of the ONNX outputs, likewise.
        high: Integers are below this.
        tolerance: Of the output's scale.
        arguments: Of `convert_keras`.
        empty: Whether the ONNX model takes an empty batch.
    """

    model: Any
    call: Callable[[Any, list[Array]], Any] | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    high: int = 5
    tolerance: float = 1e-5
    arguments: Mapping[str, Any] = field(default_factory=dict)
    empty: bool = True


STYLES: dict[str, Callable[[], Style]] = {}


def style(build: Callable[[], Any]) -> Callable[[], Any]:
    """Put a function into the table; one that returns a model alone stands for a plain Style."""

    def built() -> Style:
        result = build()
        return result if isinstance(result, Style) else Style(randomize(result))

    STYLES[build.__name__] = built
    return build


# --- Sequential ------------------------------------------------------------------------------------------------------


@style
def sequential_with_input() -> Any:
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="relu"), layers.Dense(2)])


@style
def sequential_without_input() -> Any:
    model = keras.Sequential([layers.Dense(3, activation="relu"), layers.Dense(2)])
    model(np.zeros((1, 4), "float32"))
    return model


@style
def sequential_built_by_shape() -> Any:
    model = keras.Sequential([layers.Conv1D(3, 2), layers.GlobalMaxPooling1D()])
    model.build((None, 8, 4))
    return model


@style
def sequential_in_sequential() -> Any:
    inner = keras.Sequential([layers.Dense(3, activation="tanh"), layers.Dropout(0.5)])
    return keras.Sequential([keras.Input((4,)), inner, keras.Sequential([layers.Dense(2)])])


@style
def sequential_popped_and_extended() -> Any:
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Dense(9)])
    model.pop()
    model.add(layers.Dense(2, activation="softmax"))
    return model


@style
def sequential_with_preprocessing() -> Any:
    steps = [layers.Rescaling(1 / 255), layers.RandomFlip(), layers.RandomRotation(0.1), layers.Resizing(6, 6)]
    return keras.Sequential([keras.Input((None, None, 3)), *steps, layers.Conv2D(2, 3), layers.Flatten()])


# --- Functional: graphs ----------------------------------------------------------------------------------------------


@style
def functional_nested_three_deep() -> Any:
    def wrap(inner: Any, units: int) -> Any:
        x = keras.Input((4,))
        return keras.Model(x, layers.Dense(4)(inner(layers.Dense(units, activation="relu")(x))))

    x = keras.Input((4,))
    innermost = keras.Model(x, layers.Dense(4, activation="tanh")(x))
    return wrap(wrap(wrap(innermost, 4), 4), 4)


@style
def shared_model_with_two_inputs() -> Any:
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    tower = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.LayerNormalization()])
    return keras.Model([a, b], layers.Dot(-1)([tower(a), tower(b)]))


@style
def shared_layer_on_other_shapes() -> Any:
    a, b = keras.Input((5, 4)), keras.Input((4,))
    dense = layers.Dense(3)
    return keras.Model([a, b], [dense(a), dense(b)])


@style
def weights_shared_between_layers() -> Any:
    x = keras.Input((5,), dtype="int32")
    table = layers.Embedding(9, 4)

    class Unembed(layers.Layer):
        def call(self, y: Any) -> Any:
            return ops.matmul(y, ops.transpose(table.embeddings))

    return Style(randomize(keras.Model(x, Unembed()(table(x)))), high=9)


@style
def weights_shared_between_models() -> Any:
    x = keras.Input((4,))
    hidden = layers.Dense(3, name="body")(x)
    keras.Model(x, layers.Dense(1)(hidden))
    return keras.Model(x, layers.Dense(2)(hidden))


@style
def cut_out_of_the_middle() -> Any:
    x = keras.Input((4,))
    y = layers.Dense(3)(x)
    z = layers.Dense(3, activation="relu")(y)
    whole = keras.Model(x, layers.Dense(2)(z))
    return keras.Model(whole.layers[1].output, whole.layers[2].output)


@style
def residual_and_squeeze_excite() -> Any:
    x = keras.Input((None, None, 4))
    y = layers.Conv2D(4, 3, padding="same")(x)
    gate = layers.Dense(4, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(y))
    return keras.Model(x, x + y * gate)


@style
def operations_on_keras_tensors() -> Any:
    x, y = keras.Input((4,)), keras.Input((4,))
    z = ops.concatenate([ops.exp(x) * 2 - y, ops.relu(y)], axis=-1)
    return keras.Model([x, y], [ops.mean(z, axis=-1), (x > y), x[:, None, 1:3], -x / (1.0 + abs(y))])


@style
def sizes_inside_a_lambda() -> Any:
    x = keras.Input((None, 4))

    def pairs(t: Any) -> Any:
        batch, steps = ops.shape(t)[:2]
        return ops.reshape(t, (batch, steps * 2, 2)) / ops.cast(steps, "float32")

    # onnxruntime fuses the computed shape into one with a -1, which means nothing without rows.
    return Style(keras.Model(x, layers.Lambda(pairs)(x)), empty=False)


@style
def constant_in_the_graph() -> Any:
    x = keras.Input((4,))
    return keras.Model(x, x + ops.convert_to_tensor(np.arange(4, dtype="float32")))


@style
def passes_an_input_through() -> Any:
    x = keras.Input((3,), name="x")
    return keras.Model(x, [x, layers.Dense(2)(x)])


@style
def one_output_twice() -> Any:
    x = keras.Input((3,))
    y = layers.Dense(2, name="y")(x)
    return Style(randomize(keras.Model(x, [y, y])), outputs=("y", "y_1"))


@style
def unused_input() -> Any:
    x, y = keras.Input((3,), name="used"), keras.Input((2,), name="unused")
    return Style(randomize(keras.Model([x, y], layers.Dense(2)(x))), inputs=("used", "unused"))


@style
def output_independent_of_the_data() -> Any:
    x = keras.Input((3,))
    return keras.Model(x, ops.zeros_like(x) + 1)


# --- Functional: structures ------------------------------------------------------------------------------------------


def _halves() -> tuple[Any, Any]:
    return keras.Input((4,), name="left"), keras.Input((4,), name="right")


@style
def inputs_as_dict() -> Any:
    a, b = _halves()
    model = keras.Model({"right": b, "left": a}, layers.Dense(2)(a - 2 * b))
    return Style(randomize(model), inputs=("left", "right"))


@style
def inputs_as_tuple() -> Any:
    a, b = _halves()
    return keras.Model((a, b), layers.Dense(2)(a - 2 * b))


@style
def inputs_nested() -> Any:
    a, b = _halves()
    c = keras.Input((4,), name="third")
    return keras.Model({"pair": [a, (b,)], "one": c}, layers.Dense(2)(a - 2 * b + 3 * c))


@style
def outputs_as_dict() -> Any:
    x = keras.Input((4,))
    model = keras.Model(x, {"b": layers.Dense(2)(x), "a": layers.Dense(3)(x)})
    return Style(randomize(model), outputs=("a", "b"))


@style
def outputs_nested() -> Any:
    x = keras.Input((4,))
    return keras.Model(x, {"b": [layers.Dense(2)(x), (x,)], "a": {"c": layers.Dense(3)(x)}})


@style
def inner_model_called_by_dict() -> Any:
    a, b = _halves()
    inner = keras.Model({"p": (p := keras.Input((4,), name="p")), "q": (q := keras.Input((4,), name="q"))}, p - 2 * q)
    return keras.Model([a, b], inner({"q": b, "p": a}))


@style
def layer_called_by_keywords() -> Any:
    a, b = keras.Input((5, 4)), keras.Input((3, 4))
    return keras.Model([a, b], layers.MultiHeadAttention(2, 2)(query=a, value=b, key=b))


class Affine(layers.Layer):
    """Takes tensors and a number by name."""

    def call(self, x: Any, *, shift: Any, factor: float = 1.0) -> Any:
        return x * factor + shift


@style
def keyword_only_tensors() -> Any:
    a, b = _halves()
    return keras.Model([a, b], Affine()(a, shift=b, factor=3.0))


class Gate(layers.Layer):
    """Takes a tensor or None."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.dense = layers.Dense(4)

    def build(self, shape: Any) -> None:
        self.dense.build(shape)

    def call(self, x: Any, gate: Any = None) -> Any:
        return self.dense(x) if gate is None else self.dense(x) * ops.sigmoid(gate)

    def compute_output_shape(self, x_shape: Any, gate_shape: Any = None) -> Any:
        return x_shape


@style
def optional_argument_given() -> Any:
    a, b = _halves()
    return keras.Model([a, b], Gate()(a, b))


@style
def optional_argument_left_out() -> Any:
    a, _ = _halves()
    return keras.Model(a, Gate()(a))


@style
def optional_input() -> Any:
    a = keras.Input((4,), name="left")
    b = keras.Input((4,), name="right", optional=True)
    model = keras.Model({"left": a, "right": b}, layers.Dense(2)(Gate()(a, b)))
    return Style(randomize(model), inputs=("left", "right"))


@style
def scalar_per_row() -> Any:
    x, t = keras.Input((4,)), keras.Input(())
    return keras.Model([x, t], x * ops.expand_dims(t, -1))


@style
def input_without_dims() -> Any:
    x, t = keras.Input((4,), name="x"), keras.Input(batch_shape=(), name="t")
    return keras.Model([x, t], x * t)


@style
def fixed_batch() -> Any:
    x = keras.Input(batch_shape=(3, 5, 4))
    return keras.Model(x, layers.GRU(2)(x))


@style
def names_that_tools_dislike() -> Any:
    x = keras.Input((4,), name="größe 1:0 [µ]")
    y = layers.Dense(2, name='out put#;"é')(x)
    return Style(randomize(keras.Model(x, y, name="mo del")), inputs=("größe 1:0 [µ]",), outputs=('out put#;"é',))


@style
def output_with_the_name_of_an_input() -> Any:
    x = keras.Input((4,), name="x")
    return Style(randomize(keras.Model(x, layers.Dense(2, name="x_")(x), name="x")), inputs=("x",))


@style
def names_that_repeat_in_inner_models() -> Any:
    def block() -> Any:
        return keras.Sequential([keras.Input((4,)), layers.Dense(4, name="dense"), layers.ReLU(name="relu")])

    x = keras.Input((4,))
    one, two = block(), block()
    one.name, two.name = "block", "block_"
    return keras.Model(x, layers.Dense(2, name="dense")(two(one(x))))


# --- dtypes ----------------------------------------------------------------------------------------------------------


@style
def bytes_of_images() -> Any:
    x = keras.Input((8, 8, 3), dtype="uint8")
    y = layers.ZeroPadding2D(1)(layers.Concatenate()([x, x]))
    y = layers.Rescaling(1 / 255)(layers.Cropping2D(1)(layers.UpSampling2D(2)(y)))
    return Style(randomize(keras.Model(x, layers.Conv2D(2, 3)(y))), high=256)


@style
def integers_joined_before_embedding() -> Any:
    a, b = keras.Input((3,), dtype="int32"), keras.Input((2,), dtype="int32")
    ids = layers.Dropout(0.5)(layers.Concatenate()([a, b]))
    return keras.Model([a, b], layers.Embedding(5, 4)(layers.RepeatVector(2)(ids)))


@style
def integers_into_recurrent_layers() -> Any:
    x = keras.Input((None, 3), dtype="int32")
    both = layers.Bidirectional(layers.LSTM(2))(x)
    return keras.Model(x, [both, layers.GRU(2)(x), layers.SimpleRNN(2, return_sequences=True)(x)])


@style
def integers_into_pooling_and_norms() -> Any:
    x = keras.Input((6, 4), dtype="int32")
    y = [layers.GlobalMaxPooling1D()(x), layers.MaxPooling1D(2)(x), layers.BatchNormalization()(x)]
    return keras.Model(x, [*y, layers.ReLU()(x), layers.LayerNormalization()(x), layers.Masking(0)(x)])


@style
def truth_values() -> Any:
    x, keep = keras.Input((4,)), keras.Input((4,), dtype="bool")
    return keras.Model([x, keep], [ops.where(keep, x, -x), ops.logical_not(layers.Concatenate()([keep, keep]))])


@style
def mixed_precision_by_layer() -> Any:
    x = keras.Input((4,))
    y = layers.Dense(8, dtype="mixed_float16", activation="relu")(x)
    return Style(randomize(keras.Model(x, layers.Dense(2, dtype="float32")(y))), tolerance=5e-3)


@style
def float64_throughout() -> Any:
    x = keras.Input((5, 4), dtype="float64")
    y = layers.LayerNormalization(dtype="float64")(layers.Conv1D(3, 2, dtype="float64")(x))
    # Under PyTorch Keras rounds constants such as the epsilon of the norm to float32.
    exact = keras.backend.backend() != "torch"
    return Style(randomize(keras.Model(x, layers.LSTM(2, dtype="float64")(y))), tolerance=1e-9 if exact else 1e-6)


# --- masks -----------------------------------------------------------------------------------------------------------


class Weighted(layers.Layer):
    """Means over the steps that a mask keeps."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.supports_masking = True

    def call(self, x: Any, mask: Any = None) -> Any:
        kept = ops.ones_like(x[..., :1]) if mask is None else ops.expand_dims(ops.cast(mask, x.dtype), -1)
        return ops.sum(x * kept, axis=1) / (ops.sum(kept, axis=1) + 1e-3)

    def compute_mask(self, x: Any, mask: Any = None) -> None:
        return None


@style
def masks_through_custom_layers() -> Any:
    x = keras.Input((None,), dtype="int32")
    y = layers.Dense(4)(layers.Dropout(0.2)(layers.Embedding(5, 4, mask_zero=True)(x)))
    return keras.Model(x, Weighted()(y))


@style
def mask_by_position() -> Any:
    x, mask = keras.Input((6, 4)), keras.Input((6,), dtype="bool")
    pooled = layers.GlobalAveragePooling1D()(x, mask)
    return keras.Model([x, mask], [Weighted()(x, mask), layers.LSTM(2)(x, None, mask), ops.where(pooled > 0, 1, 0)])


@style
def masks_joined() -> Any:
    a, b = keras.Input((5,), dtype="int32"), keras.Input((5,), dtype="int32")
    table = layers.Embedding(5, 4, mask_zero=True)
    return keras.Model([a, b], layers.GRU(3)(layers.Concatenate(axis=1)([table(a), table(b)])))


@style
def attention_masks() -> Any:
    x, mask = keras.Input((5, 4)), keras.Input(batch_shape=(5, 5), dtype="bool")
    return keras.Model([x, mask], layers.MultiHeadAttention(2, 2)(x, x, attention_mask=mask))


# --- custom layers and models ----------------------------------------------------------------------------------------


class Loop(keras.Model):
    """Layers in lists and dicts, Python control flow on shapes, arguments that inference leaves alone."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = [layers.Dense(4, activation="relu") for _ in range(3)]
        self.heads = {"b": layers.Dense(2), "a": layers.Dense(3)}
        self.drop = layers.Dropout(0.5)

    def call(self, x: Any, training: Any = None, mask: Any = None) -> Any:
        for block in self.blocks:
            x = x + block(x) if x.shape[-1] == 4 else block(x)
        x = self.drop(x, training=training)
        return {name: head(x) for name, head in self.heads.items()}


def _called(model: Any, *shapes: Sequence[int]) -> Any:
    data = [np.zeros(shape, "float32") for shape in shapes]
    model(*data)
    return randomize(model)


@style
def subclassed_with_lists_and_dicts() -> Any:
    return Style(_called(Loop(), (2, 3)), lambda model, data: model(data[0]), outputs=("a", "b"))


class Counted(keras.Model):
    """Losses and metrics beside the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2, kernel_regularizer="l2", activity_regularizer="l1")
        self.seen = keras.metrics.Mean(name="seen")

    def call(self, x: Any) -> Any:
        y = self.dense(x)
        self.add_loss(ops.mean(ops.square(y)))
        self.seen.update_state(ops.mean(y))
        return y


@style
def losses_and_metrics() -> Any:
    return Style(_called(Counted(), (2, 3)), lambda model, data: model(data[0]))


class Noisy(layers.Layer):
    """A seed generator and a counter that training alone uses."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.seed = keras.random.SeedGenerator(3)

    def build(self, shape: Any) -> None:
        self.steps = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)

    def call(self, x: Any, training: bool = False) -> Any:
        if training:
            self.steps.assign_add(1)
            return x + keras.random.normal(ops.shape(x), seed=self.seed)
        return x * 2


@style
def seed_generators() -> Any:
    x = keras.Input((4,))
    return keras.Model(x, Noisy()(x))


class Tables(layers.Layer):
    """keras.Variable, a plain array and a Python number as constants."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.scale = keras.Variable(np.arange(4, dtype="float32"), trainable=False, name="scale")
        self.shift = np.linspace(0, 1, 4, dtype="float32")

    def call(self, x: Any) -> Any:
        return x * self.scale + self.shift - 0.5


@style
def variables_and_arrays() -> Any:
    x = keras.Input((4,))
    return Style(keras.Model(x, Tables()(x)))


@keras.saving.register_keras_serializable("any2onnx_styles")
class Stretch(layers.Layer):
    """States its own outputs."""

    def __init__(self, times: int = 2, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.times = times

    def call(self, x: Any) -> Any:
        return ops.repeat(x, self.times, axis=-1), ops.argmax(x, axis=-1)

    def compute_output_spec(self, x: Any) -> Any:
        shape = (*x.shape[:-1], x.shape[-1] * self.times)
        return keras.KerasTensor(shape, x.dtype), keras.KerasTensor(x.shape[:-1], "int32")

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "times": self.times}


@style
def own_output_spec() -> Any:
    x = keras.Input((4,))
    return keras.Model(x, Stretch()(x))


@style
def saved_with_custom_objects() -> Any:
    x = keras.Input((4,))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.keras"
        randomize(keras.Model(x, Stretch(3)(layers.Dense(3)(x)))).save(path)
        return Style(keras.saving.load_model(path))


@style
def saved_in_the_old_format() -> Any:
    x = keras.Input((5, 4))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.h5"
        model = randomize(keras.Model(x, layers.Bidirectional(layers.LSTM(2))(layers.Conv1D(3, 2)(x))))
        model.save(path)
        return Style(keras.saving.load_model(path))


@style
def cloned() -> Any:
    x = keras.Input((4,))
    return keras.models.clone_model(keras.Model(x, layers.Dense(2)(layers.BatchNormalization()(x))))


class Residual(layers.Layer):
    """A cell of the user's own."""

    def __init__(self, units: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.units = self.state_size = self.output_size = units
        self.inner = layers.Dense(units)

    def build(self, shape: Any) -> None:
        self.inner.build((shape[0], shape[-1] + self.units))

    def call(self, x: Any, states: Any) -> Any:
        state = ops.tanh(self.inner(ops.concatenate([x, states[0]], axis=-1))) + states[0]
        return state * 0.5, [state]


@style
def custom_cells() -> Any:
    x = keras.Input((None, 3))
    mixed = layers.RNN([layers.LSTMCell(2), Residual(2)], return_sequences=True)
    return keras.Model(x, [layers.RNN(Residual(4))(x), mixed(x)])


@style
def states_in_and_out() -> Any:
    x, h, c = keras.Input((None, 3)), keras.Input((2,)), keras.Input((2,))
    return keras.Model([x, h, c], layers.LSTM(2, return_sequences=True, return_state=True)(x, initial_state=[h, c]))


@style
def stateful_layer() -> Any:
    x = keras.Input(batch_shape=(3, 5, 4))
    model = randomize(keras.Model(x, layers.LSTM(2, stateful=True, name="memory")(x)))

    def fresh(called: Any, data: list[Array]) -> Any:
        called.layers[1].reset_states()
        return called(data[0])

    return Style(model, fresh, arguments={"options": {"memory": {"stateful": "reset"}}})


@style
def wrapped_layers() -> Any:
    x = keras.Input((None, 6, 4))
    y = layers.TimeDistributed(layers.SpectralNormalization(layers.Dense(3)))(x)
    y = layers.TimeDistributed(keras.Sequential([layers.Conv1D(2, 2), layers.Flatten()]))(y)
    return keras.Model(x, y)


@style
def lambdas() -> Any:
    x = keras.Input((None, 4))
    y = layers.Lambda(lambda t: ops.reverse(t, axis=1) if hasattr(ops, "reverse") else ops.flip(t, axis=1))(x)
    return keras.Model(x, layers.Lambda(lambda t, k: [t * k, ops.max(t, axis=1)], arguments={"k": 3})(y))


@style
def pipeline_of_layers() -> Any:
    x = keras.Input((6, 6, 3))
    return keras.Model(x, layers.Pipeline([layers.Rescaling(2.0), layers.CenterCrop(4, 4)])(x))


@style
def loop_over_time() -> Any:
    class Cumulative(layers.Layer):
        def call(self, x: Any) -> Any:
            def step(carry: Any, row: Any) -> Any:
                return carry * 0.5 + row, carry

            return ops.scan(step, ops.zeros_like(x[:, 0]), ops.transpose(x, (1, 0, 2)))[0]

    x = keras.Input((None, 4))
    return keras.Model(x, Cumulative()(x))


@style
def branches_on_data() -> Any:
    class Branch(layers.Layer):
        def call(self, x: Any) -> Any:
            return ops.cond(ops.sum(x) > 0, lambda: x * 2, lambda: -x)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    x = keras.Input((4,))
    return keras.Model(x, Branch()(x))


class Named(layers.Layer):
    """Hands an argument of the call on to what it calls, by Keras's call context."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._register_call_context_args("shift")

    def call(self, x: Any, shift: bool = False) -> Any:
        return x + 1 if shift else x


@style
def arguments_through_inner_models() -> Any:
    x = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4), Named()])
    inner._register_call_context_args("shift")
    return keras.Model(x, [inner(x, shift=True), inner(x)])


class Inside(keras.Model):
    """A subclassed model with a Functional one inside."""

    def __init__(self) -> None:
        super().__init__()
        x = keras.Input((4,))
        self.body = keras.Model(x, [layers.Dense(3)(x), layers.Dense(2)(x)])
        self.head = layers.Dense(2)

    def call(self, x: Any) -> Any:
        first, second = self.body(x)
        return self.head(first) + second


@style
def functional_in_subclassed_in_functional() -> Any:
    inside = Inside()
    inside(np.zeros((1, 4), "float32"))
    x = keras.Input((4,))
    return keras.Model(x, layers.Dense(2)(inside(x)))


class Two(keras.Model):
    """Keras keeps the shape of the first argument only."""

    def call(self, a: Any, b: Any, c: Any = None) -> Any:
        return a - 2 * b if c is None else a - 2 * b + c


@style
def several_arguments_by_signature() -> Any:
    spec = keras.InputSpec(shape=(None, 4), dtype="float32")
    model = _called(Two(), (2, 4), (2, 4))
    return Style(model, lambda model, data: model(*data), arguments={"input_signature": [spec, spec]})


@style
def optional_argument_by_signature() -> Any:
    spec = keras.InputSpec(shape=(None, 4), dtype="float32")
    model = _called(Two(), (2, 4), (2, 4))
    return Style(model, lambda model, data: model(*data), arguments={"input_signature": [spec, spec, spec]})


@style
def distilled_student() -> Any:
    student = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation="relu"), layers.Dense(2)])
    teacher = keras.Sequential([keras.Input((4,)), layers.Dense(2)])
    losses = keras.distillation.LogitsDistillation()
    whole = keras.distillation.Distiller(teacher=teacher, student=student, distillation_losses=losses)
    return whole.student


@style
def trained_and_compiled() -> Any:
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.Dense(2)])
    if keras.backend.backend() != "numpy":
        model.compile("sgd", "mse", metrics=["mae"])
        model.fit(np.ones((4, 4)), np.ones((4, 2)), verbose=0)
    return Style(model)


# --- weights in other forms ------------------------------------------------------------------------------------------


@style
def lora_everywhere() -> Any:
    x = keras.Input((5,), dtype="int32")
    table, dense = layers.Embedding(5, 4), layers.Dense(4)
    einsum = layers.EinsumDense("abc,cd->abd", (None, 3))
    model = keras.Model(x, einsum(dense(table(x))))
    for layer in (table, dense, einsum):
        layer.enable_lora(2)
    return model


@style
def quantized_to_int8() -> Any:
    x = keras.Input((5,), dtype="int32")
    model = randomize(keras.Model(x, layers.Dense(3)(layers.Embedding(5, 4)(x))))
    model.quantize("int8")
    return Style(model)


@style
def frozen_layers() -> Any:
    model = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(3, 2), layers.BatchNormalization()])
    model.trainable = False
    return model


# --- applications ----------------------------------------------------------------------------------------------------


@style
def application_as_a_base() -> Any:
    base = keras.applications.MobileNetV2(
        input_shape=(32, 32, 3), alpha=0.35, weights=None, include_top=False, pooling="avg"
    )
    x = keras.Input((32, 32, 3))
    return Style(keras.Model(x, layers.Dense(2)(base(x, training=False))))


@style
def application_on_a_tensor() -> Any:
    x = keras.Input((40, 40, 3), name="image")
    scaled = layers.Rescaling(1 / 127.5, offset=-1)(x)
    base = keras.applications.MobileNet(input_tensor=scaled, alpha=0.25, weights=None, include_top=False, pooling="max")
    return Style(randomize(keras.Model(x, base.output)), inputs=("image",))


@style
def application_channels_first() -> Any:
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        base = keras.applications.MobileNetV2(
            input_shape=(3, 32, 32), alpha=0.35, weights=None, include_top=False, pooling="avg"
        )
    finally:
        keras.config.set_image_data_format(before)
    return Style(base)


# --- running ---------------------------------------------------------------------------------------------------------

REFUSED_BY_KERAS: Mapping[str, frozenset[str]] = {
    "tensorflow": frozenset({"application_channels_first"}),
    "torch": frozenset({"integers_into_pooling_and_norms"}),
}
"""What Keras itself cannot run under a backend."""


def run_style(name: str, batches: Sequence[int] = (1, 3, 0)) -> onnx.ModelProto:
    """Convert a model and compare it at several batches, and at three sizes of the dims that vary."""
    given = STYLES[name]()
    proto = convert_keras(given.model, **given.arguments)
    running = session(proto)
    described = running.get_inputs()
    names = [value.name for value in described]
    if given.inputs:
        assert tuple(names) == given.inputs, names
    if given.outputs:
        assert tuple(v.name for v in running.get_outputs()) == given.outputs
    varying = any(isinstance(d, str) and k for v in described for k, d in enumerate(v.shape))
    fixed = all(isinstance(d, int) for v in described for d in v.shape[:1])
    shapes: list[tuple[int, ...]] = []
    runs = [(batches[0], sizes) for sizes in SIZES] if varying else []
    runs += [(batch, SIZES[0]) for batch in (batches[1:2] if fixed else batches) if batch or given.empty]
    for k, (batch, sizes) in enumerate(runs):
        data = [_data(v, batch, sizes, given.high, seed=10 * k + n) for n, v in enumerate(described)]
        fed = dict(zip(names, data, strict=True))
        if batch:
            answers = running.run(None, fed)
            compare(answers, numpy_of(_answer(given, data)), given.tolerance)
            shapes = [tuple(0 if d == batch and not axis else d for axis, d in enumerate(a.shape)) for a in answers]
        else:
            # Keras itself cannot do without rows everywhere, and TensorFlow has wrong shapes for them.
            guarded = any(node.op_type in ("GRU", "LSTM") for node in proto.graph.node)
            empty = session(convert_keras(given.model, **given.arguments, options=_EMPTY)) if guarded else running
            assert [a.shape for a in empty.run(None, fed)] == shapes
    return proto


def _answer(given: Style, data: list[Array]) -> Any:
    if given.call is not None:
        return given.call(given.model, data)
    struct = keras.tree.pack_sequence_as(given.model._inputs_struct, data) if len(data) > 1 else data[0]
    return given.model(struct, training=False)


def _data(value: Any, batch: int, sizes: Sequence[int], high: int, seed: int) -> Array:
    random = np.random.default_rng(seed)
    shape = [d if isinstance(d, int) else batch if k == 0 else sizes[(k - 1) % 2] for k, d in enumerate(value.shape)]
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    if kind == "bool":
        return random.random(shape) < 0.6
    if "int" in kind:
        return random.integers(0, high, shape).astype(kind)
    dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
    return np.asarray(random.normal(size=shape)).astype(dtype)


def main() -> None:
    failures: dict[str, str] = {}
    backend = keras.backend.backend()
    wanted = [name for name in STYLES if name not in REFUSED_BY_KERAS.get(backend, frozenset())]
    for name in wanted:
        try:
            run_style(name)
        except Exception:
            failures[name] = traceback.format_exc(limit=-2)[-700:]
        keras.backend.clear_session()
    print(json.dumps({"backend": backend, "styles": len(wanted), "failures": failures}))


if __name__ == "__main__":
    sys.exit(main())
