# SPDX-License-Identifier: Apache-2.0
"""Dask's collections on the cluster: ``dtask.dask.get`` is a scheduler for them.

    import dask, dtask.dask

    dask.config.set(scheduler=dtask.dask.get)      # or x.compute(scheduler=dtask.dask.get)

A graph's nodes become tasks of the scheduler, which knows what each one needs: they are sent at
once and depth first, which is also the order in which they run (doc/adr/0016). Chains of nodes run
as one task. A value is dropped as soon as the last task that needs it has ended.

Nodes are understood by their form, so that any release of Dask can hand its graphs to us: tuples
that begin with a callable, and objects that know their `dependencies` and are called with a dict of
their values. Dask itself is not imported; where it is there, it is told to shuffle by tasks.
"""

import sys
from collections import Counter
from collections.abc import Mapping

from . import _pickling
from ._default import default_client
from ._graph import Chain, Ref, Sender
from ._inputs import identity
from ._pickling import name_of

__all__ = ["get"]
LONGEST_CHAIN = 64  # nodes that run as one task


def get(dsk, keys, client=None, retries=0, **_):
    """The values of `keys`, in the shape in which they come: a key, or nested lists of keys.

    dsk      a Dask graph: a dict, or any mapping, or an object with ``__dask_graph__()``
    client   the dtask.Client to use; default: the newest one, else one made by the environment
    retries  as in Client.submit, of every node

    Other keywords of Dask's schedulers change nothing. The first node that fails raises its
    exception, and the rest is cancelled. Raises KeyError for a key that is not in the graph,
    ValueError for a cycle, TypeError for what is no graph; ConnectError where there is no cluster.
    """
    _shuffle_by_tasks()
    graph = _mapping(dsk)
    wanted = list(dict.fromkeys(_flat(keys)))
    order, needs = _depth_first(graph, wanted)
    if not order:
        return _shaped(keys, {})
    client = default_client() if client is None else client
    futures = _submit(client._session, graph, order, needs, retries, wanted)
    try:
        values = client.gather([futures[key] for key in wanted])
    except BaseException:
        client.cancel(list(futures.values()))
        raise
    return _shaped(keys, dict(zip(wanted, values)))


def _shuffle_by_tasks():
    """Unless told otherwise, Dask shuffles through files of one machine: a step has several."""
    config = getattr(sys.modules.get("dask"), "config", None)
    if config is None:
        return
    name = "shuffle"
    while name in getattr(config, "deprecations", {}):  # it has been renamed, twice
        name = config.deprecations[name]
    if name and config.get(name, None) is None:
        config.set({name: "tasks"})


_shuffle_by_tasks()  # before there is a graph


def _submit(session, graph, order, needs, retries, wanted):
    """Send the nodes; the futures of `wanted` by key."""
    uses = Counter(need for key in order for need in needs[key])
    sender = Sender(session, len(order) + len(wanted), retries)
    numbers, futures, wanted = {}, {}, set(wanted)
    chains, chain = {}, []  # Chain by its functions; what the next node is to continue
    try:
        for place, key in enumerate(order):
            node = graph[key]
            target = _alias(node, needs[key])
            if target is not None:
                numbers[key] = numbers[target]
                if key in wanted:
                    futures[key] = futures.get(target) or sender.add(
                        identity, (Ref(0),), {}, [numbers[target]], _text(key)
                    )[1]
                continue
            function, args, kwargs = _call(node, needs[key])
            chain.append((function, args, kwargs, needs[key]))
            after = order[place + 1] if place + 1 < len(order) else None
            if (
                len(chain) < LONGEST_CHAIN
                and key not in wanted
                and uses[key] == 1
                and needs.get(after) == [key]
                and _alias(graph[after], [key]) is None
            ):
                continue
            name = _text(key) if key in wanted else None
            function, args, kwargs, inputs = _fused(chain, chains)
            chain = []
            numbers[key], future = sender.add(
                function, args, kwargs, [numbers[need] for need in inputs], name
            )
            if future is not None:
                futures[key] = future
    except BaseException:
        session.cancel(list(futures.values()))
        raise
    finally:
        sender.flush(complete=True)
    return futures


def _fused(chain, chains):
    """A chain of calls, each of which needs the one before only, as one call."""
    if len(chain) == 1:
        return chain[0]
    functions = tuple(function for function, *_ in chain)
    fused = chains.get(tuple(map(id, functions)))
    if fused is None:
        fused = chains[tuple(map(id, functions))] = Chain(functions)
    _, first, kwargs, inputs = chain[0]
    rest = [
        _pickling.dump((args, kwargs), name_of(function), "the arguments of ")
        for function, args, kwargs, _ in chain[1:]
    ]
    return fused, ((first, kwargs), *rest), {}, inputs


# The graph.


