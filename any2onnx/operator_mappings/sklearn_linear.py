"""scikit-learn: linear models, and the linear machines of sklearn.svm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from any2onnx.operator_mappings.mapping import OperatorMapping
from any2onnx.operator_mappings.sklearn_rows import BAYES_OPTIONS, CLASSIFIER, CLASSIFIER_OPTIONS, OUTLIER_OPTIONS, row

# All of these only choose `coef_` and `intercept_`.
_FIT: Final = (
    "fit_intercept copy_X max_iter tol positive random_state selection warm_start precompute verbose n_jobs cv eps "
    "alphas alpha l1_ratio solver"
)
_SGD: Final = (
    "penalty alpha l1_ratio fit_intercept max_iter tol shuffle verbose epsilon n_jobs random_state learning_rate eta0 "
    "power_t early_stopping validation_fraction n_iter_no_change class_weight warm_start average"
)
_BAYES: Final = (
    "max_iter tol alpha_1 alpha_2 lambda_1 lambda_2 alpha_init lambda_init compute_score fit_intercept copy_X verbose"
)

# Estimators that predict X @ coef_.T + intercept_, with the parameters that they have beyond `_FIT`.
_REGRESSORS: Final = {
    "LinearRegression": "",
    "Ridge": "",
    "RidgeCV": "scoring gcv_mode store_cv_results alpha_per_target",
    "Lasso": "",
    "LassoCV": "",
    "ElasticNet": "",
    "ElasticNetCV": "",
    "MultiTaskLasso": "",
    "MultiTaskLassoCV": "",
    "MultiTaskElasticNet": "",
    "MultiTaskElasticNetCV": "",
    "Lars": "n_nonzero_coefs fit_path jitter",
    "LarsCV": "max_n_alphas",
    "LassoLars": "fit_path jitter",
    "LassoLarsCV": "max_n_alphas",
    "LassoLarsIC": "criterion noise_variance",
    "OrthogonalMatchingPursuit": "n_nonzero_coefs",
    "OrthogonalMatchingPursuitCV": "copy",
    "HuberRegressor": "epsilon",
    "TheilSenRegressor": "max_subpopulation n_subsamples",
    "QuantileRegressor": "quantile solver_options",
}


def _linear_regressors() -> Iterator[OperatorMapping]:
    for name, more in _REGRESSORS.items():
        yield row(
            f".linear_model.{name}",
            "linear_model:linear_regressor",
            "common:regressor",
            methods="predict",
            irrelevant=f"{_FIT} {more}",
        )


def _classifier(name: str, converter: str, shapes: str = "common:classifier", **fields: Any) -> OperatorMapping:
    fields.setdefault("methods", "predict decision_function")
    return row(name, f"linear_model:{converter}", shapes, options=CLASSIFIER_OPTIONS, **fields)


_LOGISTIC: Final = (
    "penalty dual tol C fit_intercept intercept_scaling class_weight random_state solver max_iter verbose warm_start "
    "n_jobs l1_ratio Cs cv scoring refit l1_ratios use_legacy_attributes"
)

ROWS: Final[tuple[OperatorMapping, ...]] = (
    *_linear_regressors(),
    row(
        ".linear_model.SGDRegressor",
        "linear_model:linear_regressor",
        "common:vector_regressor",
        methods="predict",
        irrelevant=f"loss {_SGD}",
    ),
    row(
        ".linear_model.PassiveAggressiveRegressor",
        "linear_model:linear_regressor",
        "common:vector_regressor",
        methods="predict",
        irrelevant=f"C loss {_SGD}",
    ),
    row(
        ".svm.LinearSVR",
        "linear_model:linear_regressor",
        "common:vector_regressor",
        methods="predict",
        irrelevant="epsilon tol C loss fit_intercept intercept_scaling dual verbose random_state max_iter",
    ),
    *(
        row(
            f".linear_model.{name}",
            "linear_model:bayesian_regressor",
            "common:vector_regressor",
            methods="predict predict_std",
            irrelevant=_BAYES,
            honours=more,
            options=BAYES_OPTIONS,
        )
        for name, more in (("BayesianRidge", ""), ("ARDRegression", "threshold_lambda"))
    ),
    *(
        row(
            f".linear_model.{name}",
            "linear_model:generalized_linear",
            "common:vector_regressor",
            methods="predict",
            honours=more,
            irrelevant="alpha fit_intercept solver max_iter tol warm_start verbose",
        )
        for name, more in (("PoissonRegressor", ""), ("GammaRegressor", ""), ("TweedieRegressor", "power link"))
    ),
    *(
        _classifier(
            f".linear_model.{name}",
            "logistic_regression",
            methods=CLASSIFIER,
            irrelevant=_LOGISTIC,
        )
        for name in ("LogisticRegression", "LogisticRegressionCV")
    ),
    _classifier(".linear_model.SGDClassifier", "sgd_classifier", methods=CLASSIFIER, honours="loss", irrelevant=_SGD),
    _classifier(".linear_model.Perceptron", "linear_classifier", irrelevant=_SGD),
    _classifier(".linear_model.PassiveAggressiveClassifier", "linear_classifier", irrelevant=f"C loss {_SGD}"),
    *(
        _classifier(
            f".linear_model.{name}",
            "ridge_classifier",
            "common:ridge_classifier",
            irrelevant=f"{_FIT} class_weight scoring store_cv_results",
        )
        for name in ("RidgeClassifier", "RidgeClassifierCV")
    ),
    _classifier(
        ".svm.LinearSVC",
        "linear_classifier",
        irrelevant=(
            "penalty loss dual tol C multi_class fit_intercept intercept_scaling class_weight verbose random_state "
            "max_iter"
        ),
    ),
    row(
        ".linear_model.SGDOneClassSVM",
        "linear_model:one_class_sgd",
        "common:outlier_detector",
        methods="predict decision_function score_samples",
        irrelevant=f"nu {_SGD}",
        options=OUTLIER_OPTIONS,
    ),
)
