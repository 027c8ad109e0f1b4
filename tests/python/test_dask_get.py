# SPDX-License-Identifier: Apache-2.0
"""dtask.dask.get: graphs of all forms, in what order, and what goes wrong."""

import operator
import os
import pickle
import subprocess
import sys
import tempfile
import threading

import functions
import pytest
from places import ROOT

import dtask
from dtask.dask import get


# Stand-ins of Dask's node objects: what a node is to `get` is this.


class Node:
    def __init__(self, function, *needs):
        self.function, self.needs = function, needs

    @property
    def dependencies(self):
        return frozenset(self.needs)

    def substitute(self, _):
        raise NotImplementedError

    def __call__(self, values):
        return self.function(*[values[need] for need in self.needs])


class Alias(Node):
    def __init__(self, target):
        super().__init__(None, target)

    def __call__(self, values):
        raise AssertionError("an alias is no task")


class DataNode(Node):
    def __init__(self, value):
        super().__init__(None)
        self.value = value

    def __call__(self, values):
        return self.value


class Expression:
    def __init__(self, graph):
        self.graph = graph

    def __dask_graph__(self):
        return self.graph


GRAPH = {
    "a": 1,
    "b": (operator.add, "a", 10),
    "c": (sum, ["a", "b", (max, 4, 5)]),
    "d": "c",
    ("x", 0): (tuple, ["a", ["b", "c"]]),
    "list": ["a", "b", [7]],
    "data": {"not": "a"},
    "unused": (functions.fail,),
}


@pytest.mark.parametrize(
    "keys, values",
    [
        ("a", 1),
        ("b", 11),
        ("c", 17),
        (["d"], [17]),
        (("x", 0), (1, [11, 17])),
        ([["a", "b"], "c", [[("x", 0)]], "c", []], [[1, 11], 17, [[(1, [11, 17])]], 17, []]),
        ("list", [1, 11, [7]]),
        ("data", {"not": "a"}),
        ([], []),
    ],
)
def test_values_come_in_the_shape_of_the_keys(client, keys, values):
    assert get(GRAPH, keys) == values


def test_node_objects(client):
    graph = {
        "data": DataNode((operator.add, 1, 2)),
        "one": DataNode(1),
        "same": Alias("one"),
        "sum": Node(operator.add, "one", "same"),
        "mixed": (operator.mul, "sum", 10),
    }
    assert get(graph, ["data", "same", "mixed"]) == [(operator.add, 1, 2), 1, 20]
    assert get(Expression(graph), "sum") == 2


def test_only_what_is_wanted_runs_depth_first_and_once(start):
    fake, client = start("run")
    graph = {
        "left": (functions.inc, 1),
        "right": (functions.inc, 2),
        "deep left": (functions.inc, "left"),
        "deep right": (functions.inc, "right"),
        "top": (operator.add, "deep left", "deep right"),
        "alias": "top",
        "unused": (functions.fail,),
    }
    assert get(graph, ["top", "alias"], client=client) == [7, 7]
    ((header, _),) = fake.expect("graph")
    left, right, top = header["k"]  # a branch is one task: each node needs the one before only
    assert header["inputs"] == [0, 0, 2] and header["in"] == [left, right]
    assert header["want"] == [0, 0, 1] and header["complete"] == 1
    names = [function["name"] for function, _ in fake.expect("function", 2)]
    assert names == ["inc-inc", "add"]


def test_shared_values_are_computed_once(start):
    fake, client = start("run")
    graph = {
        "source": (functions.inc, 1),
        "one": (operator.add, "source", 1),
        "two": (operator.mul, "source", "one"),
        "three": (operator.add, "two", "two"),
    }
    assert get(graph, ["three", "source"], client=client) == [12, 2]
    ((header, _),) = fake.expect("graph")
    source, one, last = header["k"]
    assert header["inputs"] == [0, 1, 2] and header["in"] == [source, source, one]
    assert header["want"] == [1, 0, 1], "what is wanted is not fused away"


