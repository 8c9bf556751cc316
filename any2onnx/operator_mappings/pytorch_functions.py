"""PyTorch: linear algebra, special functions, counting."""

from __future__ import annotations

from any2onnx.operator_mappings.pytorch_rows import refused, table

LINALG = table(
    "linalg",
    {
        "det": "_linalg_det",
        "slogdet": "_linalg_slogdet",
        "inverse": "linalg_inv_ex",
        "solve": "_linalg_solve_ex",
        "lu_factor": "linalg_lu_factor_ex",
        "cholesky": "linalg_cholesky_ex cholesky",
        "cholesky_solve": "cholesky_solve",
        "cholesky_inverse": "cholesky_inverse",
        "solve_triangular": "linalg_solve_triangular",
        "triangular_solve": "triangular_solve",
        "cdist": "_cdist_forward",
        "pdist": "_pdist_forward",
    },
)

FACTORS = table(
    "matrix_factors",
    {
        "lu_unpack": "lu_unpack",
        "lu": "linalg_lu",
        "lu_solve": "linalg_lu_solve",
        "matrix_exp": "linalg_matrix_exp matrix_exp",
    },
)

DECOMPOSITIONS = table(
    "matrix_decompositions",
    {
        "geqrf": "geqrf",
        "qr": "linalg_qr",
        "householder_product": "linalg_householder_product orgqr",
        "ormqr": "ormqr",
        "eigh": "_linalg_eigh",
        "svd": "_linalg_svd",
        "pinv": "linalg_pinv linalg_pinv.atol_rtol_float linalg_pinv.atol_rtol_tensor linalg_pinv.rcond_tensor",
    },
)

INDEFINITE = table(
    "indefinite",
    {"ldl_factor": "linalg_ldl_factor linalg_ldl_factor_ex", "ldl_solve": "linalg_ldl_solve"},
)

FLOATS = table("floats", {"frexp": "frexp.Tensor", "nextafter": "nextafter"})

HISTOGRAMS = table(
    "histograms",
    {
        "histogram": "histogram.bins_tensor histogram.bin_ct",
        "histogramdd": "histogramdd histogramdd.int_bins histogramdd.TensorList_bins",
        "segment_reduce": "segment_reduce",
    },
)

_POLYNOMIALS = {
    "chebyshev_t": "chebyshev_polynomial_t",
    "chebyshev_u": "chebyshev_polynomial_u",
    "chebyshev_v": "chebyshev_polynomial_v",
    "chebyshev_w": "chebyshev_polynomial_w",
    "shifted_chebyshev_t": "shifted_chebyshev_polynomial_t",
    "shifted_chebyshev_u": "shifted_chebyshev_polynomial_u",
    "shifted_chebyshev_v": "shifted_chebyshev_polynomial_v",
    "shifted_chebyshev_w": "shifted_chebyshev_polynomial_w",
    "hermite_h": "hermite_polynomial_h",
    "hermite_he": "hermite_polynomial_he",
    "laguerre_l": "laguerre_polynomial_l",
    "legendre_p": "legendre_polynomial_p",
}

SPECIAL = table(
    "special",
    {
        "lgamma": "lgamma special_gammaln",
        "digamma": "digamma special_digamma special_psi",
        "polygamma": "polygamma special_polygamma",
        "zeta": "special_zeta special_zeta.other_scalar special_zeta.self_scalar",
        "erfinv": "erfinv special_erfinv",
        "ndtri": "special_ndtri",
        "angle": "angle",
        "i0": "i0 special_i0 special_modified_bessel_i0",
        "i0e": "special_i0e",
        "i1": "special_i1 special_modified_bessel_i1",
        "i1e": "special_i1e",
        "k0": "special_modified_bessel_k0",
        "k1": "special_modified_bessel_k1",
        "k0e": "special_scaled_modified_bessel_k0",
        "k1e": "special_scaled_modified_bessel_k1",
        "j0": "special_bessel_j0",
        "j1": "special_bessel_j1",
        "y0": "special_bessel_y0",
        "y1": "special_bessel_y1",
        "spherical_j0": "special_spherical_bessel_j0",
        "airy": "special_airy_ai",
        "erfcx": "special_erfcx",
        "log_ndtr": "special_log_ndtr",
        "igamma": "igamma special_gammainc",
        "igammac": "igammac special_gammaincc",
    },
)

ORTHOGONAL = table(
    "orthogonal",
    {
        function: f"special_{name} special_{name}.x_scalar special_{name}.n_scalar"
        for function, name in _POLYNOMIALS.items()
    },
)

COUNTING = table(
    "counting",
    {
        "unique": "_unique2",
        "unique_dim": "unique_dim",
        "bincount": "bincount",
        "histc": "histc",
        "put": "put",
        "index_reduce": "index_reduce",
        "nonzero_static": "nonzero_static",
        "embedding_bag": "embedding_bag embedding_bag.padding_idx _embedding_bag _embedding_bag_forward_only",
        "repeat_interleave": "repeat_interleave.self_Tensor",
        "repeat_interleave_positions": "repeat_interleave.Tensor",
        "embedding_renorm": "embedding_renorm",
        "gcd": "gcd",
        "lcm": "lcm",
    },
)

# torch's own shape rule gives these results a dim too many for some dims.
UNCHECKED = table(
    "counting",
    {"unique_consecutive": "unique_consecutive"},
    shapes="any2onnx.shape_calculators.pytorch.general:nothing_promised",
)

_INDEFINITE = "factors of indefinite complex matrices have no form in ONNX operators yet; use linalg.solve"

_SPARSE = "ONNX has no sparse tensors at run time"
_LDL = "linalg_ldl_factor linalg_ldl_factor_ex linalg_ldl_solve"
_TO_SPARSE = "_to_sparse _to_sparse.sparse_dim to_sparse to_sparse.sparse_dim"

REFUSED = (
    *refused(_INDEFINITE, _LDL, prefix="complex.aten."),
    *(row for prefix in ("aten.", "complex.aten.") for row in refused(_SPARSE, _TO_SPARSE, prefix=prefix)),
    *refused("ONNX has no view of a number's bits", "hash_tensor"),
    *refused(
        "torch's own quantized tensors are no ONNX tensors; quantize by pt2e",
        "quantize_per_tensor quantize_per_tensor.tensor_qparams quantize_per_tensor.tensors quantize_per_channel "
        "quantize_per_tensor_dynamic dequantize.self dequantize.tensors int_repr",
    ),
    *refused("the packed form of 4-bit weights is torch's own", "_weight_int4pack_mm _weight_int4pack_mm_for_cpu"),
)

ROWS = (
    *REFUSED,
    *UNCHECKED,
    *LINALG,
    *FACTORS,
    *DECOMPOSITIONS,
    *INDEFINITE,
    *FLOATS,
    *HISTOGRAMS,
    *SPECIAL,
    *ORTHOGONAL,
    *COUNTING,
)
