# SPDX-License-Identifier: Apache-2.0
"""Versions of packages told without loading them: Dask would, in each process that joins a cluster.

Whoever registers tells the versions of what both ends should have alike. Dask imports each package
for that, pandas among them, which takes as long as half of Dask itself. What the package's
metadata say is the same; where it says nothing Dask looks for itself. All processes of a step do it in
this way, so that they compare like with like.
"""

import functools


def without_loading(versions):
    """Adapt `distributed.versions`; one unlike those that we know stays as it is."""
    original = getattr(versions, "get_package_info", None)
    optional = [entry[0] for entry in getattr(versions, "optional_packages", ())]
    if original is None or not optional:
        return

    @functools.wraps(original)
    def get_package_info(pkgs):
        known, others = {}, []
        for package in pkgs:
            name = package if isinstance(package, str) else package[0]
            version = _version(name) if name in optional else None
            if version is None:
                others.append(package)
            else:
                known[name] = version
        found = original(others)
        found.update(known)
        return found

    versions.get_package_info = get_package_info


@functools.lru_cache(maxsize=None)
def _version(name):
    try:
        from importlib.metadata import version

        return version(name)
    except Exception:
        return None  # not installed, or not known to be
