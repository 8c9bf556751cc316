"""Configurations of every Keras layer, for the audit of parameters and the generated suite.

A configuration is the constructor's arguments, the shapes of the inputs without the batch, and their element types.
Every parameter that a converter honours is at another value than its default in some configuration; the audit sees
to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
from keras import layers

Shape = tuple[int | None, ...]

# TensorFlow computes these under any backend; JAX and NumPy hand its int64 on as int32.
TENSORFLOW_ONLY = frozenset({"HashedCrossing", "Hashing", "IntegerLookup", "StringLookup", "TextVectorization"})

# TensorFlow's CPU kernels pad channels-first images otherwise than channels-last ones, and end the process in adaptive
# maximum pooling to one cell.
NOT_TF: dict[str, Any] = {"_wrong_on": ("tensorflow",)}


@dataclass(frozen=True, slots=True)
class LayerCase:
    """One configuration.

    Attributes:
        layer: Name of the class in `keras.layers`.
        arguments: Of the constructor. A function without arguments stands for its result (inner layers).
        shapes: Of the inputs, without the batch.
        dtypes: Of the inputs; the last one repeats.
        call: Arguments of the call, besides the inputs.
        listed: The inputs come as one list.
        high: Integers are drawn from 0 … high - 1.
        sizes: Least size of dims that vary.
        wrong_on: Backends whose own answer is wrong.
    """

    layer: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    shapes: tuple[Shape, ...] = ((3, 4),)
    dtypes: tuple[str, ...] = ("float32",)
    call: Mapping[str, Any] = field(default_factory=dict)
    listed: bool = False
    high: int = 5
    sizes: tuple[int, ...] = (5, 6, 9)
    wrong_on: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Id of the test."""
        given = ",".join(f"{k}={_brief(v)}" for k, v in self.arguments.items())
        called = "".join(f"-{k}" for k in self.call)
        shapes = "+".join("x".join(str(d) for d in shape) for shape in self.shapes)
        return f"{self.layer}({given})-{shapes}-{'+'.join(self.dtypes)}{called}"

    def built(self) -> Any:
        """Return the layer."""
        arguments = {k: v() if _is_thunk(v) else v for k, v in self.arguments.items()}
        return getattr(layers, self.layer)(**arguments)


def _is_thunk(value: Any) -> bool:
    return callable(value) and getattr(value, "__name__", "") == "<lambda>" and not value.__code__.co_argcount


def _brief(value: Any) -> str:
    return "…" if callable(value) else str(value).replace(" ", "")[:24]


def cases(
    layer: str, base: Mapping[str, Any], shapes: Sequence[Any], vary: Sequence[Mapping[str, Any]] = (), **case: Any
) -> Iterator[LayerCase]:
    """Yield the base on every shape, and each variation of it on the first one (or on its own: ``_shape``)."""
    listed = [s if s and isinstance(s[0], tuple) else (s,) for s in shapes]
    for shape in listed:
        yield LayerCase(layer, dict(base), tuple(shape), **case)
    for one in vary:
        own = {k: v for k, v in one.items() if not k.startswith("_")}
        settings = {**case, **{k[1:]: v for k, v in one.items() if k.startswith("_") and k != "_shape"}}
        shape = one.get("_shape", listed[0])
        shape = shape if shape and isinstance(shape[0], tuple) else (shape,)
        yield LayerCase(layer, {**base, **own}, tuple(shape), **settings)


def _first(shape: Shape) -> Shape:
    return (shape[-1], *shape[:-1])


