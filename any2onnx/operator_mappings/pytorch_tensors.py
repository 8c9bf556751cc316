"""PyTorch: views, indexing, reductions, sorting, creation."""

from __future__ import annotations

from any2onnx.operator_mappings.pytorch_rows import table

SHAPES = table(
    "shapes",
    {
        "view": "view reshape _unsafe_view flatten.using_ints unflatten.int view_as reshape_as view_copy "
        "_reshape_copy ravel",
        "view_dtype": "view.dtype",
        "set_source": "set.source_Tensor",
        "squeeze": "squeeze squeeze.dim squeeze.dims squeeze_copy squeeze_copy.dim squeeze_copy.dims",
        "unsqueeze": "unsqueeze unsqueeze_copy",
        "permute": "permute permute_copy",
        "transpose": "transpose.int transpose_ swapaxes swapdims transpose_copy.int",
        "last_two": "t mT matrix_H mH adjoint t_copy",
        "reversed_dims": "numpy_T",
        "movedim": "movedim.intlist movedim.int moveaxis.intlist moveaxis.int",
        "expand": "expand expand_as broadcast_to expand_copy",
        "repeat": "repeat tile",
        "repeat_interleave": "repeat_interleave.self_int",
        "cat": "cat concat concatenate",
        "stack": "stack",
        "split": "split.Tensor split_with_sizes split.sizes chunk unsafe_split.Tensor unsafe_chunk "
        "tensor_split.sections tensor_split.indices unsafe_split_with_sizes split_copy.Tensor split_with_sizes_copy",
        "unbind": "unbind.int unbind_copy.int",
        "select": "select.int select_copy.int",
        "slice_tensor": "slice.Tensor slice_copy.Tensor",
        "narrow": "narrow narrow_copy",
        "flip": "flip",
        "roll": "roll",
        "diagonal": "diagonal diagonal_copy linalg_diagonal",
        "triangle": "tril triu",
        "select_scatter": "select_scatter",
        "slice_scatter": "slice_scatter",
        "as_strided": "as_strided as_strided_copy",
        "diagonal_scatter": "diagonal_scatter",
        "as_strided_scatter": "as_strided_scatter",
        "resize": "resize_ resize_as_ resize resize_as",
        "unfold_windows": "unfold unfold_copy",
        "to": "to.dtype to.device to.dtype_layout to.other to.prim_Device to.prim_dtype to.prim_other _to_copy type_as "
        "_autocast_to_full_precision _autocast_to_reduced_precision",
        "copy": "copy",
        "one_hot_axis": "one_hot",
        "nothing": "_assert_tensor_metadata _assert_scalar _assert_async _assert_async.msg sym_constrain_range "
        "sym_constrain_range_for_size _functional_assert_async.msg _functional_assert_scalar _linalg_check_errors",
    },
)

SHAPES_OTHER = table(
    "shapes",
    {
        "to": "prims.convert_element_type.default",
        "nothing": "torch._C._set_grad_enabled torch._check builtins.print torch.sym_constrain_range_for_size",
    },
    prefix="",
)

CREATION = table(
    "creation",
    {
        "full": "full full_like new_full",
        "zeros": "zeros zeros_like new_zeros zero empty.memory_format empty_like new_empty empty_strided "
        "new_empty_strided empty_permuted",
        "ones": "ones ones_like new_ones",
        "fill": "fill.Scalar fill.Tensor",
        "scalar_tensor": "scalar_tensor",
        "arange": "arange arange.start arange.start_step",
        "linspace": "linspace linspace.Tensor_Tensor linspace.Tensor_Scalar linspace.Scalar_Tensor",
        "logspace": "logspace logspace.Tensor_Tensor logspace.Tensor_Scalar logspace.Scalar_Tensor",
        "eye": "eye eye.m",
        "triangle_indices": "tril_indices triu_indices",
        "rand": "rand rand_like rand.generator rand_like.generator",
        "randn": "randn randn_like randn.generator randn_like.generator",
        "randint": "randint randint.low randint_like randint_like.low_dtype randint_like.Tensor randint.generator "
        "randint.low_generator",
        "uniform": "uniform",
        "multinomial": "multinomial",
        "normal": "normal.Tensor_float normal.float_Tensor normal.Tensor_Tensor normal.float_float "
        "normal_functional normal_",
        "bernoulli": "bernoulli bernoulli.p bernoulli.Tensor bernoulli.float",
    },
)

DISTRIBUTIONS = table(
    "distributions",
    {
        "randperm": "randperm randperm.generator",
        "random": "random random.from random.to",
        "poisson": "poisson",
        "standard_gamma": "_standard_gamma",
    },
)

INDEXING = table(
    "indexing",
    {
        "gather": "gather",
        "index_select": "index_select",
        "embedding": "embedding",
        "take": "take",
        "nonzero": "nonzero argwhere",
        "nonzero_numpy": "nonzero_numpy where",
        "masked_select": "masked_select",
        "masked_fill": "masked_fill.Scalar masked_fill.Tensor",
        "masked_scatter": "masked_scatter",
        "index": "index.Tensor _unsafe_index.Tensor",
        "index_put": "index_put _unsafe_index_put",
        "scatter": "scatter.src scatter.value scatter.reduce scatter.value_reduce",
        "scatter_add": "scatter_add",
        "scatter_reduce": "scatter_reduce.two",
        "index_add": "index_add",
        "index_copy": "index_copy",
        "index_fill": "index_fill.int_Scalar index_fill.int_Tensor",
        "isin": "isin.Tensor_Tensor isin.Tensor_Scalar isin.Scalar_Tensor",
        "bucketize": "bucketize.Tensor bucketize.Scalar",
        "searchsorted": "searchsorted.Tensor searchsorted.Scalar",
    },
)

REDUCTIONS = table(
    "reductions",
    {
        "sum_": "sum sum.dim_IntList",
        "nansum": "nansum",
        "mean": "mean mean.dim",
        "prod": "prod prod.dim_int",
        "amax": "amax max",
        "amin": "amin min",
        "aminmax": "aminmax",
        "argmax": "argmax",
        "argmin": "argmin",
        "max_dim": "max.dim",
        "min_dim": "min.dim",
        "any_": "any any.dim any.dims _is_any_true",
        "all_": "all all.dim all.dims _is_all_true",
        "count_nonzero": "count_nonzero count_nonzero.dim_IntList",
        "var": "var var.dim var.correction",
        "std": "std std.dim std.correction",
        "var_mean": "var_mean var_mean.dim var_mean.correction",
        "std_mean": "std_mean std_mean.dim std_mean.correction",
        "logsumexp": "logsumexp special_logsumexp",
        "vector_norm": "linalg_vector_norm norm.Scalar norm.ScalarOpt_dim norm.ScalarOpt_dim_dtype "
        "norm.ScalarOpt_dtype",
        "dist": "dist",
        "cumsum": "cumsum",
        "cumprod": "cumprod",
        "logcumsumexp": "logcumsumexp",
        "cummax": "cummax",
        "cummin": "cummin",
        "sort": "sort sort.stable",
        "argsort": "argsort argsort.stable",
        "topk": "topk",
        "kthvalue": "kthvalue",
        "median": "median nanmedian",
        "median_dim": "median.dim nanmedian.dim",
        "mode": "mode",
    },
)

ROWS = (*SHAPES, *SHAPES_OTHER, *CREATION, *DISTRIBUTIONS, *INDEXING, *REDUCTIONS)
