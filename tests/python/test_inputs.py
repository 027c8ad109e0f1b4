# SPDX-License-Identifier: Apache-2.0
"""Values that stay on workers as inputs of other tasks, and those that clients put there."""

import functions
import pytest
from store import BIG


# As inputs.


def test_a_stored_input_stays_where_it_is(start):
    fake, client = start("run", stores=1)
    big, small = client.submit(bytes, BIG), client.submit(bytes, 10)
    total = client.submit(functions.add, client.submit(len, big), client.submit(len, small))
    assert total.result(20) == BIG + 10
    ((header, _),) = fake.expect("graph")
    assert header["in"] == [big._number] and header["inputs"] == [1]
    assert header["complete"] == 1 and header["want"] == [1]
    assert fake.stores[0].asked == []
    assert big.result(20) == bytes(BIG)
    assert client.submit(len, big).result(20) == BIG, "a value that was fetched is there still"
    assert len(fake.expect("graph", 2)) == 2


def test_inputs_of_both_kinds(start):
    fake, client = start("run", stores=1)
    one, two = client.map(bytes, [BIG, BIG + 1])
    small = client.submit(functions.inc, 4)
    future = client.submit(functions.echo, two, [small, {"x": one}], again=two, plain="p")
    args, kwargs = future.result(20)
    assert args == (bytes(BIG + 1), [5, {"x": bytes(BIG)}])
    assert kwargs == {"again": bytes(BIG + 1), "plain": "p"}
    ((header, payload),) = fake.expect("graph")
    assert header["in"] == [two._number, one._number] and len(payload) < 1000


def test_a_chain_of_stored_values(start):
    fake, client = start("run", stores=1)
    future = client.submit(bytes, BIG)
    for _ in range(20):
        future = client.submit(bytes, future)
    assert future.result(60) == bytes(BIG)
    assert len(fake.expect("graph", 20)) == 20


def test_an_input_of_another_client(start):
    fake, client = start("run", stores=1)
    other = start("run")[1]
    assert other.submit(len, client.submit(bytes, BIG)).result(20) == BIG


def test_an_input_that_is_dropped_at_once(start):
    fake, client = start("run", stores=1)
    assert client.submit(len, client.submit(bytes, BIG)).result(20) == BIG
    assert fake.expect("release")[0][0]["k"] == [1], "and not before the graph: see the fake"


# Scattering.


def test_large_values_are_scattered_to_a_worker(start):
    fake, client = start("run", stores=1)
    small, large = client.scatter([bytes(10), bytes(BIG)])
    assert small.done()
    assert client.gather(client.map(len, [small, large])) == [10, BIG]
    sizes = [sum(header["len"]) for header, _ in fake.expect("submit", 2)]
    assert sum(sizes) < BIG + 1000, "it was sent once"
    assert large.result(20) == bytes(BIG) and large.key.startswith("bytes-")


def test_what_is_too_large_for_a_message_goes_in_pieces(start):
    numpy = pytest.importorskip("numpy")
    fake, client = start("run", stores=1)
    array = numpy.arange(9 << 20, dtype="f8").reshape(3, -1)  # 72 MiB
    future = client.scatter({"it": [array]})["it"]  # in the shape in which it comes
    assert numpy.array_equal(future.result(60)[0], array)
    assert client.submit(len, future).result(20) == 1
    lengths = [length for header, _ in fake.expect("graph") for length in header["len"]]
    assert max(lengths) < 33 << 20
    text = client.scatter(bytes(65 << 20))
    assert client.submit(len, text).result(20) == 65 << 20


def test_large_keywords_of_a_map_are_sent_once(start):
    fake, client = start("run", stores=1)
    values = client.gather(client.map(functions.size_of, ["a", "bc"] * 50, more=bytes(BIG)))
    assert values == [BIG + 1, BIG + 2] * 50
    sent = sum(len(payload) for _, payload in fake.received)
    assert BIG < sent < 2 * BIG
    assert fake.expect("release")[0][0]["k"] == [1]
    future = client.submit(functions.inc, 1)
    assert client.gather(client.map(functions.add, [1], more=future)) == [3]
    assert client.map(functions.size_of, [], more=bytes(BIG)) == []
