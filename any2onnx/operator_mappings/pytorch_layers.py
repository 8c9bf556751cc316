"""PyTorch: layers, pooling, images, attention, recurrence, control flow."""

from __future__ import annotations

from any2onnx.operator_mappings.pytorch_rows import table

_DIMS = ("1d", "2d", "3d")


def _per_dim(pattern: str) -> str:
    """Return a pattern with ``{}`` for each number of spatial dims."""
    return " ".join(pattern.format(d) for d in _DIMS)


LAYERS = table(
    "nn",
    {
        "conv": _per_dim("conv{0} conv{0}.padding"),
        "conv_transpose": "conv_transpose1d conv_transpose2d.input conv_transpose3d.input",
        "convolution": "convolution _convolution _convolution.deprecated",
        "conv_tbc": "conv_tbc",
        "linear": "linear",
        "matmul": "matmul mm bmm mv dot vdot",
        "matmul_into": "_int_mm mm.dtype bmm.dtype",
        "weight_int8_mm": "_weight_int8pack_mm",
        "addmm": "addmm",
        "plus_product": "addmv baddbmm",
        "addbmm": "addbmm",
        "addr": "addr",
        "outer": "outer ger",
        "einsum": "einsum",
        "bilinear": "bilinear",
        "batch_norm": "batch_norm",
        "native_batch_norm": "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit.no_stats "
        "_native_batch_norm_legit_no_training",
        "instance_norm": "instance_norm",
        "layer_norm": "layer_norm",
        "native_layer_norm": "native_layer_norm",
        "rms_norm": "rms_norm",
        "group_norm": "group_norm",
    },
)

DROPOUT = table(
    "dropout",
    {
        "dropout": "dropout feature_dropout",
        "alpha_dropout": "alpha_dropout feature_alpha_dropout",
        "native_dropout": "native_dropout",
        "rrelu": "rrelu",
    },
)

POOLING = table(
    "pooling",
    {
        "max_pool": _per_dim("max_pool{}"),
        "max_pool_with_indices": _per_dim("max_pool{}_with_indices"),
        "avg_pool": _per_dim("avg_pool{}"),
        "adaptive_avg_pool": _per_dim("adaptive_avg_pool{}") + " _adaptive_avg_pool2d _adaptive_avg_pool3d",
        "adaptive_max_pool": _per_dim("adaptive_max_pool{}"),
        "fractional_max_pool": "fractional_max_pool2d fractional_max_pool3d",
    },
)

VISION = table(
    "vision",
    {
        "pad": "pad",
        "constant_pad": "constant_pad_nd",
        "reflection_pad": _per_dim("reflection_pad{}"),
        "replication_pad": _per_dim("replication_pad{}"),
        "upsample": "upsample_nearest1d upsample_nearest1d.vec upsample_nearest2d upsample_nearest2d.vec "
        "upsample_nearest3d upsample_nearest3d.vec _upsample_nearest_exact1d _upsample_nearest_exact1d.vec "
        "_upsample_nearest_exact2d _upsample_nearest_exact2d.vec _upsample_nearest_exact3d "
        "_upsample_nearest_exact3d.vec upsample_linear1d upsample_linear1d.vec upsample_bilinear2d "
        "upsample_bilinear2d.vec upsample_trilinear3d upsample_trilinear3d.vec upsample_bicubic2d "
        "upsample_bicubic2d.vec _upsample_bilinear2d_aa _upsample_bilinear2d_aa.vec _upsample_bicubic2d_aa "
        "_upsample_bicubic2d_aa.vec",
        "grid_sampler": "grid_sampler grid_sampler_2d grid_sampler_3d",
        "pixel_shuffle": "pixel_shuffle",
    },
)

ATTENTION = (
    *table("attention", {"scaled_dot_product_attention": "scaled_dot_product_attention"}),
    *table(
        "attention_kernels",
        {
            "kernel": "_scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention "
            "_scaled_dot_product_cudnn_attention _scaled_dot_product_fused_attention_overrideable "
            "_scaled_dot_product_flash_attention_for_cpu"
        },
    ),
)

