# SPDX-License-Identifier: Apache-2.0
"""alone.py EXAMPLE: runs an example in one process, without a cluster: the output to expect."""

import contextlib
import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor

import dask


class Alone(contextlib.ExitStack):
    """In place of a client."""

    def get_executor(self):
        return self.enter_context(ThreadPoolExecutor(1))


spec = importlib.util.spec_from_file_location("example", sys.argv[1])
example = importlib.util.module_from_spec(spec)
sys.modules["example"] = example
spec.loader.exec_module(example)
example.connect = Alone
if hasattr(example, "GridSearchCV"):
    example.connect = lambda: (Alone(), "sequential")
with dask.config.set(scheduler="synchronous"):
    example.main()
