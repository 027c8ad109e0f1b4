# SPDX-License-Identifier: Apache-2.0
"""Dask's collections on the cluster: ``dtask.dask.get`` is a scheduler for them.

    import dask, dtask.dask

    dask.config.set(scheduler=dtask.dask.get)      # or x.compute(scheduler=dtask.dask.get)

A graph's nodes become tasks whose arguments are the futures of the nodes they need, submitted at
once and depth first, which is also their priority (doc/adr/0016). A node's value is dropped as soon
as the last task that needs it has been sent.

Nodes are understood by their form, so that any release of Dask can hand its graphs to us: tuples
that begin with a callable, and objects that know their `dependencies` and are called with a dict of
their values. Dask itself is not imported.
"""

import weakref
from collections.abc import Mapping

from ._default import default_client

__all__ = ["get"]


def get(dsk, keys, client=None, retries=0, **_):
    """The values of `keys`, in the shape in which they come: a key, or nested lists of keys.

    dsk      a Dask graph: a dict, or any mapping, or an object with ``__dask_graph__()``
    client   the dtask.Client to use; default: the newest one, else one made by the environment
    retries  as in Client.submit, of every node

    Other keywords of Dask's schedulers change nothing. The first node that fails raises its
    exception, and the rest is cancelled. Raises KeyError for a key that is not in the graph,
    ValueError for a cycle, TypeError for what is no graph; ConnectError where there is no cluster.
    """
    graph = _mapping(dsk)
    wanted = list(dict.fromkeys(_flat(keys)))
    order, needs = _depth_first(graph, wanted)
    if not order:
        return _shaped(keys, {})
    client = default_client() if client is None else client
    sent = []
    try:
        futures = _submit(client, graph, order, needs, retries, wanted, sent)
        values = client.gather([futures[key] for key in wanted])
    except BaseException:
        client.cancel([future for future in (one() for one in sent) if future is not None])
        raise
    return _shaped(keys, dict(zip(wanted, values)))


def _submit(client, graph, order, needs, retries, wanted, sent):
    """Send the nodes; the futures of `wanted` by key. Weak references to all go to `sent`."""
    last = {need: key for key in order for need in needs[key]}  # the last node that needs it
    futures, wanted = {}, set(wanted)
    for place, key in enumerate(order):
        node, inputs = graph[key], needs[key]
        target = _alias(node, inputs)
        if target is not None:
            future = futures[target]
        elif not inputs and not _runs(node):
            future = client.scatter([_evaluate(node, {})])[0]
        else:
            future = client.submit(
                _run,
                node,
                {need: futures[need] for need in inputs},
                key=_text(key),
                priority=-place,
                retries=retries,
            )
            sent.append(weakref.ref(future))
        futures[key] = future
        for need in inputs:
            if last[need] == key and need not in wanted:
                del futures[need]
    return futures


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


# A node. All of these also run on the workers.


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


def _run(node, values):
    """A task of the cluster."""
    return _evaluate(node, values)