def convolutional() -> Iterator[LayerCase]:
    for rank in (1, 2, 3):
        static: Shape = ((11,), (8, 9), (5, 6, 5))[rank - 1] + (4,)
        dynamic: Shape = (None,) * rank + (4,)
        uneven = [2, 3, 1][:rank]
        name = f"Conv{rank}D"
        vary: list[dict[str, Any]] = [
            {"strides": 2},
            {"strides": 2, "padding": "same"},
            {"strides": 2, "padding": "same", "_shape": dynamic},
            {"padding": "same", "dilation_rate": 2},
            {"padding": "same", "dilation_rate": 2, "_shape": dynamic},
            {"groups": 2, "filters": 6},
            {"use_bias": False, "activation": "relu"},
            {"activation": lambda x: keras.ops.tanh(x) * 2},
            {"kernel_size": uneven if rank > 1 else 4, "padding": "same"},
            {"data_format": "channels_first", "_shape": _first(static)},
            {
                "data_format": "channels_first",
                "padding": "same",
                "strides": 2,
                "_shape": _first(dynamic),
                **NOT_TF,
            },
        ]
        if rank == 1:
            vary += [{"padding": "causal", "dilation_rate": 2}, {"padding": "causal", "_shape": dynamic}]
        yield from cases(name, {"filters": 4, "kernel_size": 3}, [static, dynamic], vary, sizes=(7, 8, 11))
        yield from cases(
            f"Conv{rank}DTranspose",
            {"filters": 3, "kernel_size": 3},
            [static, dynamic],
            [
                {"strides": 2},
                {"strides": 2, "padding": "same"},
                {"strides": 2, "padding": "same", "_shape": dynamic},
                {"strides": 2, "output_padding": 1},
                {"strides": 3, "padding": "same", "output_padding": 1, "kernel_size": 4},
                {"strides": 3, "kernel_size": 2},
                {"dilation_rate": 2},
                {"use_bias": False, "activation": "relu"},
                {"data_format": "channels_first", "_shape": _first(static)},
            ],
        )
        if rank == 3:
            continue
        for kind, base in (
            (f"DepthwiseConv{rank}D", {"kernel_size": 3}),
            (f"SeparableConv{rank}D", {"filters": 5, "kernel_size": 3}),
        ):
            yield from cases(
                kind,
                base,
                [static, dynamic],
                [
                    {"strides": 2, "padding": "same"},
                    {"depth_multiplier": 2},
                    {"padding": "same", "dilation_rate": 2},
                    {"use_bias": False, "activation": "relu"},
                    {"data_format": "channels_first", "_shape": _first(static)},
                ],
                sizes=(7, 8, 11),
            )


def pooling() -> Iterator[LayerCase]:
    for rank in (1, 2, 3):
        static: Shape = ((11,), (8, 9), (5, 6, 5))[rank - 1] + (3,)
        dynamic: Shape = (None,) * rank + (3,)
        for kind in ("Max", "Average"):
            # Keras's PyTorch backend counts what it pads itself, as it does where the sides differ.
            uneven: dict[str, Any] = {"_wrong_on": ("torch",)} if kind == "Average" and rank > 1 else {}
            yield from cases(
                f"{kind}Pooling{rank}D",
                {"pool_size": 2},
                [static, dynamic],
                [
                    {"pool_size": 3, "strides": 2},
                    {"pool_size": 3, "strides": 2, "padding": "same", **uneven},
                    {"pool_size": 3, "strides": 1, "padding": "same", "_shape": dynamic},
                    {"padding": "same", "_shape": dynamic},
                    {"data_format": "channels_first", "_shape": _first(static)},
                ],
            )
            yield from cases(
                f"Global{kind}Pooling{rank}D",
                {},
                [static, dynamic],
                [{"keepdims": True}, {"data_format": "channels_first", "_shape": _first(static)}],
            )
            yield from cases(
                f"Adaptive{kind}Pooling{rank}D",
                {"output_size": 3},
                [static],
                [
                    {"output_size": [4, 2, 3][:rank] if rank > 1 else 4},
                    {"output_size": 1, **(NOT_TF if kind == "Max" else {})},
                    {"data_format": "channels_first", "_shape": _first(static)},
                ],
            )


