# SPDX-License-Identifier: Apache-2.0
"""dtask.joblib: the backend by itself, under joblib's two interfaces, and under the joblib here."""

import importlib
import math
import os
import sys
import threading
import types

import functions
import pytest

import dtask


# The backend alone, with stand-ins for joblib: which of its two interfaces it sees does not depend
# on what is installed.


class Batch:
    """What joblib submits."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __call__(self):
        return [self.function(*self.args)]


class OldBase:
    """joblib before 1.3."""

    def __init__(self, nesting_level=None, inner_max_num_threads=None):
        self.nesting_level = nesting_level

    def configure(self, n_jobs=1, parallel=None, **_):
        self.parallel = parallel
        return self.effective_n_jobs(n_jobs)


class NewBase(OldBase):
    """joblib since."""

    supports_retrieve_callback = False

    @property
    def supports_timeout(self):
        return self.supports_retrieve_callback

    @property
    def supports_return_generator(self):
        return self.supports_retrieve_callback


class Mixin:
    def __init__(self, **keywords):
        super().__init__(**keywords)

    def reset_batch_stats(self):
        pass


@pytest.fixture
def load(monkeypatch):
    """load(base class) -> dtask.joblib as it is with a joblib of that kind."""

    def load(base):
        registered = {}
        joblib = types.ModuleType("joblib")
        backends = types.ModuleType("joblib._parallel_backends")

        def register(name, factory, make_default=False):
            registered[name] = (factory, make_default)

        joblib.register_parallel_backend = register
        backends.AutoBatchingMixin, backends.ParallelBackendBase = Mixin, base
        monkeypatch.setitem(sys.modules, "joblib", joblib)
        monkeypatch.setitem(sys.modules, "joblib._parallel_backends", backends)
        monkeypatch.delitem(sys.modules, "dtask.joblib", raising=False)
        module = importlib.import_module("dtask.joblib")
        module.registered = registered
        return module

    yield load
    sys.modules.pop("dtask.joblib", None)
    vars(dtask).pop("joblib", None)


class Callback:
    """What joblib wants to be called."""

    def __init__(self):
        self.got = None
        self.thread = None
        self.called = threading.Event()

    def __call__(self, out):
        self.got, self.thread = out, threading.current_thread()
        self.called.set()

    def wait(self):
        assert self.called.wait(20), "joblib's callback was not called within 20 s"
        return self.got


@pytest.mark.parametrize("base", [OldBase, NewBase])
def test_register(load, base):
    module = load(base)
    module.register()
    assert module.registered == {"dtask": (module.DtaskBackend, False)}
    module.register(make_default=True)
    assert module.registered == {"dtask": (module.DtaskBackend, True)}


def test_the_new_interface(load, client):
    backend = load(NewBase).DtaskBackend(nesting_level=0)
    assert backend.supports_return_generator and backend.supports_timeout
    callback = Callback()
    future = backend.submit(Batch(functions.inc, 1), callback=callback)
    assert callback.wait() is future
    assert backend.retrieve_result_callback(future) == [2]
    assert callback.thread is not threading.current_thread()
    assert not client._session.connection.in_receiver()
    failed = Callback()
    backend.submit(Batch(functions.fail, "so"), callback=failed)
    with pytest.raises(ValueError, match="so"):
        backend.retrieve_result_callback(failed.wait())


def test_the_old_interface(load, client):
    backend = load(OldBase).DtaskBackend(nesting_level=0)
    callback = Callback()
    job = backend.apply_async(Batch(functions.inc, 1), callback=callback)
    assert job.get() == [2] and callback.wait().result() == [2]
    failed = Callback()
    job = backend.apply_async(Batch(functions.fail, "so"), callback=failed)
    with pytest.raises(ValueError, match="so"):
        job.get(timeout=20)
    assert not failed.called.is_set(), "the callback of a failed batch would dispatch another"


def test_the_old_interface_waits_no_longer_than_told(load, start):
    start("hold")
    job = load(OldBase).DtaskBackend().apply_async(Batch(functions.inc, 1))
    with pytest.raises(dtask.TimeoutError):
        job.get(timeout=0.01)


def test_an_error_while_the_old_interface_takes_the_next_call_is_a_jobs(load, client):
    backend = load(OldBase).DtaskBackend()
    backend.parallel = types.SimpleNamespace(_jobs=[])
    called = threading.Event()

    def callback(_):
        try:
            raise KeyError("of the iterator")
        finally:
            called.set()

    backend.apply_async(Batch(functions.inc, 1), callback=callback).get(timeout=20)
    assert called.wait(20)
    backend._callbacks.shutdown()
    with pytest.raises(KeyError, match="of the iterator"):
        backend.parallel._jobs[0].get(timeout=20)


@pytest.mark.parametrize("base", [OldBase, NewBase])
def test_what_cannot_be_sent_fails_its_batch_only(load, client, base):
    backend = load(base).DtaskBackend()
    lock = Batch(functions.inc, threading.Lock())
    if base is OldBase:
        with pytest.raises(dtask.PickleError, match="cannot be pickled"):
            backend.apply_async(lock, callback=Callback()).get(timeout=20)
    else:
        callback = Callback()
        backend.submit(lock, callback=callback)
        with pytest.raises(dtask.PickleError, match="cannot be pickled"):
            backend.retrieve_result_callback(callback.wait())
    done = Callback()
    backend.submit(Batch(functions.inc, 1), callback=done)
    assert done.wait().result() == [2]


def test_n_jobs_counts_slots(load, start):
    fake, client = start("run", welcome={"expected": 4})
    for worker, concurrency in zip(fake.info["workers"], (1, 3)):
        worker["concurrency"] = concurrency
    assert [worker.concurrency for worker in client.workers()] == [1, 3]
    backend = load(NewBase).DtaskBackend()
    # Two are there, with 1 and 3; two have yet to come.
    assert backend.effective_n_jobs(-1) == backend.effective_n_jobs(None) == 1 + 3 + 2 * 3
    assert backend.effective_n_jobs(-2) == 9 and backend.effective_n_jobs(-100) == 1
    assert backend.effective_n_jobs(5) == 5
    with pytest.raises(ValueError, match="n_jobs == 0 in Parallel has no meaning"):
        backend.effective_n_jobs(0)


def test_abort_cancels_what_has_not_ended(load, start):
    fake, _ = start("hold")
    backend = load(NewBase).DtaskBackend()
    callbacks = [Callback(), Callback()]
    futures = [backend.submit(Batch(functions.inc, 1), callback) for callback in callbacks]
    numbers = [k for k, _, _ in fake.tasks(2)]
    backend.abort_everything()
    assert all(future.cancelled() for future in futures)
    assert sorted(fake.expect("cancel")[0][0]["k"]) == numbers
    backend.terminate()


def test_after_a_fork_it_works_in_the_child(load, start, monkeypatch):
    fake, _ = start("run")
    monkeypatch.setenv("DTASK_ADDRESS", fake.address)
    monkeypatch.setenv("DTASK_TOKEN", fake.token.hex())
    backend = load(NewBase).DtaskBackend()
    callback = Callback()
    backend.submit(Batch(functions.inc, 1), callback)
    callback.wait()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            callback = Callback()
            backend.submit(Batch(functions.inc, 1), callback)
            code = 0 if callback.wait().result() == [2] else 2
        finally:
            os._exit(code)
    assert os.WEXITSTATUS(os.waitpid(pid, 0)[1]) == 0


def test_client_and_retries_are_what_was_given(load, start):
    fake, client = start("run")
    start("run")
    backend = load(NewBase).DtaskBackend(client=client, retries=2, nesting_level=0)
    assert backend.submit(Batch(functions.inc, 1)).result(20) == [2]
    assert fake.expect("submit")[0][0]["retries"] == 2


def test_without_joblib(monkeypatch):
    monkeypatch.setitem(sys.modules, "joblib", None)
    monkeypatch.delitem(sys.modules, "dtask.joblib", raising=False)
    with pytest.raises(ImportError, match="dtask.joblib needs the package joblib"):
        importlib.import_module("dtask.joblib")


# The joblib that is installed.


@pytest.fixture
def joblib(client):
    joblib = pytest.importorskip("joblib")
    import dtask.joblib

    dtask.joblib.register()
    with joblib.parallel_backend("dtask"):
        yield joblib


def nested(count):
    import joblib

    backend = joblib.parallel.get_active_backend()[0]
    values = joblib.Parallel(n_jobs=2)(joblib.delayed(functions.inc)(i) for i in range(count))
    return sum(values), type(backend).__name__


def calls(until, error):
    for i in range(200):
        if i == until:
            raise error
        yield functions.inc, (i,), {}


def test_parallel(joblib):
    assert joblib.effective_n_jobs(-1) == 2
    roots = joblib.Parallel()(joblib.delayed(math.sqrt)(i * i) for i in range(300))
    assert roots == list(range(300))
    with joblib.Parallel(n_jobs=-1) as parallel:
        for _ in range(2):
            assert parallel(joblib.delayed(functions.inc)(i) for i in range(3)) == [1, 2, 3]
    assert joblib.Parallel()([]) == []


def test_parallel_fails_as_its_calls(joblib):
    with pytest.raises(ValueError, match="odd: 41") as caught:
        joblib.Parallel()(joblib.delayed(functions.fail_on_odd)(i) for i in [*range(0, 400, 2), 41])
    assert "in fail_on_odd" in str(caught.value.__cause__)
    for until in (0, 150):
        with pytest.raises(KeyError, match="the iterator"):
            joblib.Parallel()(calls(until, KeyError("the iterator")))
    assert joblib.Parallel()(joblib.delayed(functions.inc)(i) for i in range(3)) == [1, 2, 3]


def test_nested_calls_run_in_the_task(joblib):
    values = joblib.Parallel()(joblib.delayed(nested)(count) for count in range(4))
    assert [value for value, _ in values] == [0, 1, 3, 6]
    assert {name for _, name in values} <= {"ThreadingBackend", "SequentialBackend"}


def test_what_needs_shared_memory_stays_here(joblib):
    seen = []
    joblib.Parallel(require="sharedmem")(joblib.delayed(seen.append)(i) for i in range(3))
    assert sorted(seen) == [0, 1, 2]


def test_every_form_of_the_results(joblib):
    base = joblib._parallel_backends.ParallelBackendBase
    forms = [{}]
    if hasattr(base, "supports_retrieve_callback"):
        forms += [{"return_as": form} for form in ("list", "generator", "generator_unordered")]
    for form in forms:
        values = joblib.Parallel(**form)(joblib.delayed(pow)(i, 2) for i in range(50))
        in_order = "unordered" not in form.get("return_as", "")
        values = list(values)
        assert (values if in_order else sorted(values)) == [i * i for i in range(50)], form


def test_scikit_learn(joblib):
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_iris
    from sklearn.model_selection import cross_val_score
    from sklearn.tree import DecisionTreeClassifier

    X, y = load_iris(return_X_y=True)
    model = DecisionTreeClassifier(random_state=0)
    ours = cross_val_score(model, X, y, cv=3, n_jobs=-1)
    assert list(ours) == list(cross_val_score(model, X, y, cv=3, n_jobs=1))