def test_large_graphs_go_in_parts(start):
    fake, client = start("run")
    graph = {("x", i): (functions.inc, i) for i in range(2000)}
    graph["sum"] = (sum, list(graph))
    assert get(graph, "sum", client=client) == sum(range(1, 2001))
    parts = [header for header, _ in fake.expect("graph", 2)]
    assert len({part["g"] for part in parts}) == 1
    assert [part["complete"] for part in parts] == [0] * (len(parts) - 1) + [1]


def test_large_values_stay_on_the_workers(start):
    fake, client = start("run", stores=1)
    graph = {
        "literal": bytes(100 << 10),
        "big": (operator.add, "literal", bytes(1)),
        "size": (len, "big"),
        "twice": (operator.add, "big", "big"),
    }
    size, big, literal = get(graph, ["size", "big", "literal"], client=client)
    assert (size, big, literal) == ((100 << 10) + 1, bytes(size), bytes(100 << 10))
    assert len(fake.stores[0].asked) == 2, "those that are wanted come, once"
    released = fake.expect("release")
    while sum(len(header["k"]) for header, _ in released) < 2:
        released = fake.expect("release", len(released) + 1)
    assert get(graph, "twice", client=client) == bytes(2 * size)


def test_what_cannot_be_pickled_fails_alone(start):
    fake, client = start("run")
    lock = threading.Lock()
    with pytest.raises(dtask.PickleError, match="the arguments of b"):
        get({"a": (functions.inc, 1), "b": (tuple, ["a", lock])}, ["a", "b"], client=client)
    assert fake.expect("graph")[-1][0]["complete"] == 1, "nothing waits for the rest of it"
    assert get({"a": (functions.inc, 1)}, "a", client=client) == 2


def test_a_failure_is_raised_at_once_and_the_rest_is_cancelled(start):
    fake, client = start("hold")
    graph = {"bad": (functions.fail,), "slow": (functions.inc, 1)}
    caught = []

    def run():
        try:
            get(graph, ["bad", "slow"], client=client)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    bad, slow = fake.expect("graph")[0][0]["k"]
    body = pickle.dumps((pickle.dumps(ValueError("bad")), "ValueError", "bad", "the traceback"))
    fake.send({"t": "failed", "k": bad, "kind": "raised", "message": "", "tries": 1}, body)
    assert fake.expect("cancel")[0][0]["k"] == [slow]
    thread.join(20)
    assert not thread.is_alive()
    assert isinstance(caught[0], ValueError) and "the traceback" in str(caught[0].__cause__)


def test_retries_reach_every_node(start):
    fake, client = start("run")
    get({"a": (functions.inc, 1), "b": (functions.inc, "a")}, "b", client=client, retries=2)
    assert {header["retries"] for header, _ in fake.expect("graph")} == {2}


@pytest.mark.parametrize(
    "graph, keys, error, message",
    [
        ({"a": (abs, "b"), "b": (abs, "c"), "c": (abs, "a")}, "b", ValueError,
         "the graph has a cycle: b -> c -> a -> b"),
        ({"a": (abs, "a")}, "a", ValueError, "the graph has a cycle: a -> a"),
        ({"a": 1}, ["a", "z"], KeyError, "the graph has no key 'z'"),
        ({"a": Node(abs, "z")}, "a", KeyError, "the graph has no key 'z', which a needs"),
        (5, "a", TypeError, "expected a Dask graph, got int: 5"),
    ],
)
def test_bad_graphs(client, graph, keys, error, message):
    with pytest.raises(error) as caught:
        get(graph, keys)
    assert caught.value.args == (message,)


def test_no_cluster():
    with pytest.raises(dtask.ConnectError, match="no cluster is known here"):
        get({"a": (abs, -1)}, "a")


def test_a_deep_graph(client):
    """Deeper than Python's stack."""
    graph = {"n0": (functions.inc, 0)}
    graph.update({f"n{i}": (operator.add, f"n{i - 1}", 1) for i in range(1, 3000)})
    assert get(graph, "n2999") == 3000


# The default client.


def test_the_newest_client_is_taken(start):
    first, second = start("run"), start("run")
    get({"a": (abs, -1)}, "a")
    assert second[0].expect("graph") and not first[0].received
    second[1].close()
    get({"a": (abs, -1)}, "a")
    assert first[0].expect("graph")