def normalization() -> Iterator[LayerCase]:
    yield from cases(
        "BatchNormalization",
        {},
        [(4, 5, 3), (5,), (None, 3)],
        [
            {"axis": 1},
            {"epsilon": 0.1},
            {"center": False},
            {"scale": False},
            {"axis": 2, "center": False, "scale": False},
        ],
    )
    yield from cases(
        "LayerNormalization",
        {},
        [(4, 5), (None, 5)],
        [
            {"axis": 1},
            {"axis": (1, 2)},
            {"axis": (1, 3), "_shape": (4, 5, 3)},
            {"epsilon": 0.1},
            {"center": False},
            {"scale": False},
        ],
    )
    yield from cases(
        "GroupNormalization",
        {"groups": 2},
        [(4, 6), (None, None, 4), (6,)],
        [{"axis": 1}, {"groups": -1}, {"groups": 3, "epsilon": 0.1}, {"center": False}, {"scale": False}],
    )
    # Keras's PyTorch backend normalizes the last axes, as many as it was given, whichever these are.
    first = {"axis": 1, "_shape": (4, 4), "_wrong_on": ("torch",)}
    yield from cases("RMSNormalization", {}, [(4, 5), (None, 5)], [first, {"epsilon": 0.1}, {"axis": (1, 2)}])
    yield from cases("UnitNormalization", {}, [(4, 5), (None, 5)], [{"axis": 1}, {"axis": (1, 2)}])
    yield from cases(
        "SpectralNormalization",
        {"layer": lambda: layers.Dense(3)},
        [(4, 5)],
        [{"layer": lambda: layers.Conv2D(3, 2), "_shape": (5, 5, 2)}, {"power_iterations": 3}],
    )


def core() -> Iterator[LayerCase]:
    yield from cases(
        "Dense",
        {"units": 4},
        [(5,), (None, 5), (2, 3, 5)],
        [
            {"use_bias": False},
            {"activation": "gelu"},
            {"activation": lambda x: keras.ops.relu(x) ** 2},
            {"lora_rank": 2},
            {"lora_rank": 2, "lora_alpha": 6.0},
        ],
    )
    yield from cases("Dense", {"units": 4}, [(5,)], dtypes=("int32",))
    yield from cases(
        "EinsumDense",
        {"equation": "abc,cd->abd", "output_shape": (None, 4)},
        [(3, 5), (None, 5)],
        [
            {"bias_axes": "d", "activation": "relu"},
            {"equation": "abc,cde->abde", "output_shape": (None, 2, 4), "bias_axes": "de"},
            {"equation": "abcd,cde->abe", "output_shape": (None, 4), "bias_axes": "e", "_shape": (3, 2, 5)},
            {"equation": "abc,bd->adc", "output_shape": (4, 5)},
            {"equation": "...x,xy->...y", "output_shape": 4, "bias_axes": "y", "_shape": (2, 3, 5)},
            {"lora_rank": 2, "lora_alpha": 5.0},
        ],
    )
    yield from cases(
        "Embedding",
        {"input_dim": 7, "output_dim": 3},
        [(4,), (None,), (), (2, 3)],
        [{"mask_zero": True}, {"lora_rank": 2, "lora_alpha": 3.0}, {"weights": [np.arange(21.0).reshape(7, 3)]}],
        dtypes=("int32",),
        high=7,
    )
    yield from cases("Embedding", {"input_dim": 7, "output_dim": 3}, [(4,)], dtypes=("float32",), high=7)
    yield from cases("ReversibleEmbedding", {"input_dim": 7, "output_dim": 3}, [(4,)], dtypes=("int32",), high=7)
    yield from cases(
        "ReversibleEmbedding",
        {"input_dim": 7, "output_dim": 3},
        [(4, 3)],
        [{"tie_weights": False}, {"logit_soft_cap": 2.0}],
        call={"reverse": True},
    )
    yield from cases("Identity", {}, [(4,), (None, 2)])
    yield from cases("Masking", {}, [(4, 3), (None, 3)], [{"mask_value": 1.0}])
    yield from cases("Lambda", {"function": keras.ops.sin}, [(4,), (None, 3)])
    for name, arguments in (
        ("ActivityRegularization", {"l1": 0.1, "l2": 0.1}),
        ("AlphaDropout", {"rate": 0.5}),
        ("Dropout", {"rate": 0.5, "noise_shape": (None, 1)}),
        ("GaussianDropout", {"rate": 0.5}),
        ("GaussianNoise", {"stddev": 0.5}),
    ):
        yield from cases(name, arguments, [(4,)])
    for rank, shape in ((1, (3, 4)), (2, (3, 4, 2)), (3, (3, 4, 2, 2))):
        yield from cases(f"SpatialDropout{rank}D", {"rate": 0.5}, [shape])


