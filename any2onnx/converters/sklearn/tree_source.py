"""The ensemble behind any of scikit-learn's estimators of trees, for the decision proof."""

from __future__ import annotations

from typing import Any

from any2onnx.converters.sklearn import ensemble, hist_gradient_boosting, tree, weight_boosting
from any2onnx.errors import NotAModel
from any2onnx.tree_ensemble.ir import TreeEnsemble


def ensemble_of_estimator(estimator: Any) -> TreeEnsemble:
    """Return what the estimator's converter writes.

    Args:
        estimator: A fitted tree, forest, gradient boosting, isolation forest, or AdaBoost over trees.

    Raises:
        NotAModel: It is none of these.
    """
    from sklearn import ensemble as forests
    from sklearn.ensemble._forest import BaseForest
    from sklearn.ensemble._gb import BaseGradientBoosting
    from sklearn.ensemble._hist_gradient_boosting.gradient_boosting import BaseHistGradientBoosting
    from sklearn.tree import BaseDecisionTree

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
