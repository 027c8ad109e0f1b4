# SPDX-License-Identifier: Apache-2.0
"""Loading Dask, less what need not be done, or not yet: a fifth of the processor time that it takes.

- Python's collector looks through what is imported again and again, and nothing of it is garbage.
- tornado makes a TLS context for connections that may never be made, and loads all authorities that
  the system trusts into it. It has them once it is used.
- Dask reads its configuration with the parser of PyYAML's that is written in Python. The other one
  is ten times as fast, and gives the same.

Each of a step's processes loads Dask, and its first result waits for three of them (ADR 49).
"""

import contextlib
import gc
import ssl
import threading

_loading = threading.Lock()
_Ordinary = ssl.SSLContext  # who puts another in its place has reasons of his own


@contextlib.contextmanager
def quickly():
    """Everything is as it was afterwards, but for contexts that have yet to load their authorities."""
    collects = gc.isenabled()
    gc.disable()
    try:
        with _quick_yaml(), _postponed_authorities():
            yield
    finally:
        if collects:
            gc.enable()


@contextlib.contextmanager
def _quick_yaml():
    try:
        import yaml

        slow, quick = yaml.SafeLoader, yaml.CSafeLoader
    except (ImportError, AttributeError):
        yield
        return
    yaml.SafeLoader = quick
    try:
        yield
    finally:
        yaml.SafeLoader = slow


@contextlib.contextmanager
def _postponed_authorities():
    original = _Ordinary.load_default_certs

    def load_default_certs(self, purpose=ssl.Purpose.SERVER_AUTH):
        if type(self) is _Ordinary:
            self.__class__ = _Context
            self._purposes = []
        if type(self) is _Context and self._purposes is not None:
            self._purposes.append(purpose)
        else:
            original(self, purpose)

    _Ordinary.load_default_certs = load_default_certs
    try:
        yield
    finally:
        _Ordinary.load_default_certs = original


class _Context(_Ordinary):
    """One that has yet to load the system's authorities: it is an ordinary one once it has."""

    def _load(self):
        with _loading:
            if type(self) is _Context:
                # None: they are loaded from now on, though Dask may still be on its way in.
                purposes, self._purposes = self._purposes, None
                for purpose in purposes:
                    _Ordinary.load_default_certs(self, purpose)
                del self._purposes
                self.__class__ = _Ordinary

    def wrap_socket(self, *args, **kwargs):
        self._load()
        return self.wrap_socket(*args, **kwargs)

    def wrap_bio(self, *args, **kwargs):
        self._load()
        return self.wrap_bio(*args, **kwargs)

    def get_ca_certs(self, *args, **kwargs):
        self._load()
        return self.get_ca_certs(*args, **kwargs)

    def cert_store_stats(self):
        self._load()
        return self.cert_store_stats()
