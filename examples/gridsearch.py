#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""joblib and scikit-learn: a grid search on the whole step.

The same script runs on dtask's own engine and on real Dask:

srun --dtask -n 8 python3 gridsearch.py
srun --dtask=dask -n 8 python3 gridsearch.py
"""

import os

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC


def connect():
    """Make the cluster of this step a backend of joblib: (a client, the backend's name)."""
    if os.environ.get("DTASK_ENGINE") == "dask":
        from dask.distributed import Client

        return Client(), "dask"
    import dtask

    dtask.joblib.register()
    return dtask.Client(), "dtask"


def main():
    digits, labels = load_digits(return_X_y=True)
    grid = {"C": [0.1, 1, 10], "gamma": [0.0001, 0.001, 0.01]}
    search = GridSearchCV(SVC(), grid, cv=3)
    client, backend = connect()
    with client, joblib.parallel_backend(backend):
        search.fit(digits[:600], labels[:600])
    print(f"best {search.best_params_}, score {search.best_score_:.4f}")


if __name__ == "__main__":
    main()