def activations() -> Iterator[LayerCase]:
    for name in (
        "celu",
        "gelu",
        "glu",
        "hard_silu",
        "log_softmax",
        "mish",
        "relu6",
        "softmax",
        "sparsemax",
        "squareplus",
    ):
        yield from cases("Activation", {"activation": name}, [(3, 4)])
    yield from cases("Activation", {"activation": lambda x: keras.ops.exp(-(x**2))}, [(3, 4)])
    yield from cases("ELU", {}, [(9,)], [{"alpha": 0.5}])
    yield from cases("LeakyReLU", {}, [(9,)], [{"negative_slope": 0.1}])
    yield from cases(
        "PReLU", {}, [(3, 4)], [{"shared_axes": [1, 2], "_shape": (3, 4, 2)}, {"shared_axes": [1], "_shape": (None, 4)}]
    )
    yield from cases(
        "ReLU",
        {},
        [(9,), (None, 2)],
        [
            {"max_value": 1.0},
            {"negative_slope": 0.1},
            {"threshold": 0.5},
            {"max_value": 1.0, "negative_slope": 0.25, "threshold": 0.5},
        ],
    )
    yield from cases("Softmax", {}, [(3, 4), (None, 4)], [{"axis": 1}, {"axis": (1, 2)}])


def merging() -> Iterator[LayerCase]:
    for name in ("Add", "Average", "Maximum", "Minimum", "Multiply"):
        yield from cases(name, {}, [((3, 4), (3, 4)), ((3, 4), (4,), (1, 4)), ((None, 4), (1, 4))], listed=True)
        yield from cases(name, {}, [((3, 4), (3, 4))], listed=True, dtypes=("int32",))
        yield from cases(name, {}, [((3, 4), (3, 4))], listed=True, dtypes=("int32", "float32"))
    yield from cases("Subtract", {}, [((3, 4), (3, 4)), ((None, 4), (1, 4))], listed=True)
    yield from cases(
        "Concatenate",
        {},
        [((3, 4), (3, 2)), ((None, 4), (None, 4))],
        [{"axis": 1, "_shape": ((3, 4), (2, 4))}],
        listed=True,
    )
    yield from cases(
        "Dot",
        {"axes": 1},
        [((4,), (4,))],
        [
            {"axes": -1, "normalize": True},
            {"axes": (1, 2), "_shape": ((3, 4), (5, 3))},
            {"axes": 2, "normalize": True, "_shape": ((3, 4), (5, 4))},
        ],
        listed=True,
    )


def reshaping() -> Iterator[LayerCase]:
    yield from cases("Flatten", {}, [(3, 4, 2), (None, 4), ()], [{"data_format": "channels_first"}])
    yield from cases("Flatten", {}, [(3, 4)], dtypes=("int32",))
    yield from cases("Permute", {"dims": (2, 1)}, [(3, 4), (None, 4)], [{"dims": (3, 1, 2), "_shape": (3, 4, 2)}])
    yield from cases("RepeatVector", {"n": 3}, [(4,), (None,)])
    yield from cases(
        "Reshape",
        {"target_shape": (2, 6)},
        [(3, 4)],
        [{"target_shape": (-1, 2), "_shape": (None, 4)}, {"target_shape": (12,)}],
    )
    for rank in (1, 2, 3):
        static: Shape = ((9,), (8, 9), (5, 6, 5))[rank - 1] + (3,)
        dynamic: Shape = (None,) * rank + (3,)
        pair = (1, 2) if rank == 1 else tuple((1, 2) if k else (0, 1) for k in range(rank))
        first = [] if rank == 1 else [{"data_format": "channels_first", "_shape": _first(static)}]
        yield from cases(f"Cropping{rank}D", {}, [static, dynamic], [{"cropping": pair}, *first])
        padding = first if rank > 1 else [{"data_format": "channels_first", "_shape": _first(static)}]
        yield from cases(f"ZeroPadding{rank}D", {}, [static, dynamic], [{"padding": pair}, *padding])
        scale = {"size": 3} if rank == 1 else {"size": tuple(range(2, 2 + rank))}
        yield from cases(f"UpSampling{rank}D", {}, [static, dynamic], [scale, *first])
    for kernel in ("bilinear", "lanczos3", "lanczos5"):
        yield from cases("UpSampling2D", {"interpolation": kernel}, [(4, 5, 2)])


