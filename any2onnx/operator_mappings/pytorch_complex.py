"""PyTorch: operators on complex tensors, which are pairs of real ones.

Keys carry the prefix ``complex.``: a node that reads or makes complex tensors is looked up here.
"""

from __future__ import annotations

from any2onnx.operator_mappings.pytorch_rows import table

PREFIX = "complex.aten."

PAIRS = table(
    "complex_pairs",
    {
        # Linear operators, and those that only move elements: the real rows, once for each part.
        "linear": "view reshape _unsafe_view flatten.using_ints unflatten.int view_as reshape_as view_copy "
        "_reshape_copy ravel squeeze squeeze.dim squeeze.dims squeeze_copy squeeze_copy.dim squeeze_copy.dims "
        "unsqueeze unsqueeze_copy permute permute_copy "
        "transpose.int transpose_ swapaxes swapdims transpose_copy.int t mT "
        "t_copy "
        "numpy_T movedim.intlist movedim.int moveaxis.intlist moveaxis.int expand expand_as broadcast_to expand_copy "
        "resize_ resize_as_ resize resize_as "
        "repeat tile repeat_interleave.self_int repeat_interleave.self_Tensor cat concat concatenate stack "
        "split.Tensor split_with_sizes split.sizes chunk unsafe_split.Tensor unsafe_chunk tensor_split.sections "
        "tensor_split.indices unsafe_split_with_sizes split_copy.Tensor split_with_sizes_copy unbind.int "
        "unbind_copy.int select.int select_copy.int slice.Tensor slice_copy.Tensor narrow narrow_copy flip roll "
        "diagonal diagonal_copy linalg_diagonal tril triu select_scatter slice_scatter as_strided as_strided_copy "
        "diagonal_scatter as_strided_scatter unfold unfold_copy copy "
        "detach alias clone contiguous lift_fresh_copy lift_fresh lift positive resolve_conj resolve_neg detach_copy "
        "alias_copy _reshape_alias_copy dropout feature_dropout alpha_dropout feature_alpha_dropout "
        "neg negative sum sum.dim_IntList nansum cumsum gather index_select embedding take masked_select "
        "masked_fill.Scalar masked_fill.Tensor masked_scatter index.Tensor _unsafe_index.Tensor index_put "
        "_unsafe_index_put scatter.src scatter.value scatter_add index_copy put "
        "index_fill.int_Scalar index_fill.int_Tensor pad constant_pad_nd reflection_pad1d reflection_pad2d "
        "reflection_pad3d replication_pad1d replication_pad2d replication_pad3d pixel_shuffle "
        "linspace linspace.Tensor_Tensor linspace.Tensor_Scalar linspace.Scalar_Tensor",
        "structure": "sym_size.int sym_numel sym_stride.int sym_storage_offset _assert_tensor_metadata",
    },
    prefix=PREFIX,
)

_MATH = (
    "exp log sqrt sinh cosh tanh asinh acosh atanh sin cos tan asin acos atan reciprocal rsqrt sigmoid silu expm1 "
    "log1p square sinc log2 log10 exp2 sgn logaddexp"
)
_TENSORS = "polar view_as_complex view_as_real real imag angle isnan isinf isfinite isreal"

MATH = table(
    "complex_math",
    {
        **{name: name for name in _MATH.split()},
        "add": "add.Tensor add.Scalar",
        "sub": "sub.Tensor sub.Scalar",
        "rsub": "rsub.Tensor rsub.Scalar",
        "mul": "mul.Tensor mul.Scalar",
        "div": "div.Tensor div.Scalar true_divide.Tensor true_divide.Scalar",
        "power": "pow.Tensor_Tensor pow.Tensor_Scalar pow.Scalar",
        "where": "where.self where.ScalarSelf where.ScalarOther where.Scalar",
        "conj": "conj _conj conj_physical _conj_physical _conj_copy",
    },
    prefix=PREFIX,
)

