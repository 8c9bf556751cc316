"""What the generated suite tells single classes: values of their parameters, what goes together, what is refused.

See suite_values for what holds for all classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import linear_model, naive_bayes, neighbors, preprocessing, svm
from sklearn.cluster import AgglomerativeClustering
from sklearn.decomposition import PCA
from suite_values import (
    CLASSIFIERS,
    FLAG_METRICS,
    KERNELS,
    LOGISTIC,
    REGRESSORS,
    RIDGE,
    TREE,
    TREE_REGRESSOR,
    Arguments,
    fading,
)

_STOP_WORDS = ["dog", "été", "мир"]
_SEARCHED = {"estimator": TREE, "param_grid": {"max_depth": [2, 3]}}
_SEARCHED_AT_RANDOM = {"estimator": TREE, "param_distributions": {"max_depth": [2, 3]}}
_GRID = [{"C": [0.1, 1.0]}, {"C": [3.0], "fit_intercept": [False]}]

# By class and parameter.
OWN: dict[str, dict[str, list[Any]]] = {
    "AdaBoostClassifier": {"estimator": [TREE, LOGISTIC]},
    "AdaBoostRegressor": {"estimator": [TREE_REGRESSOR, RIDGE]},
    "AdditiveChi2Sampler": {"sample_interval": [0.6], "sample_steps": [1, 3]},
    "BaggingClassifier": {
        "estimator": [LOGISTIC, svm.LinearSVC(), neighbors.KNeighborsClassifier(), linear_model.Perceptron()],
        "max_features": [0.5],
        "bootstrap_features": [True],
    },
    "BaggingRegressor": {"estimator": [RIDGE, neighbors.KNeighborsRegressor()], "max_features": [0.5]},
    "BernoulliNB": {"binarize": [2.0, 1.5]},
    "BernoulliRBM": {"n_components": [3]},
    "Binarizer": {"threshold": [2.5]},
    "Birch": {"n_clusters": [None, 4, AgglomerativeClustering(2)]},
    "CalibratedClassifierCV": {"estimator": [svm.LinearSVC(), TREE, naive_bayes.GaussianNB()]},
    "ClassifierChain": {
        "estimator": [TREE, svm.LinearSVC()],
        "order": [[2, 0, 1], "random"],
        "base_estimator": [],
        "chain_method": ["predict_proba", "predict_log_proba", "decision_function"],
    },
    "ColumnTransformer": {
        "transformers": [
            [("a", preprocessing.MinMaxScaler(), slice(1, 3)), ("b", "drop", [0])],
            [("a", PCA(1), [True, True, False, False]), ("b", "passthrough", [-1])],
        ],
        "remainder": ["drop", preprocessing.RobustScaler()],
        "transformer_weights": [{"transformer_weights": {"s": 2.0, "remainder": 0.5}}],
    },
    "CountVectorizer": {
        "max_df": [0.5, 3],
        "min_df": [2, 0.1],
        "max_features": [9],
        "ngram_range": [
            (1, 2),
            {"ngram_range": (2, 3), "analyzer": "char"},
            {"ngram_range": (3, 4), "analyzer": "char_wb"},
        ],
        "stop_words": [_STOP_WORDS],
        "token_pattern": [r"\b[a-zé]{3,}\b", r"\S+"],
        "vocabulary": [["dog", "été", "мир", "english", "fox"]],
        "preprocessor": [],
        "tokenizer": [],
        "input": [],
    },
    "DictionaryLearning": {
        "alpha": [0.4],
        "transform_alpha": [{"transform_alpha": 0.2, "transform_algorithm": "lasso_cd"}],
        "transform_n_nonzero_coefs": [2],
        "transform_max_iter": [{"transform_max_iter": 5, "transform_algorithm": "lasso_cd"}],
    },
    "DictVectorizer": {"separator": ["::"]},
    "DummyClassifier": {"constant": [{"constant": 1, "strategy": "constant"}]},
    "DummyRegressor": {
        "constant": [{"constant": -1.5, "strategy": "constant"}],
        "quantile": [{"quantile": 0.8, "strategy": "quantile"}],
    },
    "EllipticEnvelope": {"assume_centered": [True]},
    "FeatureAgglomeration": {"pooling_func": [np.median, np.max, np.min, np.sum, np.prod]},
    "FeatureHasher": {"input_type": []},
    "FeatureUnion": {
        "transformer_list": [[("a", "passthrough"), ("b", preprocessing.MinMaxScaler()), ("c", "drop")]],
        "transformer_weights": [{"transformer_weights": {"s": 3.0, "p": 0.5}}],
    },
    "FixedThresholdClassifier": {
        "estimator": [TREE, svm.LinearSVC()],
        "threshold": ["auto", 0.7],
        "pos_label": [False],
        "response_method": ["predict_proba", {"response_method": "decision_function", "threshold": 0.8}],
    },
    "FrozenEstimator": {"estimator": [RIDGE, PCA(2)]},
    "FunctionTransformer": {
        "func": [None, np.sqrt],
        "inverse_func": [None],
        "kw_args": [{"func": np.clip, "kw_args": {"a_min": 0.5, "a_max": 3.0}, "inverse_func": None}],
        "inv_kw_args": [{"func": np.sqrt, "inverse_func": np.clip, "inv_kw_args": {"a_min": 0.1, "a_max": 2.0}}],
    },
    "GaussianProcessClassifier": {"kernel": [*KERNELS[:4], *KERNELS[5:]], "multi_class": ["one_vs_one"]},
    "GaussianProcessRegressor": {
        "alpha": [1e-3, np.linspace(0.01, 0.1, 150)],
        "kernel": list(KERNELS[1:5]),
        "n_targets": [2],
    },
    "GenericUnivariateSelect": {"param": [3]},
    "GradientBoostingClassifier": {"init": ["zero", TREE]},
    "GradientBoostingRegressor": {"init": ["zero", RIDGE]},
    "GridSearchCV": {"estimator": [_SEARCHED], "param_grid": [_GRID], "refit": []},
    "HalvingGridSearchCV": {"estimator": [_SEARCHED], "param_grid": [_GRID], "refit": []},
    "HalvingRandomSearchCV": {"estimator": [_SEARCHED_AT_RANDOM], "param_distributions": [_GRID[1]], "refit": []},
    "HashingVectorizer": {
        "n_features": [64, 7],
        "ngram_range": [(1, 2), {"ngram_range": (2, 3), "analyzer": "char_wb"}],
        "stop_words": [_STOP_WORDS],
        "token_pattern": [r"\S+"],
        "preprocessor": [],
        "tokenizer": [],
        "input": [],
    },
    "HistGradientBoostingClassifier": {
        "max_features": [0.5],
        "scoring": [{"scoring": "accuracy", "early_stopping": True}],
    },
    "HistGradientBoostingRegressor": {
        "max_features": [0.5],
        "quantile": [{"quantile": 0.7, "loss": "quantile"}],
        "scoring": [{"scoring": "neg_mean_squared_error", "early_stopping": True}],
        "monotonic_cst": [[1, 0, -1, 0, 0, 0, 0, 0, 0, 0]],
        "interaction_cst": [[{0, 1, 2}, {3, 4, 5, 6, 7, 8, 9}]],
        "class_weight": [],
    },
    "IsolationForest": {"max_samples": [40, 0.5], "max_features": [0.5]},
    "Isomap": {"metric": ["manhattan", "cosine"], "radius": [{"radius": 20.0, "n_neighbors": None}]},
    "IsotonicRegression": {"y_min": [60.0], "y_max": [200.0]},
    "IterativeImputer": {
        "estimator": [RIDGE, TREE_REGRESSOR],
        "min_value": [0.5, [0.0, 1.0, 0.5, 0.0]],
        "max_value": [3.0, [5.0, 4.0, 3.0, 2.0]],
        "max_iter": [0, 2],
        "fill_value": [{"fill_value": 2.5, "initial_strategy": "constant"}],
        "sample_posterior": [],
    },
    "KBinsDiscretizer": {"dtype": [], "n_bins": [3, [2, 3, 4, 5]]},
    "KernelDensity": {
        "metric": ["manhattan", "chebyshev"],
        "metric_params": [{"metric": "minkowski", "metric_params": {"p": 3}}],
    },
    "KernelPCA": {"n_components": [2, None], "kernel_params": []},
    "KernelRidge": {"degree": [{"degree": 2, "kernel": "poly"}], "kernel_params": []},
    "KNeighborsTransformer": {"n_neighbors": [3]},
    "LabelBinarizer": {"neg_label": [-1], "pos_label": [4]},
    "LinearDiscriminantAnalysis": {"n_components": [1]},
    "LocallyLinearEmbedding": {"n_components": [1]},
    "LocalOutlierFactor": {"metric": ["manhattan", "cosine"], "novelty": []},
    "MinMaxScaler": {"feature_range": [(-2.0, 3.0)]},
    "MiniBatchDictionaryLearning": {
        "alpha": [0.4],
        "transform_alpha": [{"transform_alpha": 0.2, "transform_algorithm": "lasso_cd"}],
        "transform_n_nonzero_coefs": [2],
        "transform_max_iter": [{"transform_max_iter": 5, "transform_algorithm": "lasso_cd"}],
    },
    "MiniBatchNMF": {"alpha_H": [0.1], "transform_max_iter": [3], "beta_loss": []},
    "MultiLabelBinarizer": {"classes": [["日", "b", "a", "ç"]]},
    "MultiOutputClassifier": {"estimator": [TREE, naive_bayes.GaussianNB()]},
    "MultiOutputRegressor": {"estimator": [TREE_REGRESSOR, svm.SVR()]},
    "NearestCentroid": {},
    "NMF": {"n_components": [2], "max_iter": [5]},
    "NuSVC": {"probability": []},
    "Nystroem": {
        "coef0": [{"coef0": 0.7, "kernel": "poly", "degree": 2}],
        "degree": [{"degree": 2, "kernel": "poly"}],
        "gamma": [0.2],
    },
    "OneHotEncoder": {
        "categories": [[["Oslo", "Łódź", "", "a b", "Zürich", "new"], ["x", "y"]]],
        "drop": [["Oslo", "y"]],
        "dtype": [np.float32, np.int64],
        "min_frequency": [{"min_frequency": 15, "handle_unknown": "infrequent_if_exist"}, 0.2],
        "max_categories": [{"max_categories": 3, "handle_unknown": "infrequent_if_exist"}],
    },
    "OneVsOneClassifier": {"estimator": [LOGISTIC, TREE]},
    "OneVsRestClassifier": {"estimator": [svm.LinearSVC(), TREE, naive_bayes.GaussianNB()]},
    "OrdinalEncoder": {
        "categories": [[["Oslo", "Łódź", "", "a b", "Zürich", "new"], ["x", "y"]]],
        "dtype": [np.float32, np.int64],
        "handle_unknown": [{"handle_unknown": "use_encoded_value", "unknown_value": -1}],
        "unknown_value": [{"handle_unknown": "use_encoded_value", "unknown_value": 77}],
        "encoded_missing_value": [-3],
        "min_frequency": [15],
        "max_categories": [3],
    },
    "OutputCodeClassifier": {"estimator": [svm.LinearSVC(), TREE]},
    "PatchExtractor": {"patch_size": [(8, 8), None], "max_patches": []},
    "Pipeline": {
        "steps": [[("a", PCA(2)), ("b", "passthrough"), ("c", TREE)], [("a", preprocessing.StandardScaler())]]
    },
    "PolynomialCountSketch": {"degree": [3], "coef0": [1.0], "n_components": [9]},
    "PolynomialFeatures": {"degree": [0, 3, (2, 3)]},
    "PowerTransformer": {},
    "RadiusNeighborsClassifier": {"outlier_label": ["most_frequent", 1], "weights": []},
    "RadiusNeighborsRegressor": {
        "weights": [],
        "metric_params": [{"metric": "minkowski", "metric_params": {"w": np.array([1.0, 2.0, 0.5])}}],
    },
    "RANSACRegressor": {
        "estimator": [{"estimator": RIDGE, "min_samples": 30}, {"estimator": TREE_REGRESSOR, "min_samples": 60}]
    },
    "RandomizedSearchCV": {"estimator": [_SEARCHED_AT_RANDOM], "param_distributions": [_GRID[0]], "refit": []},
    "RegressorChain": {"estimator": [TREE_REGRESSOR], "order": [[1, 0], "random"], "base_estimator": []},
    "RFE": {"estimator": [TREE, svm.LinearSVC()]},
    "RFECV": {"estimator": [TREE]},
    "RobustScaler": {"quantile_range": [(10.0, 80.0)]},
    "SelfTrainingClassifier": {"estimator": [TREE, naive_bayes.GaussianNB()], "base_estimator": []},
    "SparseCoder": {
        "dictionary": [np.random.default_rng(1).normal(size=(3, 4))],
        "transform_alpha": [{"transform_alpha": 0.2, "transform_algorithm": "lasso_cd"}],
        "transform_n_nonzero_coefs": [2],
        "transform_max_iter": [{"transform_max_iter": 5, "transform_algorithm": "lasso_cd"}],
    },
    "SplineTransformer": {"degree": [0, 2], "knots": [np.linspace([0.0, 0.0, 0.0, 0.0], [9.0, 6.0, 8.0, 3.0], 5)]},
    "StackingClassifier": {"estimators": [CLASSIFIERS[1:]], "final_estimator": [TREE]},
    "StackingRegressor": {"estimators": [REGRESSORS[1:]], "final_estimator": [TREE_REGRESSOR]},
    "SVC": {"break_ties": [True], "probability": []},
    "TargetEncoder": {
        "categories": [[["Oslo", "Łódź", "", "a b", "Zürich", "new"], ["x", "y"]]],
        "target_type": ["continuous"],
    },
    "TfidfVectorizer": {
        "max_df": [0.5],
        "min_df": [2],
        "max_features": [9],
        "ngram_range": [(1, 2), {"ngram_range": (2, 3), "analyzer": "char_wb"}],
        "stop_words": [_STOP_WORDS],
        "token_pattern": [r"\S+"],
        "vocabulary": [["dog", "été", "мир", "english", "fox"]],
        "preprocessor": [],
        "tokenizer": [],
        "input": [],
    },
    "TransformedTargetRegressor": {
        "regressor": [TREE_REGRESSOR],
        "transformer": [{"transformer": preprocessing.StandardScaler(), "func": None, "inverse_func": None}],
        "func": [{"func": np.sqrt, "inverse_func": np.square}],
        "inverse_func": [{"func": np.log, "inverse_func": np.exp}],
    },
    "TunedThresholdClassifierCV": {"estimator": [TREE], "scoring": ["accuracy", "f1"]},
    "VotingClassifier": {
        "estimators": [CLASSIFIERS[:2]],
        "weights": [[1.0, 2.0, 0.5]],
        "flatten_transform": [{"flatten_transform": False, "voting": "soft"}],
    },
    "VotingRegressor": {"estimators": [REGRESSORS[:2]], "weights": [[1.0, 2.0, 0.5]]},
}


# By class and parameter: further arguments that all values but the default need.
COMPANIONS: dict[str, dict[str, Arguments]] = {
    "DictionaryLearning": {"positive_code": {"transform_algorithm": "lasso_cd", "fit_algorithm": "cd"}},
    "ExtraTreesClassifier": {"oob_score": {"bootstrap": True}},
    "ExtraTreesRegressor": {"oob_score": {"bootstrap": True}},
    "FeatureAgglomeration": {"metric": {"linkage": "average"}},
    "HistGradientBoostingRegressor": {"loss": {"quantile": 0.4}},
    "HalvingRandomSearchCV": {"min_resources": {"n_candidates": 2}},
    "KernelRidge": {"kernel": {"gamma": 0.1}},
    "LocallyLinearEmbedding": {"method": {"n_neighbors": 9}},
    "LinearDiscriminantAnalysis": {"shrinkage": {"solver": "eigen"}},
    "SGDRegressor": {"learning_rate": {"loss": "epsilon_insensitive"}},
    "LogisticRegression": {
        "penalty": {"solver": "saga", "l1_ratio": 0.3, "max_iter": 50},
        "l1_ratio": {"solver": "saga", "penalty": "elasticnet", "max_iter": 50},
        "dual": {"solver": "liblinear"},
    },
    "LogisticRegressionCV": {
        "penalty": {"solver": "saga", "l1_ratios": (0.3,), "max_iter": 50},
        "dual": {"solver": "liblinear"},
    },
    "MiniBatchDictionaryLearning": {"positive_code": {"transform_algorithm": "lasso_cd", "fit_algorithm": "cd"}},
    "NMF": {"beta_loss": {"solver": "mu"}},
    "QuadraticDiscriminantAnalysis": {"shrinkage": {"solver": "eigen"}},
    "SparseCoder": {"positive_code": {"transform_algorithm": "lasso_cd"}},
    "TunedThresholdClassifierCV": {"refit": {"cv": 0.5}},
    "StackingClassifier": {
        "stack_method": {"estimators": [("a", LOGISTIC), ("b", linear_model.LogisticRegression(C=0.1))]}
    },
}

# By metric: further arguments. Flags are at few different distances: all points are taken, so that no tie decides.
METRIC_COMPANIONS: dict[str, Arguments] = {
    **{metric: {"n_neighbors": 60, "weights": "distance", "radius": 0.55} for metric in sorted(FLAG_METRICS)},
    "haversine": {"radius": 0.4},
    "mahalanobis": {"metric_params": {"VI": np.diag([1.0, 2.0, 0.5, 0.7])}},
    "seuclidean": {"metric_params": {"V": np.array([1.0, 2.0, 0.5, 0.7])}},
}

# By class: (name, arguments, data) of configurations that take several arguments together.
_MEMBERS = [("a", TREE), ("b", neighbors.KNeighborsClassifier(4))]
TOGETHER: dict[str, list[tuple[str, Arguments, str]]] = {
    "LabelBinarizer": [
        ("sets", {}, "bit_targets"),
        ("sets-other", {"neg_label": -2, "pos_label": 3}, "bit_targets"),
        ("sets-zero", {"neg_label": -1, "pos_label": 0}, "bit_targets"),
    ],
    "MissingIndicator": [("nothing-missing", {}, "positive")],
    "SelectKBest": [("nothing-left", {"k": 0}, "iris")],
    "SimpleImputer": [
        ("back-kept", {"add_indicator": True, "keep_empty_features": True}, "holes"),
        ("back-left-out", {"add_indicator": True}, "empty_column"),
        ("back-sentinels", {"add_indicator": True, "missing_values": -1, "strategy": "median"}, "sentinels"),
    ],
    "StackingClassifier": [
        ("sets", {"estimators": _MEMBERS, "final_estimator": TREE}, "bits"),
        ("sets-passthrough", {"estimators": _MEMBERS, "final_estimator": TREE, "passthrough": True}, "bits"),
        ("sets-votes", {"estimators": _MEMBERS, "final_estimator": TREE, "stack_method": "predict"}, "bits"),
    ],
}

# --- values that cannot be converted ----------------------------------------------------------------------------------


def manhattan(a: Any, b: Any) -> float:
    """Return a distance, as a Python function."""
    return float(np.nansum(np.abs(np.asarray(a) - np.asarray(b))))


def words(text: str) -> list[str]:
    """Return the words of a text, as a Python function."""
    return text.split()


def shout(text: str) -> str:
    """Return a text in capitals, as a Python function."""
    return text.upper()


_FUNCTIONS = {"preprocessor": [shout], "tokenizer": [words], "analyzer": [words], "input": ["file", "filename"]}
_LARS = {"transform_algorithm": ["lars"]}
# By class and parameter: each value is refused by an error that names the parameter.
REFUSED: dict[str, dict[str, list[Any]]] = {
    "CountVectorizer": _FUNCTIONS,
    "DictionaryLearning": _LARS,
    "DummyClassifier": {"strategy": ["stratified", "uniform"]},
    "HashingVectorizer": _FUNCTIONS,
    "IterativeImputer": {"sample_posterior": [True]},
    "KNeighborsClassifier": {"metric": [manhattan]},
    "KNNImputer": {"metric": [manhattan]},
    "LocalOutlierFactor": {"metric": [manhattan]},
    "MiniBatchDictionaryLearning": _LARS,
    "PatchExtractor": {"max_patches": [3]},
    "RadiusNeighborsClassifier": {"weights": [fading]},
    "RadiusNeighborsRegressor": {"weights": [fading]},
    "SparseCoder": _LARS,
    "TfidfVectorizer": _FUNCTIONS,
}
