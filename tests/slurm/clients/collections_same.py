# SPDX-License-Identifier: Apache-2.0
"""Programs of Dask's collections on the cluster, each compared with Dask in one process.

One line a program: its name and "same" or what is wrong; last: how many there were, and how many
were the same.
"""

import operator
import warnings

import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask import delayed

import dtask

warnings.simplefilter("ignore")

state = da.random.RandomState(1)
x = state.random_sample((300, 200), chunks=(60, 50))
y = state.random_sample((200, 100), chunks=(50, 40))
v = state.random_sample(1000, chunks=130)
w = state.random_sample((1200, 800), chunks=(400, 400))  # blocks that stay on workers
numbers = db.from_sequence(range(500), npartitions=9)
few = db.from_sequence([1, 2], npartitions=2)
rows = range(500)
columns = {"k": [i % 7 for i in rows], "v": np.arange(500.0), "s": [str(i % 3) for i in rows]}
frame = dd.from_pandas(pd.DataFrame(columns), npartitions=6)
long = pd.DataFrame({"k": np.arange(60_000) % 97, "v": np.arange(60_000)[::-1] / 8})
long_frame = dd.from_pandas(long, npartitions=4)


def tree():
    leaves = [delayed(operator.mul)(i, 2) for i in range(32)]
    while len(leaves) > 1:
        leaves = [delayed(operator.add)(*leaves[i : i + 2]) for i in range(0, len(leaves), 2)]
    return leaves[0]


PROGRAMS = {
    "array sum": lambda: x.sum(),
    "array mean": lambda: x.mean(axis=1),
    "large product": lambda: w.T @ w,
    "large transpose": lambda: (w[:800] + w[:800].T).mean(axis=0),
    "large rechunk": lambda: w.rechunk((300, 800)).cumsum(axis=0),
    "large qr": lambda: da.linalg.qr(w.rechunk((400, 800)))[1],
    "large concatenate": lambda: da.concatenate([w, w * 2], axis=1) - w.mean(),
    "array var": lambda: x.var(axis=0),
    "array argmax": lambda: x.argmax(axis=0),
    "array product": lambda: x @ y,
    "array tensordot": lambda: da.tensordot(x, y, axes=([1], [0])),
    "array einsum": lambda: da.einsum("ij,jk->k", x, y),
    "array rechunk": lambda: x.rechunk((37, 200)).sum(axis=0),
    "array transpose": lambda: (x + x.mean(axis=0)).T[::3],
    "array svd": lambda: da.linalg.svd(x.rechunk((60, 200)))[1],
    "array qr": lambda: da.linalg.qr(x.rechunk((60, 200)))[1],
    "array stencil": lambda: x.map_overlap(
        lambda block: block + np.roll(block, 1, 0), depth=1, boundary="reflect"
    ),
    "array histogram": lambda: da.histogram(v, bins=10, range=(0, 1))[0],
    "array cumsum": lambda: v.cumsum(axis=0),
    "array percentile": lambda: da.percentile(v, [25, 50]),
    "array topk": lambda: da.topk(v, 5),
    "array fft": lambda: abs(da.fft.fft(v.rechunk(-1))),
    "array where": lambda: da.where(x > 0.5, x, 0).sum(),
    "array mask": lambda: v[v > 0.5].sum(),
    "array concatenate": lambda: da.concatenate([x, x * 2]).std(),
    "array blockwise": lambda: da.map_blocks(operator.add, x, x).max(),
    "array from delayed": lambda: da.from_delayed(delayed(np.ones)((5, 5)), (5, 5), float).sum(),
    "array from numpy": lambda: da.from_array(np.arange(1000), chunks=100).sum(),
    "delayed of blocks": lambda: delayed(sum)([block.sum() for block in x.to_delayed().ravel()]),
    "delayed tree": tree,
    "bag fold": lambda: numbers.fold(operator.add),
    "bag frequencies": lambda: numbers.map(lambda i: i % 7).frequencies(),
    "bag groupby": lambda: numbers.groupby(lambda i: i % 5).map(lambda one: (one[0], sum(one[1]))),
    "bag foldby": lambda: numbers.foldby(lambda i: i % 3, operator.add, 0),
    "bag join": lambda: numbers.join([3, 4, 5], lambda i: i),
    "bag product": lambda: few.product(few),
    "bag std": lambda: numbers.std(),
    "large frame": lambda: long_frame.set_index("v", npartitions=4).k.cumsum(),
    "large merge": lambda: long_frame.merge(long_frame[long_frame.v < 1000], on=["k", "v"]),
    "frame groupby": lambda: frame.groupby("k").v.agg(["mean", "sum", "count"]),
    "frame merge": lambda: frame.merge(frame.groupby("k").v.sum().reset_index(), on="k").v_y.sum(),
    "frame set_index": lambda: frame.set_index("v").k,
    "frame rolling": lambda: frame.v.rolling(4).mean(),
    "frame value_counts": lambda: frame.s.value_counts(),
    "frame describe": lambda: frame.describe(),
}


def compare(ours, theirs):
    """Raise AssertionError where two results differ."""
    if isinstance(theirs, (pd.DataFrame, pd.Series)):
        assert ours.sort_index().equals(theirs.sort_index())
    elif isinstance(theirs, list):
        assert sorted(ours) == sorted(theirs)
    else:
        assert np.allclose(ours, theirs)


same = 0
with dtask.Client() as client:
    client.wait_for_workers(timeout=60)
    for name, make in PROGRAMS.items():
        collection = make()
        try:
            compare(
                collection.compute(scheduler=dtask.dask.get),
                collection.compute(scheduler="synchronous"),
            )
        except Exception as error:
            print(f"{name}: {error!r}", flush=True)
        else:
            same += 1
            print(f"{name}: same", flush=True)
print(len(PROGRAMS), same)