RECURRENT = table(
    "rnn",
    {
        "lstm": "lstm.input lstm.data",
        "gru": "gru.input gru.data",
        "rnn_tanh": "rnn_tanh.input rnn_tanh.data",
        "rnn_relu": "rnn_relu.input rnn_relu.data",
        "lstm_cell": "lstm_cell",
        "gru_cell": "gru_cell",
        "rnn_tanh_cell": "rnn_tanh_cell",
        "rnn_relu_cell": "rnn_relu_cell",
    },
)

LOSSES = table(
    "losses",
    {
        "linear_cross_entropy": "_linear_cross_entropy_batch_chunked.default",
        "linear_cross_entropy_rows": "_linear_cross_entropy_batch_chunked_no_reduction.default",
    },
    prefix="torch_nn.",
)

# While it traces, torch takes the loss of a single sample for a vector.
MARGINS = table(
    "losses",
    {"multilabel_margin_loss": "multilabel_margin_loss"},
    shapes="any2onnx.shape_calculators.pytorch.general:nothing_promised",
)

CONTROL_FLOW = table(
    "control_flow",
    {
        "cond": "cond",
        "while_loop": "while_loop",
        "scan": "scan",
        "map_": "map_impl",
        "associative_scan": "associative_scan",
        "inlined": "wrap_with_set_grad_enabled wrap_with_autocast wrap tag_activation_checkpoint",
    },
    prefix="higher_order.",
)

ONNX = (
    *table(
        "custom",
        {"symbolic": "onnx_symbolic._symbolic.default onnx_symbolic._symbolic_multi_out.default"},
        prefix="",
    ),
    *table(
        "custom",
        {"onnx_operator": "onnx.RotaryEmbedding.opset23 onnx.Attention.opset23"},
        prefix="",
        opset=(23, None),
    ),
)

PACKED = (
    *table("packed", {"pack": "_pack_padded_sequence"}),
    *table("packed", {"pad": "any2onnx.pad_packed_sequence.default"}, prefix=""),
)

GROUPED = (
    *table("grouped", {"grouped_mm": "_grouped_mm"}),
    *table("grouped", {"grouped_mm_of_library": "transformers.grouped_mm_fallback.default"}, prefix=""),
)

FAKE_QUANTIZED = table(
    "quantized",
    {
        "fake_quantize": "fake_quantize_per_tensor_affine_cachemask fake_quantize_per_channel_affine_cachemask "
        "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams"
    },
)

QUANTIZED = table(
    "quantized",
    {
        "quantize_per_tensor": "quantize_per_tensor.default quantize_per_tensor.tensor quantize_per_tensor.tensor2",
        "dequantize_per_tensor": "dequantize_per_tensor.default dequantize_per_tensor.tensor "
        "dequantize_per_tensor.tensor2",
        "quantize_per_channel": "quantize_per_channel.default",
        "dequantize_per_channel": "dequantize_per_channel.default",
        "quantize_per_token": "quantize_per_token.default",
        "dequantize_per_token": "dequantize_per_token.default",
        "quantize_per_channel_group": "quantize_per_channel_group.default",
        "dequantize_per_channel_group": "dequantize_per_channel_group.default",
        "choose_qparams": "choose_qparams.tensor",
        "choose_qparams_symmetric": "choose_qparams_symmetric.tensor",
        "choose_qparams_per_token_asymmetric": "choose_qparams_per_token_asymmetric.default "
        "_choose_qparams_per_token_asymmetric_impl.default",
    },
    prefix="quantized_decomposed.",
)

ROWS = (
    *QUANTIZED,
    *FAKE_QUANTIZED,
    *LAYERS,
    *GROUPED,
    *DROPOUT,
    *POOLING,
    *VISION,
    *ATTENTION,
    *RECURRENT,
    *LOSSES,
    *MARGINS,
    *PACKED,
    *CONTROL_FLOW,
    *ONNX,
)
