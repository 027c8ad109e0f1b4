// SPDX-License-Identifier: Apache-2.0
//
// Executors for tests: a few lines of Python that speak the records of
// doc/protocol.md §5 and do what a test wants of them, well or badly. The
// script begins with these names:
//
//   send(kind, task, body, us)   one record
//   ready()                      tells that it can take calls
//   calls()                      the calls that come, as (function, task, body)
//   functions                    what was sent, by number; "cluster": where the scheduler is said
//                                to be, "void": how often calls given ahead were taken back
#pragma once

#include <string>

#include "lib/base/spawn.h"

namespace dtask::fakes {

inline SpawnSpec executor(const std::string &script) {
    static const std::string prelude = R"(
import os, signal, struct, sys, time
head = struct.Struct("<B7xQQQ")
functions = {}
def send(kind, task=0, body=b"", us=0):
    os.write(3, head.pack(kind, us, task, len(body)) + body)
def ready():
    send(4)
def get(n):
    data = b""
    while len(data) < n:
        more = os.read(3, n - len(data))
        if not more:
            os._exit(0)
        data += more
    return data
def calls():
    while True:
        kind, function, task, length = head.unpack(get(32))
        body = get(length)
        if kind == 1:
            functions[function] = body
        elif kind == 3:
            del functions[function]
        elif kind == 13:
            functions["cluster"] = body
        elif kind == 14:
            functions["void"] = functions.get("void", 0) + 1
        else:
            yield function, task, body
)";
    SpawnSpec spec;
    spec.program = DTASK_TEST_PYTHON;
    spec.argv = {"python3", "-S", "-E", "-c", prelude + script};
    spec.env.set("PATH", "/usr/bin:/bin");
    return spec;
}

/// Answers each call with its function, a colon and its arguments.
inline SpawnSpec good_executor() {
    return executor(R"(
ready()
for function, task, body in calls():
    send(5, task, functions[function] + b":" + body, 7)
)");
}

} // namespace dtask::fakes