def recurrent() -> Iterator[LayerCase]:
    shape, dynamic = (5, 3), (None, 3)
    common: list[dict[str, Any]] = [
        {"return_sequences": True},
        {"return_state": True},
        {"go_backwards": True, "return_sequences": True, "_shape": dynamic},
        {"use_bias": False},
        {"activation": "relu"},
        {"unroll": True},
        {"dropout": 0.5, "recurrent_dropout": 0.5},
    ]
    gates = [{"recurrent_activation": "hard_sigmoid"}]
    yield from cases("LSTM", {"units": 4}, [shape, dynamic], [*common, *gates, {"unit_forget_bias": False}])
    yield from cases("GRU", {"units": 4}, [shape, dynamic], [*common, *gates, {"reset_after": False}])
    yield from cases("SimpleRNN", {"units": 4}, [shape, dynamic], common)
    cell = {"cell": lambda: layers.LSTMCell(3)}
    yield from cases(
        "RNN",
        cell,
        [shape, dynamic],
        [
            {"cell": lambda: [layers.GRUCell(3), layers.SimpleRNNCell(2)], "return_sequences": True},
            {"return_state": True},
            {"go_backwards": True},
            {"unroll": True},
            {"zero_output_for_mask": True, "return_sequences": True},
        ],
    )
    yield from cases(
        "Bidirectional",
        {"layer": lambda: layers.LSTM(3, return_sequences=True)},
        [shape, dynamic],
        [
            {"merge_mode": "sum"},
            {"merge_mode": "mul"},
            {"merge_mode": "ave"},
            {"merge_mode": None},
            {"layer": lambda: layers.GRU(3, return_state=True)},
            {"backward_layer": lambda: layers.LSTM(3, return_sequences=True, go_backwards=True, activation="relu")},
        ],
    )
    yield from cases(
        "TimeDistributed",
        {"layer": lambda: layers.Dense(4)},
        [(3, 4), (None, 4)],
        [{"layer": lambda: layers.Conv2D(2, 3), "_shape": (None, 6, 6, 3)}],
    )
    for rank, size in ((1, (6,)), (2, (5, 6)), (3, (4, 4, 5))):
        yield from cases(
            f"ConvLSTM{rank}D",
            {"filters": 2, "kernel_size": 2},
            [(3, *size, 2)],
            [{"return_sequences": True, "padding": "same"}, {"go_backwards": True, "strides": 2}],
        )


def attention() -> Iterator[LayerCase]:
    pair, triple = ((4, 5), (6, 5)), ((4, 5), (6, 5), (6, 5))
    for name in ("Attention", "AdditiveAttention"):
        yield from cases(name, {}, [pair, triple, ((None, 5), (None, 5))], [{"dropout": 0.5}], listed=True)
    yield from cases("Attention", {}, [pair], [{"use_scale": True}, {"score_mode": "concat"}], listed=True)
    yield from cases("Attention", {}, [pair], listed=True, call={"use_causal_mask": True})
    yield from cases("AdditiveAttention", {"use_scale": False}, [pair], listed=True)
    base = {"num_heads": 2, "key_dim": 3}
    yield from cases(
        "MultiHeadAttention",
        base,
        [((4, 6), (5, 6)), ((None, 6), (None, 6)), ((4, 6), (5, 6), (5, 6))],
        [
            {"value_dim": 4},
            {"use_bias": False},
            {"output_shape": 7},
            {"attention_axes": (1, 2), "_shape": ((3, 4, 6), (3, 4, 6))},
            {"dropout": 0.5},
            {"sliding_window": 2, "_shape": ((4, 6), (4, 6))},
            {"use_gate": True},
        ],
    )
    yield from cases("MultiHeadAttention", base, [((4, 6), (4, 6))], call={"use_causal_mask": True})
    yield from cases("MultiHeadAttention", base, [((4, 6), (4, 6))], call={"return_attention_scores": True})
    yield from cases(
        "GroupQueryAttention",
        {"head_dim": 3, "num_query_heads": 4, "num_key_value_heads": 2},
        [((4, 6), (5, 6))],
        [{"use_bias": False}],
    )


