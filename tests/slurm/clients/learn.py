# SPDX-License-Identifier: Apache-2.0
"""scikit-learn on the cluster by joblib, nested too: the scores are those of one process."""

import dtask
import joblib
import numpy
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.svm import SVC

X, y = load_iris(return_X_y=True)


def grid():
    search = GridSearchCV(SVC(), {"C": [0.1, 1, 10], "gamma": [0.1, 1]}, cv=3, n_jobs=-1)
    return search.fit(X, y).cv_results_["mean_test_score"]


def cross():
    return cross_val_score(SVC(), X, y, cv=5, n_jobs=-1)


def forest():
    model = RandomForestClassifier(20, random_state=0, n_jobs=-1)
    return model.fit(X, y).predict_proba(X)


def nested():
    """A forest, itself parallel, in a parallel search."""
    model = RandomForestClassifier(10, random_state=0, n_jobs=-1)
    search = GridSearchCV(model, {"max_depth": [1, 3]}, cv=3, n_jobs=-1)
    return search.fit(X, y).cv_results_["mean_test_score"]


dtask.joblib.register()
for one in (grid, cross, forest, nested):
    with joblib.parallel_backend("dtask"):
        ours = one()
    with joblib.parallel_backend("sequential"):
        theirs = one()
    print(one.__name__, numpy.array_equal(ours, theirs))
