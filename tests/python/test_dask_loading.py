# SPDX-License-Identifier: Apache-2.0
"""What is put off, or done in another way, while Dask is loaded (dtask._dask_loading)."""

import contextlib
import gc
import json
import os
import ssl
import subprocess
import sys
import threading

import pytest
from places import ROOT

from dtask._dask_loading import quickly

yaml = pytest.importorskip("yaml")

LOOK = """
import json, sys
if sys.argv[1] == "quickly":
    from dtask._dask_loading import quickly
    with quickly():
        import distributed
else:
    import distributed
import dask.config, tornado.netutil
dask.config.config.pop("temporary-directory", None)
print(json.dumps([dask.config.config, tornado.netutil._client_ssl_defaults.cert_store_stats()]))
"""


def certificates(context):
    return context.cert_store_stats()["x509"]


@pytest.fixture
def authorities(monkeypatch):
    """Counts how often the system's authorities are loaded; there are two."""
    loads = []

    def load(self, purpose=ssl.Purpose.SERVER_AUTH):
        loads.append(purpose)

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", load)
    return loads


def test_all_is_as_it_was_afterwards():
    load, loader = ssl.SSLContext.load_default_certs, yaml.SafeLoader
    with quickly():
        assert not gc.isenabled()
        assert ssl.SSLContext.load_default_certs is not load
    assert gc.isenabled()
    assert ssl.SSLContext.load_default_certs is load
    assert yaml.SafeLoader is loader


def test_all_is_as_it_was_where_loading_fails():
    load, loader = ssl.SSLContext.load_default_certs, yaml.SafeLoader
    with pytest.raises(ImportError), quickly():
        raise ImportError
    assert gc.isenabled()
    assert (ssl.SSLContext.load_default_certs, yaml.SafeLoader) == (load, loader)


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    try:
        with quickly():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_context_has_its_authorities_once_it_is_used(authorities):
    with quickly():
        context = ssl.create_default_context()
    assert not authorities and isinstance(context, ssl.SSLContext)
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a.test")
    context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="a.test")
    assert authorities == [ssl.Purpose.SERVER_AUTH]
    assert type(context) is ssl.SSLContext


@pytest.mark.parametrize("use", ["get_ca_certs", "cert_store_stats", "wrap_socket"])
def test_whatever_needs_them_loads_them(authorities, use):
    with quickly():
        context = ssl.create_default_context()
    if use == "wrap_socket":
        with pytest.raises(AttributeError):
            context.wrap_socket(None)
    else:
        getattr(context, use)()
    assert authorities == [ssl.Purpose.SERVER_AUTH]


def test_a_context_made_later_has_them_at_once(authorities):
    with quickly():
        pass
    ssl.create_default_context()
    assert authorities == [ssl.Purpose.SERVER_AUTH]


def test_a_context_of_another_class_has_them_at_once(authorities):
    class Other(ssl.SSLContext):
        pass

    with quickly():
        Other(ssl.PROTOCOL_TLS_CLIENT).load_default_certs()
    assert authorities == [ssl.Purpose.SERVER_AUTH]


def test_nobody_uses_it_while_another_thread_loads_them(authorities, monkeypatch):
    loads, go, seen = threading.Event(), threading.Event(), []

    def slow(self, purpose):
        loads.set()
        assert go.wait(10)
        authorities.append(purpose)

    with quickly():
        context = ssl.create_default_context()
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", slow)
    first = threading.Thread(target=context.get_ca_certs)
    second = threading.Thread(target=lambda: seen.append((context.get_ca_certs(), len(authorities))))
    first.start()
    assert loads.wait(10)
    second.start()
    go.set()
    first.join(10)
    second.join(10)
    assert seen == [([], 1)]


@pytest.mark.parametrize("deep", [1, 2])
def test_one_that_is_used_meanwhile(authorities, deep):
    """As by another thread of the client's, while the first imports Dask."""
    with contextlib.ExitStack() as stack:
        for _ in range(deep):
            stack.enter_context(quickly())
        context = ssl.create_default_context()
        context.get_ca_certs()
        assert authorities == [ssl.Purpose.SERVER_AUTH]
        assert type(context) is ssl.SSLContext


def test_one_within_another(authorities):
    with quickly():
        with quickly():
            inner = ssl.create_default_context()
        outer = ssl.create_default_context()
    assert not authorities
    inner.get_ca_certs()
    outer.get_ca_certs()
    assert len(authorities) == 2


def test_dask_is_the_same():
    pytest.importorskip("distributed")
    environment = {**os.environ, "PYTHONPATH": os.path.join(ROOT, "python")}
    found = [
        json.loads(subprocess.check_output([sys.executable, "-c", LOOK, how], env=environment))
        for how in ("quickly", "as it is")
    ]
    assert found[0] == found[1]
    assert found[0][0]["distributed"]


def test_tornado_puts_them_off():
    """Else this is for nothing."""
    pytest.importorskip("tornado")
    code = (
        "from dtask._dask_loading import quickly, _Context\n"
        "with quickly(): import tornado.netutil\n"
        "assert type(tornado.netutil._client_ssl_defaults) is _Context\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.path.join(ROOT, "python")}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_without_yaml(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    with quickly():
        pass
