# SPDX-License-Identifier: Apache-2.0
"""Functions of a script: pickled once, and anew whenever they, or what they use, have changed."""

import gc
import textwrap
import weakref

import pytest
from dtask import _pickling

pytest.importorskip("cloudpickle")


@pytest.fixture
def pickled(monkeypatch):
    """How often a function was pickled: a list of names."""
    names = []
    dump = _pickling.dump_function

    def count(function, name):
        names.append(name)
        return dump(function, name)

    monkeypatch.setattr(_pickling, "dump_function", count)
    return names


def script(text):
    """The globals of a script, none of which another process can import."""
    table = {"__name__": "__main__"}
    exec(textwrap.dedent(text), table)
    return table


def test_once_where_nothing_changes(client, pickled):
    table = script(
        """
        import math
        N = 2
        def helper(x):
            return x * N
        def f(x, factor=3):
            return math.floor(helper(x) * factor) + len([x])
        """
    )
    assert [client.submit(table["f"], n).result() for n in range(5)] == [1, 7, 13, 19, 25]
    assert pickled == ["f"]


CHANGES = {
    "a global": ("N = 1\ndef f(): return N", "N = 2"),
    "a global of a helper": ("N = 1\ndef g(): return N\ndef f(): return g()", "N = 2"),
    "a global within a nested function": ("N = 1\ndef f(): return (lambda: N)()", "N = 2"),
    "a list in place": ("L = [1]\ndef f(): return L[0]", "L[0] = 2"),
    "a tuple's list": ("T = ([1],)\ndef f(): return T[0][0]", "T[0][0] = 2"),
    "a helper": ("def g(): return 1\ndef f(): return g()", "def g(): return 2"),
    "a class": ("class A:\n  n = 1\ndef f(): return A.n", "A.n = 2"),
    "an attribute": ("def f(): return f.n\nf.n = 1", "f.n = 2"),
    "a default": ("def f(n=1): return n", "f.__defaults__ = (2,)"),
    "a keyword's default": ("def f(*, n=1): return n", "f.__kwdefaults__['n'] = 2"),
    "the code": ("def f(): return 1", "f.__code__ = (lambda: 2).__code__"),
    "a cell": (
        "def make():\n  n = 1\n  def f(): return n\n  def to(m):\n    nonlocal n; n = m\n"
        "  return f, to\nf, to = make()",
        "to(2)",
    ),
    "a list in a cell": (
        "def make():\n  n = [1]\n  return lambda: n[0], n\nf, n = make()",
        "n[0] = 2",
    ),
    "a builtin that is hidden": ("def f(): return len((0,))", "def len(x): return 2"),
    "what it wraps": (
        "import functools\ndef g(): return 1\n@functools.wraps(g)\ndef f(): return f.__wrapped__()",
        "def h(): return 2\nf.__wrapped__ = h",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_seen(client, what):
    before, after = CHANGES[what]
    table = script(before)
    f = table["f"]
    assert client.submit(f).result() == 1
    exec(after, table)
    assert client.submit(f).result() == 2
    assert client.submit(f).result() == 2


def test_functions_that_refer_to_each_other(client, pickled):
    table = script(
        "def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)"
    )
    assert [client.submit(table["even"], n).result() for n in (4, 5)] == [True, False]
    assert pickled == ["even"]


def test_functions_are_not_kept_for_ever(client):
    first = weakref.ref(script("f = lambda: 0")["f"])
    client.submit(first()).result()
    for n in range(300):
        client.submit(script(f"f = lambda: {n}")["f"])
    gc.collect()
    assert first() is None