def numbers() -> Iterator[LayerCase]:
    yield from cases(
        "Rescaling",
        {"scale": 0.5},
        [(3, 4, 3)],
        [{"offset": 1.0}, {"scale": [0.5, 1.0, 2.0], "offset": [1.0, 2.0, 3.0]}],
    )
    yield from cases("Rescaling", {"scale": 0.5}, [(3, 4, 3)], dtypes=("uint8",), high=255)
    values = {"mean": [1.0, 2.0, 3.0, 4.0], "variance": [1.0, 4.0, 9.0, 0.0]}
    yield from cases(
        "Normalization",
        values,
        [(3, 4)],
        [{"invert": True}, {"axis": 1, "_shape": (4, 3)}, {"axis": None, "mean": 2.0, "variance": 4.0}],
    )
    edges = {"bin_boundaries": [-1.0, 0.0, 0.5]}
    yield from cases(
        "Discretization",
        edges,
        [(4,), (None,)],
        [
            *({"output_mode": mode} for mode in ("one_hot", "multi_hot", "count")),
            {"output_mode": "count", "_shape": (3, 4)},
            {"output_mode": "multi_hot", "_shape": (None, 4)},
        ],
    )
    yield from cases(
        "CategoryEncoding",
        {"num_tokens": 5},
        [(4,), (3, 4), (None, 4)],
        [
            {"output_mode": "one_hot"},
            {"output_mode": "count"},
            {"output_mode": "one_hot", "_shape": (3, 4)},
            {"output_mode": "count", "_shape": (3, 4)},
            {"output_mode": "count", "_shape": (None, 2, 3)},
        ],
        dtypes=("int32",),
    )
    for mode in ("int", "one_hot", "multi_hot", "count"):
        yield from cases(
            "Hashing",
            {"num_bins": 7, "output_mode": mode},
            [(4,)],
            [{"mask_value": 3}, {"salt": 5}],
            dtypes=("int64",),
            high=99,
        )
        weights = {"vocabulary": [1, 3, 9], "output_mode": mode}
        yield from cases(
            "IntegerLookup",
            weights,
            [(4,)],
            [{"num_oov_indices": 3}, {"mask_token": 0}, {"max_tokens": 9, "pad_to_max_tokens": True}],
            dtypes=("int64",),
            high=12,
        )
    several = {"vocabulary": [1, 3], "num_oov_indices": 4, "oov_method": "farmhash"}
    yield from cases("IntegerLookup", several, [(4,)], [{"salt": 7}], dtypes=("int64",), high=99)
    yield from cases(
        "IntegerLookup", {"vocabulary": [5, 6], "invert": True}, [(4,)], [{"oov_token": -7}], dtypes=("int64",)
    )
    yield from cases(
        "IntegerLookup",
        {"vocabulary": [1, 3], "output_mode": "tf_idf", "idf_weights": [0.5, 2.0]},
        [(4,)],
        dtypes=("int64",),
    )
    yield from cases(
        "HashedCrossing", {"num_bins": 9}, [((1,), (1,))], [{"output_mode": "one_hot"}], dtypes=("int64",), listed=True
    )
    yield from cases(
        "STFTSpectrogram",
        {"frame_length": 16, "frame_step": 8},
        [(64, 1)],
        [{"mode": "magnitude"}, {"padding": "same"}, {"fft_length": 32}],
    )
    yield from cases(
        "MelSpectrogram",
        {"fft_length": 64, "sequence_stride": 16, "num_mel_bins": 8},
        [(256,)],
        [{"power_to_db": False}],
    )


