"""scikit-learn: factorizations, topics, sparse codes."""

from __future__ import annotations

from typing import Final

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import row

_BOTH: Final = "transform inverse_transform"

_DICTIONARY: Final = (
    "transform_algorithm transform_n_nonzero_coefs transform_alpha split_sign positive_code transform_max_iter"
)
_DICTIONARY_FIT: Final = (
    "n_components max_iter tol fit_algorithm n_jobs code_init dict_init callback verbose random_state positive_dict "
    "batch_size shuffle max_no_improvement"
)

ROWS: Final[tuple[OperatorMapping, ...]] = (
    row(
        ".decomposition.NMF",
        "factorization:nmf",
        "common:components",
        methods=_BOTH,
        honours="n_components solver beta_loss tol max_iter alpha_W alpha_H l1_ratio shuffle random_state",
        irrelevant="init verbose",
    ),
    row(
        ".decomposition.MiniBatchNMF",
        "factorization:mini_batch_nmf",
        "common:components",
        methods=_BOTH,
        honours="n_components beta_loss tol alpha_W alpha_H l1_ratio max_iter transform_max_iter",
        irrelevant=(
            "init batch_size max_no_improvement forget_factor fresh_restarts fresh_restarts_max_iter random_state "
            "verbose"
        ),
    ),
    row(
        ".decomposition.LatentDirichletAllocation",
        "factorization:latent_dirichlet_allocation",
        "common:components",
        methods="transform",
        honours="n_components doc_topic_prior topic_word_prior mean_change_tol max_doc_update_iter",
        irrelevant=(
            "learning_method learning_decay learning_offset max_iter batch_size evaluate_every total_samples perp_tol "
            "n_jobs verbose random_state"
        ),
    ),
    row(
        ".neural_network.BernoulliRBM",
        "factorization:bernoulli_rbm",
        "common:components",
        methods="transform",
        honours="n_components",
        irrelevant="learning_rate batch_size n_iter verbose random_state",
        note="score_samples draws random numbers",
    ),
    *(
        row(
            f".decomposition.{name}",
            "sparse_coding:sparse_coder",
            "decomposition:sparse_codes",
            methods=_BOTH,
            honours=f"{_DICTIONARY} {more}",
            irrelevant=_DICTIONARY_FIT,
            note="refused: transform_algorithm='lars', and 'lasso_lars' with positive_code=True",
        )
        for name, more in (
            ("SparseCoder", "dictionary"),
            ("DictionaryLearning", "alpha"),
            ("MiniBatchDictionaryLearning", "alpha"),
        )
    ),
)
