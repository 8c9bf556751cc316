"""scikit-learn: projections, naive Bayes, discriminant analysis, perceptrons, clustering, dummies."""

from __future__ import annotations

from typing import Final

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import CLASSIFIER, CLASSIFIER_OPTIONS, CLUSTERER_OPTIONS, row

_BOTH: Final = "transform inverse_transform"
_PCA: Final = (
    "n_components copy svd_solver tol iterated_power n_oversamples power_iteration_normalizer random_state batch_size"
)
_SPARSE_PCA: Final = (
    "n_components alpha max_iter tol method n_jobs U_init V_init verbose random_state callback batch_size shuffle "
    "max_no_improvement"
)
_BAYES: Final = "alpha force_alpha fit_prior class_prior priors var_smoothing min_categories norm"
_MLP: Final = (
    "hidden_layer_sizes solver alpha batch_size learning_rate learning_rate_init power_t max_iter shuffle random_state "
    "tol verbose warm_start momentum nesterovs_momentum early_stopping validation_fraction beta_1 beta_2 epsilon "
    "n_iter_no_change max_fun"
)
_KMEANS: Final = (
    "n_clusters init n_init max_iter tol verbose random_state copy_x algorithm batch_size compute_labels "
    "max_no_improvement init_size reassignment_ratio"
)

_PROJECTIONS: Final = (
    *(
        row(
            f".decomposition.{name}",
            "decomposition:pca",
            "common:components",
            methods=f"{_BOTH} score_samples",
            honours="whiten",
            irrelevant=_PCA,
        )
        for name in ("PCA", "IncrementalPCA")
    ),
    row(
        ".decomposition.TruncatedSVD",
        "decomposition:truncated_svd",
        "common:components",
        methods=_BOTH,
        irrelevant=f"{_PCA} algorithm n_iter",
    ),
    row(
        ".decomposition.FactorAnalysis",
        "decomposition:factor_analysis",
        "common:components",
        methods="transform score_samples",
        irrelevant=f"{_PCA} max_iter noise_variance_init svd_method rotation",
    ),
    row(
        ".decomposition.FastICA",
        "decomposition:fast_ica",
        "common:components",
        methods=_BOTH,
        honours="whiten",
        irrelevant="n_components algorithm fun fun_args max_iter tol w_init whiten_solver random_state",
    ),
    *(
        row(
            f".decomposition.{name}",
            "decomposition:sparse_pca",
            "common:components",
            methods=_BOTH,
            honours="ridge_alpha",
            irrelevant=_SPARSE_PCA,
        )
        for name in ("SparsePCA", "MiniBatchSparsePCA")
    ),
    *(
        row(
            f".random_projection.{name}",
            "decomposition:random_projection",
            "common:components",
            methods=_BOTH,
            irrelevant="n_components eps compute_inverse_components random_state density dense_output",
        )
        for name in ("GaussianRandomProjection", "SparseRandomProjection")
    ),
    *(
        row(
            f".cross_decomposition.{name}",
            "decomposition:partial_least_squares",
            methods="predict transform inverse_transform",
            honours="scale",
            irrelevant="n_components max_iter tol copy algorithm",
        )
        for name in ("PLSRegression", "PLSCanonical", "CCA")
    ),
    row(
        ".cross_decomposition.PLSSVD",
        "decomposition:pls_svd",
        methods="transform",
        honours="scale",
        irrelevant="n_components copy",
    ),
)

_CLASSIFIERS: Final = (
    *(
        row(
            f".naive_bayes.{name}",
            f"naive_bayes:{converter}",
            "common:classifier",
            methods="predict predict_proba predict_log_proba",
            honours=honours,
            irrelevant=_BAYES,
            options=CLASSIFIER_OPTIONS,
        )
        for name, converter, honours in (
            ("GaussianNB", "gaussian_nb", ""),
            ("MultinomialNB", "multinomial_nb", ""),
            ("ComplementNB", "complement_nb", ""),
            ("BernoulliNB", "bernoulli_nb", "binarize"),
            ("CategoricalNB", "categorical_nb", ""),
        )
    ),
    row(
        ".discriminant_analysis.LinearDiscriminantAnalysis",
        "naive_bayes:linear_discriminant",
        "common:discriminant",
        methods=f"{CLASSIFIER} transform",
        honours="solver n_components",
        irrelevant="shrinkage priors store_covariance tol covariance_estimator",
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".discriminant_analysis.QuadraticDiscriminantAnalysis",
        "naive_bayes:quadratic_discriminant",
        "common:classifier",
        methods=CLASSIFIER,
        irrelevant="solver shrinkage priors reg_param store_covariance tol covariance_estimator",
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".neural_network.MLPClassifier",
        "neural_network:mlp_classifier",
        "common:perceptron",
        methods="predict predict_proba predict_log_proba",
        honours="activation",
        irrelevant=_MLP,
        options=CLASSIFIER_OPTIONS,
    ),
    row(
        ".dummy.DummyClassifier",
        "dummy:dummy_classifier",
        "common:classifier",
        methods="predict predict_proba predict_log_proba",
        honours="strategy constant",
        irrelevant="random_state",
        options=CLASSIFIER_OPTIONS,
        note="strategies that draw at random are refused",
    ),
)

_OTHERS: Final = (
    row(
        ".neural_network.MLPRegressor",
        "neural_network:mlp_regressor",
        "common:outputs_regressor",
        methods="predict",
        honours="activation loss",
        irrelevant=_MLP,
    ),
    row(
        ".dummy.DummyRegressor",
        "dummy:dummy_regressor",
        "common:outputs_regressor",
        methods="predict predict_std",
        honours="strategy constant quantile",
    ),
    *(
        row(
            f".cluster.{name}",
            "cluster:k_means",
            "common:clusterer",
            methods="predict transform",
            irrelevant=_KMEANS,
            options=CLUSTERER_OPTIONS,
        )
        for name in ("KMeans", "MiniBatchKMeans")
    ),
    row(
        ".cluster.MeanShift",
        "cluster:nearest_centre",
        "common:nearest",
        methods="predict",
        irrelevant="bandwidth seeds bin_seeding min_bin_freq cluster_all n_jobs max_iter",
        options=CLUSTERER_OPTIONS,
    ),
    row(
        ".cluster.AffinityPropagation",
        "cluster:nearest_centre",
        "common:nearest",
        methods="predict",
        irrelevant="damping max_iter convergence_iter copy preference affinity verbose random_state",
        options=CLUSTERER_OPTIONS,
    ),
)

ROWS: Final[tuple[OperatorMapping, ...]] = (*_PROJECTIONS, *_CLASSIFIERS, *_OTHERS)
