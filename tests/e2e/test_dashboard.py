# SPDX-License-Identifier: Apache-2.0
"""The page of a running cluster: who gets it, what it refuses, and what a browser makes of it.

The browser is Debian's Chromium, without a window. Where it is missing these tests fail: a machine
that has scripts/packages has it.
"""

import glob
import http.client
import json
import os
import re
import socket
import subprocess
import time
from urllib.parse import urlsplit

import pytest
from clusters import DTASK, wait_for

pytestmark = pytest.mark.e2e

# Tasks until a file tells it to go on; then some that fail, and it waits for a second file.
CLIENT = """
import os, time
import dtask

def square(n):
    time.sleep(0.02)
    return n * n

def broken(n):
    raise ValueError(f"<img src=x onerror=document.title='bad'> {n}")

client = dtask.Client()
n = 0
while not os.path.exists("enough"):
    client.gather(client.map(square, range(n, n + 8)))
    n += 8
for future in client.map(broken, range(3)):
    future.exception()
print("tasks", n, flush=True)
end = time.monotonic() + 300
while not os.path.exists("over") and time.monotonic() < end:
    time.sleep(0.05)
"""


class Page:
    """A cluster with a page: its address, key and scheduler file."""

    def __init__(self, cluster, *options):
        self.cluster = cluster
        cluster.start(CLIENT, "--dashboard", *options)
        pattern = os.path.join(cluster.folder, ".dtask", "*.json")
        name = wait_for("a scheduler file", lambda: glob.glob(pattern), 60)[0]
        with open(name, encoding="utf-8") as file:
            self.connection = json.load(file)
        self.url = self.connection["dashboard"]
        parts = urlsplit(self.url)
        self.host, self.port = parts.hostname, parts.port
        self.key = parts.query[len("token=") :]

    def touch(self, name):
        with open(os.path.join(self.cluster.folder, name), "w", encoding="utf-8"):
            pass

    def connect(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    def get(self, path, method="GET", **headers):
        """(status, headers, body) of one request."""
        connection = self.connect()
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        return response.status, response.headers, body

    def mine(self, path):
        """The body, for a viewer."""
        status, _, body = self.get(path, Authorization=f"Bearer {self.key}")
        assert status == 200, body
        return body

    def raw(self, data):
        """All that is answered to these bytes."""
        with socket.create_connection((self.host, self.port), timeout=60) as peer:
            peer.sendall(data)
            heard = b""
            while piece := peer.recv(65536):
                heard += piece
        return heard.decode()

    def end(self):
        self.touch("enough")
        self.touch("over")
        assert self.cluster.finish() == 0, self.cluster.err
        self.cluster.check_clean()


@pytest.fixture
def page(cluster):
    return Page(cluster)


def test_who_may_see_it(page):
    wrong = "0" * 32
    for path in ("/", "/status", "/timeline", "/metrics", "/nothing"):
        for headers in (
            {},
            {"Authorization": f"Bearer {wrong}"},
            {"Authorization": f"Bearer {page.connection['token']}"},
            {"Cookie": f"dtask_page_{page.port}={wrong}"},
        ):
            status, answered, body = page.get(path, **headers)
            assert status == 401, (path, headers)
            assert "Bearer" in answered["WWW-Authenticate"]
            assert page.key not in body
    for token in (wrong, page.connection["token"], "", page.key + "0"):
        assert page.get(f"/?token={token}")[0] == 401

    status, headers, _ = page.get(f"/?token={page.key}")
    assert (status, headers["Location"]) == (303, "/")
    cookie = headers["Set-Cookie"]
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Strict")
    status, headers, body = page.get("/", Cookie=cookie.split(";")[0])
    assert status == 200 and "<title>dtask</title>" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert page.get("/nothing", Authorization=f"Bearer {page.key}")[0] == 404

    # The same as the command says it, but for what moves: once both workers have come.
    wait_for("both workers", lambda: len(json.loads(page.mine("/status"))["workers"]) == 2, 60)
    command = subprocess.run(
        [DTASK, "status", "--json"], cwd=page.cluster.folder, capture_output=True, check=True
    )
    said, shown = json.loads(command.stdout), json.loads(page.mine("/status"))
    assert said.pop("dashboard").startswith("http://")  # of who reads the connection file
    assert said.keys() == shown.keys()
    for name in ("id", "engine", "address", "expected"):
        assert said[name] == shown[name]
    assert [w["name"] for w in said["workers"]] == [w["name"] for w in shown["workers"]]
    metrics = page.mine("/metrics")
    assert re.search(r"^dtask_workers 2$", metrics, re.M)
    assert re.search(r'^dtask_tasks_ended_total\{outcome="done"\} \d+$', metrics, re.M)

    page.end()
    # The address is printed once, and the cluster's token never.
    assert page.cluster.err.count(page.url) == 1
    assert page.connection["token"] not in page.cluster.err
    assert page.connection["token"] != page.key


def test_what_it_refuses(page):
    for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
        status, headers, _ = page.get("/status", method, Authorization=f"Bearer {page.key}")
        assert (status, headers["Allow"]) == (405, "GET"), method
    key = f"Authorization: Bearer {page.key}\r\n".encode()
    for data, status in (
        (b"dtask-1\n" + bytes(40) + b"\r\n\r\n", 400),
        (b"GET /../../etc/passwd HTTP/1.1\r\n" + key + b"\r\n", 404),
        (b"GET http://other/ HTTP/1.1\r\n" + key + b"\r\n", 400),
        (b"GET / HTTP/3.0\r\n" + key + b"\r\n", 505),
        (b"GET / HTTP/1.1\r\n" + key + b"Content-Length: 5\r\n\r\nhello", 413),
        (b"GET / HTTP/1.1\r\n" + key + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\n" + key + b"X: " + b"x" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + key + b"\r\n", 431),
    ):
        if status == 404:
            data = data.replace(key, key + b"Connection: close\r\n")
        assert page.raw(data).startswith(f"HTTP/1.1 {status} "), data[:40]
    page.end()


def test_slow_and_many(page):
    """Peers that hold connections neither keep viewers out nor the step from ending."""
    viewer = page.connect()

    def look():
        viewer.request("GET", "/status", headers={"Authorization": f"Bearer {page.key}"})
        response = viewer.getresponse()
        status = json.loads(response.read())
        assert response.status == 200
        return status["tasks"]["done"]

    look()
    slow = [socket.create_connection((page.host, page.port), timeout=60) for _ in range(300)]
    for peer in slow:
        peer.sendall(b"GET / HT")
    before = look()
    assert page.get("/")[0] == 401
    wait_for("work to go on", lambda: look() > before, 60)
    # The first ones have made room for those that came later.
    try:
        assert slow[0].recv(100) == b""
    except ConnectionResetError:  # before it was heard
        pass
    for peer in slow:
        peer.close()
    viewer.close()
    page.end()


def test_ten_viewers(page):
    viewers = [page.connect() for _ in range(10)]
    for _ in range(5):
        for path in ("/status", "/timeline"):
            for viewer in viewers:
                viewer.request("GET", path, headers={"Authorization": f"Bearer {page.key}"})
            for viewer in viewers:
                response = viewer.getresponse()
                assert response.status == 200
                json.loads(response.read())
    for viewer in viewers:
        viewer.close()
    page.end()


def test_a_page_is_only_there_where_it_was_asked_for(cluster):
    assert cluster.run("import dtask; dtask.Client()", "--dashboard=off") == 0
    assert "dashboard" not in cluster.err
    assert cluster.run("import dtask; dtask.Client()", "--dashboard=yes") != 0
    assert "--dashboard=yes: neither on nor off; accepted: on or off" in cluster.err


@pytest.fixture
def browser(tmp_path):
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    profile = tmp_path / "profile"
    for argument in (
        "--headless=new",
        "--no-sandbox",  # for root; it sees this page only
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1400,1200",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
    driver.set_page_load_timeout(120)
    yield driver
    driver.quit()


def number(browser, name):
    """The number on a tile."""
    return int(re.sub(r"\D", "", browser.find_element("id", name).text) or -1)


def test_in_a_browser(page, browser):
    browser.get(f"http://{page.host}:{page.port}/?token={'0' * 32}")
    assert "401" in browser.title
    browser.get(page.url)
    wait_for("the page", lambda: browser.find_element("id", "state").text == "running", 120)
    # The key is gone from the address, and no script can read the cookie.
    assert browser.current_url == f"http://{page.host}:{page.port}/"
    assert browser.execute_script("return document.cookie") == ""
    assert browser.find_element("id", "name").text == f"dtask {page.connection['id']}"

    # Numbers move, and are those of /status: what is shown lies between two looks at it.
    def done():
        return json.loads(page.mine("/status"))["tasks"]["done"]

    moved = 0
    last = -1
    for _ in range(3):
        before = done()
        wait_for("the page to be newer", lambda: number(browser, "t-done") >= before, 120)
        shown = number(browser, "t-done")
        time.sleep(0.6)  # until /status is made anew
        assert before <= shown <= done()
        moved += shown > last
        last = shown
        wait_for("more tasks", lambda: done() > last, 60)
    assert moved == 3

    page.touch("enough")
    page.cluster.line()
    total = int(page.cluster.field("tasks"))
    wait_for("failures", lambda: number(browser, "t-failed") == 3, 120)
    wait_for("the last task", lambda: number(browser, "t-done") == total, 120)
    # Texts of tasks are texts.
    rows = browser.find_elements("css selector", "#failures tr")
    assert len(rows) == 3
    assert "<img src=x onerror=" in rows[0].text
    assert not browser.find_elements("tag name", "img")
    assert browser.title == f"dtask {page.connection['id']}"
    # A lane a worker, in the colours of what ran, and a line in each chart.
    assert len(browser.find_elements("css selector", "#lane text")) >= 2
    assert browser.find_elements("css selector", "#lane path[style*='--f0']")
    for chart in ("progress", "rate", "cpu", "memory"):
        assert browser.find_elements("css selector", f"#{chart} path.good"), chart
    assert len(browser.find_elements("css selector", "#workers tr")) == 2
    # Nothing was refused by the policy, and nothing broke; the 401 at the beginning is known.
    said = [entry["message"] for entry in browser.get_log("browser")]
    assert [line for line in said if "401" not in line] == []

    page.end()
    wait_for("the end on the page", lambda: "no answer" in browser.find_element("id", "state").text, 120)
    assert number(browser, "t-done") == total