TENSORS = table(
    "complex_tensors",
    {
        **{name: name for name in _TENSORS.split()},
        "absolute": "abs absolute",
        "complex_": "complex",
        "to": "to.dtype to.device to.dtype_layout to.other to.prim_Device to.prim_dtype to.prim_other _to_copy type_as",
        "full": "full full_like new_full zeros zeros_like new_zeros zero empty.memory_format empty_like new_empty "
        "empty_strided new_empty_strided empty_permuted ones ones_like new_ones fill.Scalar fill.Tensor scalar_tensor",
        "eye": "eye eye.m",
        "scatter_reduced": "scatter.reduce scatter.value_reduce scatter_reduce.two",
        "randn": "randn randn_like randn.generator normal_",
        "rand": "rand rand_like rand.generator uniform",
        "eq": "eq.Tensor eq.Scalar",
        "ne": "ne.Tensor ne.Scalar",
        "truth": "any any.dim any.dims all all.dim all.dims logical_and logical_or logical_xor logical_not "
        "count_nonzero count_nonzero.dim_IntList nonzero argwhere nonzero_numpy nonzero_static",
    },
    prefix=PREFIX,
)

LINALG = table(
    "complex_linalg",
    {
        "matmul": "matmul mm bmm mv dot vdot",
        "plus_product": "addmm addmv baddbmm addbmm addr",
        "outer": "outer ger",
        "linear": "linear",
        "einsum": "einsum",
        "convolution": "conv1d conv2d conv3d conv1d.padding conv2d.padding conv3d.padding conv_transpose1d "
        "conv_transpose2d.input conv_transpose3d.input convolution",
        "mean": "mean mean.dim",
        "vector_norm": "linalg_vector_norm norm.Scalar norm.ScalarOpt_dim norm.ScalarOpt_dim_dtype "
        "norm.ScalarOpt_dtype",
        "variance": "var var.dim var.correction std std.dim std.correction var_mean var_mean.dim var_mean.correction "
        "std_mean std_mean.dim std_mean.correction",
        "prod": "prod prod.dim_int",
        "cumprod": "cumprod",
        "logsumexp": "logsumexp special_logsumexp",
        "softmax": "softmax.int _softmax special_softmax log_softmax.int _log_softmax special_log_softmax",
        "conjugate_transposed": "mH adjoint matrix_H",
        "inverse": "linalg_inv_ex",
        "logcumsumexp": "logcumsumexp",
    },
    prefix=PREFIX,
)

MATRICES = table(
    "complex_matrices",
    {
        "det": "_linalg_det",
        "slogdet": "_linalg_slogdet",
        "solve": "_linalg_solve_ex",
        "lu_factor": "linalg_lu_factor_ex",
        "lu": "linalg_lu",
        "lu_unpack": "lu_unpack",
        "lu_solve": "linalg_lu_solve",
        "cholesky": "linalg_cholesky_ex cholesky",
        "cholesky_solve": "cholesky_solve",
        "cholesky_inverse": "cholesky_inverse",
        "solve_triangular": "linalg_solve_triangular",
        "triangular_solve": "triangular_solve",
        "matrix_exp": "linalg_matrix_exp matrix_exp",
        "pinv": "linalg_pinv linalg_pinv.atol_rtol_float linalg_pinv.atol_rtol_tensor linalg_pinv.rcond_tensor",
    },
    prefix=PREFIX,
)

EIGENVALUES = table(
    "eigenvalues",
    {"eig": "linalg_eig", "eigvals": "linalg_eigvals _linalg_eigvals"},
    prefix=PREFIX,
)

SPECTRA = table(
    "complex_spectra",
    {
        "geqrf": "geqrf",
        "qr": "linalg_qr",
        "householder_product": "linalg_householder_product orgqr",
        "ormqr": "ormqr",
        "eigh": "_linalg_eigh",
        "svd": "_linalg_svd",
    },
    prefix=PREFIX,
)

FOURIER = table("fft", {"c2c": "_fft_c2c", "r2c": "_fft_r2c", "c2r": "_fft_c2r"}, prefix=PREFIX)

ROWS = (*PAIRS, *MATH, *TENSORS, *LINALG, *MATRICES, *SPECTRA, *EIGENVALUES, *FOURIER)
