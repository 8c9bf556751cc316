"""Backend functions of Keras: what layers, operations and models come apart into when they are traced."""

from __future__ import annotations

from typing import Final

from any2onnx.operator_mappings.mapping import OperatorMapping

_CONVERTERS: Final = "any2onnx.converters.keras"
_SHAPES: Final = "any2onnx.shape_calculators.keras.backend:recorded"


def _rows(
    module: str, family: str, names: str, *, opset: tuple[int, int | None] = (13, None)
) -> tuple[OperatorMapping, ...]:
    """Return a row per name; `name=function` where the converter has another name than the function."""
    pairs = [(name, other or name) for name, _, other in (item.partition("=") for item in names.split())]
    return tuple(
        OperatorMapping(
            framework="keras",
            key=f"keras.backend.{module}.{name}",
            converter=f"{_CONVERTERS}.backend_{family}:{function}",
            shapes=_SHAPES,
            opset=opset,
        )
        for name, function in pairs
    )


def _refused(module: str, names: str, reason: str) -> tuple[OperatorMapping, ...]:
    return tuple(
        OperatorMapping(framework="keras", key=f"keras.backend.{module}.{name}", refused=reason)
        for name in names.split()
    )


_ELEMENTWISE: Final = """
    abs absolute add arccos arccosh arcsin arcsinh arctan arctanh bitwise_invert bitwise_left_shift bitwise_not
    bitwise_right_shift ceil clip conj conjugate copy cos cosh divide divide_no_nan equal exp fabs floor
    floor_divide fmax fmin fmod greater greater_equal imag isclose isfinite isinf isnan isneginf isposinf isreal
    left_shift less less_equal log logical_and logical_not logical_or logical_xor maximum minimum mod multiply
    nan_to_num negative not_equal power real reciprocal right_shift round select sign sin sinh sqrt square subtract
    tan tanh true_divide trunc where
"""

_SPECIAL: Final = """
    angle arctan2 cbrt deg2rad exp2 expm1 gcd heaviside hypot i0 lcm ldexp log10 log1p log2 logaddexp logaddexp2
    rad2deg signbit sinc
"""

_REDUCTIONS: Final = """
    all allclose amax amin any argmax argmin average count_nonzero cumprod cumsum diff max mean min nanargmax
    nanargmin nancumprod nancumsum nanmax nanmean nanmin nanprod nanstd nansum nanvar prod ptp std sum trapezoid var
"""

_ORDER: Final = """
    argpartition argsort digitize histogram isin median nanmedian nanpercentile nanquantile percentile quantile
    searchsorted sort
"""

_SHAPE_FUNCTIONS: Final = """
    append array_split broadcast_to concatenate dsplit dstack expand_dims flip fliplr flipud hsplit hstack meshgrid
    moveaxis pad ravel repeat reshape roll rot90 split squeeze stack swapaxes tile transpose vsplit vstack
"""

_CREATION: Final = """
    arange array bartlett blackman diag diagflat diagonal empty empty_like eye full full_like geomspace hamming
    hanning identity linspace logspace ndim ones ones_like size trace tri tril triu vander zeros zeros_like
"""

_ACTIVATIONS: Final = """
    batch_normalization binary_crossentropy categorical_crossentropy celu depth_to_space dot_product_attention elu fold
    gelu glu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu log_sigmoid log_softmax moments multi_hot one_hot
    psnr relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign space_to_depth
    sparse_categorical_crossentropy sparse_plus sparse_sigmoid sparsemax squareplus tanh tanh_shrink threshold unfold
"""

ROWS: Final[tuple[OperatorMapping, ...]] = (
    *_rows("numpy", "elementwise", _ELEMENTWISE),
    *_rows("numpy", "special", _SPECIAL),
    *_rows("numpy", "elementwise", "bitwise_and bitwise_or bitwise_xor", opset=(18, None)),
    *_rows("numpy", "reductions", _REDUCTIONS),
    *_rows("numpy", "order", _ORDER),
    *_rows("numpy", "order", "bincount", opset=(16, None)),
    *_rows("numpy", "shapes", _SHAPE_FUNCTIONS),
    *_rows("numpy", "creation", _CREATION),
    *_rows("numpy", "indexing", "nonzero take take_along_axis unravel_index"),
    *_rows("numpy", "linalg", "cross dot einsum inner kron matmul outer tensordot vdot"),
    *_rows("core", "indexing", "cast convert_to_tensor getitem slice=slice_ slice_update unstack"),
    *_rows("core", "indexing", "scatter", opset=(16, None)),
    *_rows("core", "indexing", "scatter_update", opset=(18, None)),
    *_rows("nn", "nn", _ACTIVATIONS),
    *_rows(
        "nn",
        "convolution",
        "adaptive_average_pool adaptive_max_pool average_pool conv conv_transpose depthwise_conv max_pool "
        "separable_conv",
    ),
    *_rows("math", "math", "cdist erf erfc erfinv extract_sequences in_top_k irfft logsumexp rsqrt top_k"),
    *_rows("math", "math", "segment_prod segment_sum", opset=(16, None)),
    *_rows("math", "math", "segment_max segment_min", opset=(18, None)),
    *_rows("math", "math", "fft fft2 ifft2 rfft", opset=(17, None)),
    *_rows("math", "signal", "istft"),
    *_rows("math", "signal", "stft", opset=(17, None)),
    *_rows("math", "decompositions", "logdet"),
    *_rows("numpy", "decompositions", "slogdet"),
    *_rows("numpy", "signal", "corrcoef correlate kaiser unique"),
    *_rows("linalg", "linalg", "det norm"),
    *_rows(
        "linalg",
        "decompositions",
        "cholesky cholesky_inverse eigh inv lstsq lu_factor matrix_rank pinv qr solve solve_triangular svd",
    ),
    *_rows(
        "image",
        "image",
        "gaussian_blur hsv_to_rgb resize rgb_to_grayscale rgb_to_hsv scale_and_translate sobel_edges",
    ),
    *_rows("image", "sampling", "affine_transform map_coordinates perspective_transform"),
    *_rows("random", "random", "categorical dropout normal randint shuffle truncated_normal uniform"),
    *_refused("image", "elastic_transform", "it moves pixels by noise of Keras's own generator"),
    *_refused("random", "beta binomial gamma", "ONNX draws uniform and normal numbers only"),
    *_refused("nn", "ctc_decode", "its beam search keeps a list of paths whose handling ONNX has no operators for"),
    *_refused("numpy", "nextafter view", "ONNX has no access to the bits of a float"),
    *_refused("linalg", "eig", "its values are complex, for which onnxruntime has no kernels"),
    *_refused("linalg", "jvp", "it is a derivative; inference needs none"),
)