def text() -> Iterator[LayerCase]:
    words = ["a", "bb", "c d", "é"]
    for mode in ("int", "one_hot", "multi_hot", "count"):
        yield from cases(
            "StringLookup",
            {"vocabulary": words, "output_mode": mode},
            [(3,)],
            [{"mask_token": ""}, {"max_tokens": 9, "pad_to_max_tokens": True}],
            dtypes=("string",),
        )
    several = {"vocabulary": words, "num_oov_indices": 4}
    yield from cases("StringLookup", several, [(3,)], [{"salt": 7}], dtypes=("string",))
    weights = {"vocabulary": words, "output_mode": "tf_idf", "idf_weights": [1.0, 2.0, 3.0, 4.0]}
    yield from cases("StringLookup", weights, [(3,)], dtypes=("string",))
    yield from cases(
        "StringLookup", {"vocabulary": words, "invert": True}, [(3,)], [{"oov_token": "?"}], dtypes=("int64",), high=9
    )
    yield from cases("Hashing", {"num_bins": 9}, [(3,)], [{"mask_value": "a"}], dtypes=("string",))
    yield from cases(
        "TextVectorization",
        {"vocabulary": words},
        [(1,)],
        [
            {"standardize": None},
            {"split": "character"},
            {"split": None},
            {"ngrams": 2},
            {"output_sequence_length": 4},
            {"output_mode": "count"},
            {"output_mode": "multi_hot", "max_tokens": 20, "pad_to_max_tokens": True},
            {"output_mode": "tf_idf", "idf_weights": [1.0, 2.0, 3.0, 4.0]},
        ],
        dtypes=("string",),
    )


def images() -> Iterator[LayerCase]:
    yield from cases(
        "CenterCrop",
        {"height": 4, "width": 5},
        [(8, 9, 3), (None, None, 3)],
        [{"data_format": "channels_first", "_shape": (3, 8, 9)}],
    )
    resized = {"height": 4, "width": 5}
    yield from cases(
        "Resizing",
        resized,
        [(8, 9, 3), (None, None, 3)],
        [
            {"interpolation": "nearest"},
            {"interpolation": "bicubic"},
            {"interpolation": "bicubic", "_shape": (None, None, 3)},
            {"interpolation": "lanczos3", "_shape": (None, None, 3)},
            {"antialias": True},
            {"antialias": True, "_shape": (None, None, 3)},
            {"antialias": True, "interpolation": "bicubic", "_shape": (None, None, 3)},
            {"antialias": True, "interpolation": "lanczos5", "_shape": (None, None, 3)},
            {"crop_to_aspect_ratio": True},
            {"pad_to_aspect_ratio": True},
            {"pad_to_aspect_ratio": True, "fill_value": 2.0, "fill_mode": "constant"},
            {"data_format": "channels_first", "_shape": (3, 8, 9)},
        ],
    )
    inner = [layers.Rescaling(0.5), layers.CenterCrop(4, 5)]
    yield from cases("Pipeline", {"layers": inner}, [(8, 9, 3)])
    yield from cases("RandomCrop", {"height": 8, "width": 9}, [(8, 9, 3)])
    yield from cases("AutoContrast", {}, [(8, 9, 3)], [{"value_range": (0, 1)}])
    yield from cases("ContrastLimitedAdaptiveHistogramEqualization", {}, [(16, 16, 3)])
    for name, arguments in AUGMENTATIONS.items():
        yield from cases(name, arguments, [(8, 9, 3)])


_PLAIN = "AugMix CutMix MixUp RandAugment RandomGrayscale RandomPerspective RandomShear RandomFlip"
_WITH_FACTOR = (
    "RandomBrightness RandomColorDegeneration RandomContrast RandomElasticTransform RandomErasing RandomHue "
    "RandomInvert RandomRotation RandomSaturation RandomSharpness"
)
AUGMENTATIONS: dict[str, dict[str, Any]] = {
    **{name: {} for name in _PLAIN.split()},
    **{name: {"factor": 0.3} for name in _WITH_FACTOR.split()},
    "RandomColorJitter": {"brightness_factor": 0.3},
    "RandomGaussianBlur": {"sigma": 1.0},
    "RandomPosterization": {"factor": 4},
    "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
    "RandomZoom": {"height_factor": 0.2},
    "Solarization": {"threshold_factor": 0.3},
}


def all_cases() -> list[LayerCase]:
    """Return every configuration, in a fixed order."""
    groups: list[Callable[[], Iterator[LayerCase]]] = [
        convolutional, pooling, normalization, core, activations, merging, reshaping, recurrent, attention, numbers,
        text, images,
    ]  # fmt: skip
    return [case for group in groups for case in group()]