def _mapping(dsk):
    """The graph as a dict, whatever it came in."""
    if not isinstance(dsk, Mapping) and hasattr(dsk, "__dask_graph__"):
        dsk = dsk.__dask_graph__()
    if not isinstance(dsk, Mapping):
        raise TypeError(f"expected a Dask graph, got {type(dsk).__name__}: {dsk!r:.60}")
    return dsk if type(dsk) is dict else dict(dsk)


def _flat(keys):
    """The keys in nested lists."""
    if not isinstance(keys, list):
        return [keys]
    return [key for one in keys for key in _flat(one)]


def _shaped(keys, values):
    if isinstance(keys, list):
        return [_shaped(key, values) for key in keys]
    return values[keys]


def _depth_first(graph, wanted):
    """(the keys that are needed for `wanted`, inputs first; what each one needs)."""
    order, needs = [], {}
    open_ = set()  # those whose inputs are being gone through
    for start in wanted:
        stack = [(start, None)]
        while stack:
            key, rest = stack.pop()
            if rest is None:
                if key in needs and key not in open_:
                    continue
                if key in open_:
                    raise ValueError(f"the graph has a cycle: {_cycle(stack, key)}")
                if key not in graph:
                    by = f", which {_text(stack[-1][0])} needs" if stack else ""
                    raise KeyError(f"the graph has no key {key!r}{by}")
                needs[key] = list(dict.fromkeys(_needs(graph[key], graph)))
                open_.add(key)
                rest = iter(needs[key])
            for need in rest:
                stack += [(key, rest), (need, None)]
                break
            else:
                open_.discard(key)
                order.append(key)
    return order, needs


def _cycle(stack, key):
    path = [one for one, _ in stack]
    return " -> ".join(_text(one) for one in [*path[path.index(key) :], key])


def _text(key):
    return key if isinstance(key, str) else str(key)


# A node as a call: function, arguments with Refs for its inputs, keywords.


def _call(node, inputs):
    places = {key: Ref(index) for index, key in enumerate(inputs)}
    if _is_call(node):
        try:
            return node[0], tuple(_with_refs(argument, places) for argument in node[1:]), {}
        except _Nested:
            pass
    elif _is_object(node) and type(node).__name__ == "Task":
        try:
            args = tuple(_object_with_refs(argument, places) for argument in node.args)
            pairs = node.kwargs.items()
            kwargs = {name: _object_with_refs(argument, places) for name, argument in pairs}
            return node.func, args, kwargs
        except (_Nested, AttributeError):
            pass
    elif not inputs and not _runs(node):
        return identity, (_evaluate(node, {}),), {}
    return _run, (node, places), {}


class _Nested(Exception):
    """An argument has something to run in it: the whole node is evaluated on the worker."""


def _with_refs(argument, places):
    """An argument of a tuple that is a call."""
    if type(argument) is list:
        return [_with_refs(item, places) for item in argument]
    if _is_call(argument):
        raise _Nested
    try:
        return places.get(argument, argument)
    except TypeError:  # not hashable: no key
        return argument


def _object_with_refs(argument, places):
    """An argument of a Task of Dask's."""
    if _is_object(argument):
        if type(argument).__name__ != "Alias":
            raise _Nested
        return places[argument.target]
    if type(argument).__name__ == "TaskRef":
        return places[argument.key]
    return argument


# A node. All of these also run on the workers.


def _run(node, values):
    """A task of the cluster."""
    return _evaluate(node, values)


def _is_call(node):
    return type(node) is tuple and bool(node) and callable(node[0])


def _is_object(node):
    """Whether it is an object of Dask's that computes itself from a dict of values."""
    return hasattr(node, "dependencies") and hasattr(node, "substitute") and callable(node)


def _is_key(node, keys):
    try:
        return node in keys
    except TypeError:  # not hashable: no key
        return False


def _needs(node, graph):
    """Yield the keys that a node needs."""
    if _is_object(node):
        yield from node.dependencies
    elif _is_call(node):
        for argument in node[1:]:
            yield from _needs(argument, graph)
    elif type(node) is list:
        for item in node:
            yield from _needs(item, graph)
    elif _is_key(node, graph):
        yield node


def _runs(node):
    """Whether there is something to run in a node; else it is a value as it stands."""
    if _is_object(node):
        return type(node).__name__ != "DataNode"
    return _is_call(node) or (type(node) is list and any(map(_runs, node)))


def _alias(node, inputs):
    """The key whose value is this node's, if it is no more than another name of it."""
    if len(inputs) != 1:
        return None
    if _is_object(node):
        return inputs[0] if type(node).__name__ == "Alias" else None
    return inputs[0] if type(node) is not list and not _is_call(node) else None


def _evaluate(node, values):
    """The value of a node, given those that it needs (a dict)."""
    if _is_object(node):
        return node(values)
    if _is_call(node):
        return node[0](*[_evaluate(argument, values) for argument in node[1:]])
    if type(node) is list:
        return [_evaluate(item, values) for item in node]
    return values[node] if _is_key(node, values) else node