def test_without_a_client_the_environment_counts(start, monkeypatch):
    fake, client = start("run")
    client.close()
    monkeypatch.setenv("DTASK_ADDRESS", fake.address)
    monkeypatch.setenv("DTASK_TOKEN", fake.token.hex())
    assert get({"a": (abs, -1)}, "a") == 1
    assert get({"a": (abs, -2)}, "a") == 2
    assert len(fake.connections) == 2, "the client is kept"
    dtask._default.default_client().close()
    assert get({"a": (abs, -3)}, "a") == 3
    assert len(fake.connections) == 3
    dtask._default.default_client().close()


def test_after_a_fork_there_is_a_new_one(start, monkeypatch):
    fake, client = start("run")
    monkeypatch.setenv("DTASK_ADDRESS", fake.address)
    monkeypatch.setenv("DTASK_TOKEN", fake.token.hex())
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = 0 if get({"a": (abs, -1)}, "a") == 1 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert get({"a": (abs, -1)}, "a") == 1
    assert len(fake.connections) == 2


# Dask itself.


def test_dask_is_not_needed():
    script = (
        "import sys; sys.modules['dask'] = None; import dtask; print(dtask.dask.get({'a': 1}, []))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.path.join(ROOT, "python")},
        stdout=subprocess.PIPE,
        universal_newlines=True,
        timeout=60,
    )
    assert done.stdout == "[]\n"


@pytest.fixture
def dask(client):
    dask = pytest.importorskip("dask")
    with dask.config.set(scheduler=get):
        yield dask


def same(collection):
    return collection.compute(), collection.compute(scheduler="synchronous")


def test_delayed(dask):
    inc, add = dask.delayed(functions.inc), dask.delayed(operator.add)
    assert add(inc(1), add(inc(2), 3)).compute() == 8
    assert dask.compute(inc(1), {"x": [inc(5)]}, 9) == (2, {"x": [6]}, 9)
    assert dask.delayed(lambda x: x * 2)(inc(1)).compute() == 4
    with pytest.raises(ValueError, match="no"):
        add(inc(1), dask.delayed(functions.fail)("no")).compute()


def test_arrays(dask):
    numpy = pytest.importorskip("numpy")
    array = pytest.importorskip("dask.array")
    x = array.random.RandomState(0).random_sample((60, 60), chunks=(20, 20))
    for one in (x.sum(), (x @ x.T).mean(axis=0), x.rechunk((7, 60)).std(), x[::2, 3] + 1):
        ours, theirs = same(one)
        assert numpy.array_equal(ours, theirs)
    kept = (x + 1).persist()
    assert numpy.array_equal(*same(kept.sum()))


def test_bags(dask):
    bag = pytest.importorskip("dask.bag")
    numbers = bag.from_sequence(range(100), npartitions=7)
    ours, theirs = same(numbers.map(functions.inc).filter(lambda x: x % 3 == 0).sum())
    assert ours == theirs
    assert sorted(numbers.groupby(lambda x: x % 2).map(len).compute()) == [2, 2]


def test_shuffles_leave_no_files_that_other_nodes_would_need(dask, tmp_path, monkeypatch):
    bag = pytest.importorskip("dask.bag")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    groups = bag.from_sequence(range(100), npartitions=5).groupby(lambda x: x % 3)
    assert sorted(len(members) for _, members in groups.compute()) == [33, 33, 34]
    assert os.listdir(tmp_path) == []


def test_data_frames(dask):
    pandas = pytest.importorskip("pandas")
    frames = pytest.importorskip("dask.dataframe")
    table = pandas.DataFrame({"k": [i % 5 for i in range(100)], "v": range(100)})
    frame = frames.from_pandas(table, npartitions=4)
    ours, theirs = same(frame.groupby("k").v.mean())
    assert ours.to_dict() == theirs.to_dict() == table.groupby("k").v.mean().to_dict()
    assert frame.merge(frame, on="k").v_x.sum().compute() == table.merge(table, on="k").v_x.sum()
