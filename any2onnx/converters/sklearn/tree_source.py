"""The ensemble behind an estimator of trees, of scikit-learn or a boosting library, for the decision proof."""

from __future__ import annotations

from typing import Any

from any2onnx.converters.sklearn import (
    ensemble,
    hist_gradient_boosting,
    tree,
    weight_boosting,
)
from any2onnx.errors import NotAModel
from any2onnx.tree_ensemble import sources
from any2onnx.tree_ensemble.ir import TreeEnsemble


def ensemble_of_estimator(estimator: Any) -> TreeEnsemble:
    """Return what the estimator's converter writes.

    Args:
        estimator: A fitted tree, forest, gradient boosting, isolation forest, AdaBoost over trees, or a model of
            XGBoost, LightGBM or CatBoost. Where one of these reads columns as categories, or zero as missing, the
            columns are those behind that.

    Raises:
        NotAModel: It is none of these.
    """
    from sklearn import ensemble as forests
    from sklearn.ensemble._forest import BaseForest
    from sklearn.ensemble._gb import BaseGradientBoosting
    from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
    from sklearn.tree import BaseDecisionTree

    if sources.library_of(estimator) is not None:
        found = sources.ensemble_of_model(estimator)
        if found is None:
            raise NotAModel(f"this {type(estimator).__name__} has no trees")
        return found[0]
    for cls, build in (
        (BaseDecisionTree, tree.tree_ensemble),
        (forests.RandomTreesEmbedding, ensemble.embedding_ensemble),
        (BaseForest, ensemble.forest_ensemble),
        (BaseGradientBoosting, ensemble.boosted_ensemble),
        (BaseHistGradientBoosting, hist_gradient_boosting.ensemble_of_predictors),
        (forests.IsolationForest, ensemble.isolation_ensemble),
        (forests.AdaBoostClassifier, weight_boosting.vote_ensemble),
        (forests.AdaBoostRegressor, weight_boosting.median_ensemble),
    ):
        if isinstance(estimator, cls):
            result: TreeEnsemble = build(estimator)
            return result
    raise NotAModel(f"{type(estimator).__name__} is no estimator of trees")
