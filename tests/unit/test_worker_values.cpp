// SPDX-License-Identifier: Apache-2.0
//
// Values that stay on a worker: kept, freed, moved to disk, and in the way of calls.
#include "tests/unit/unit.h"

#include <csignal>
#include <filesystem>
#include <set>

#include <unistd.h>

#include "tests/fakes/executor.h"
#include "tests/unit/scratch.h"
#include "tests/unit/worker_cluster.h"

using namespace dtask;
using namespace dtask::proto;
using dtask::test::Cluster;
using dtask::test::mib;
using dtask::test::must;
using dtask::test::ref;
using dtask::worker::Memory;

namespace {

/// Executors that store what they are told to, write down what they see, and go wrong.
SpawnSpec storing_executor() {
    return fakes::executor(R"(
store = os.environ.get("DTASK_STORE")
def put(name, data):
    with open(store + "/" + name, "wb") as file:
        file.write(data)
ready()
inputs = []
for function, task, body in calls():
    if function == 0: # an input
        inputs.append(body)
    elif body == b"store":
        put(str(task), b"v" * 70000)
        send(9, task, b"70000", 7)
    elif body == b"lie":
        put(str(task), b"v")
        send(9, task, b"70000")
    elif body == b"missing":
        send(10, task, b"/s/9: No such file \xff")
    elif body == b"die":
        put(str(task), b"v")
        put(str(task) + "." + str(os.getpid()), b"v")
        os.kill(os.getpid(), signal.SIGKILL)
    elif body == b"inputs":
        send(5, task, b"|".join(inputs))
    else:
        send(5, task, str(store).encode())
)");
}

std::size_t count_of(const test::Scratch &directory) { return directory.names().size(); }

START_TEST(test_values_stay_until_they_are_free) {
    Cluster c;
    test::Scratch memory, disk;
    c.settings.store = {memory.path(), disk / "spill", true, 0};
    c.settings.executor = storing_executor();
    c.on("register", [&](Frame frame) {
        ck_text_eq(must(decode_register(frame.header)).store, memory.path());
        c.send_function();
        c.send_run(1, 1, "where");
    });
    c.on("done", [&](Frame frame) {
        auto done = must(decode_done(std::move(frame)));
        ck_text_eq(done.payload, memory.path());
        ck_assert(done.stored.empty());
        c.send_run(2, 1, "store");
    });
    c.on("done", [&](Frame frame) {
        auto done = must(decode_done(std::move(frame)));
        ck_assert((done.k == Column{2} && done.stored == Column{70000} && done.us == Column{7}));
        ck_text_eq(done.payload, "");
        ck_assert((memory.names() == std::set<std::string>{"2"}));
        // It is here: nothing is to be fetched.
        c.send(encode(Fetch{2, 70000, "127.0.0.1:1"}));
    });
    c.on("fetched", [&](Frame frame) {
        ck_assert_uint_eq(must(decode_datum(frame)), 2);
        c.send(encode(Fetch{3, 70000, "127.0.0.1:x"}));
    });
    c.on("unfetched", [&](Frame frame) {
        auto m = must(decode_unfetched(frame));
        ck_assert_uint_eq(m.data, 3);
        ck_contains(m.message, "127.0.0.1:x: ");
        std::string path = "/other/2", value = "3in", args = "inputs";
        c.send(encode(Run{{1}, {4}, {1}, {2}, {8, 3}, {17}, path + value + args, {1, 0}}));
    });
    c.on("done", [&](Frame frame) {
        auto done = must(decode_done(std::move(frame)));
        ck_assert(done.payload == worker::load_call("/other/2") + "|3in");
        c.send(encode_data("free", {2, 77}));
    });
    c.script.when("the value to go", [&] { return count_of(memory) == 0; });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// Neither a lie nor a death leaves anything in the store.
START_TEST(test_values_that_go_wrong) {
    Cluster c;
    test::Scratch memory;
    c.settings.store = {memory.path(), "", true, 0};
    c.settings.executor = storing_executor();
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1, "lie");
    });
    c.on("failed", [&](Frame frame) {
        auto failure = must(decode_failure(std::move(frame)));
        ck_assert(failure.kind == FailureKind::crashed);
        ck_contains(failure.message, "/1: no file of 70000 bytes");
        ck_assert_uint_eq(count_of(memory), 0);
        c.send_run(2, 1, "missing");
    });
    c.on("failed", [&](Frame frame) {
        auto failure = must(decode_failure(std::move(frame)));
        ck_assert(failure.kind == FailureKind::missing);
        ck_text_eq(failure.message, "an input could not be opened: /s/9: No such file ?");
        c.send_run(3, 1, "die");
    });
    c.on("failed", [&](Frame frame) {
        auto failure = must(decode_failure(std::move(frame)));
        ck_assert(failure.kind == FailureKind::crashed);
        ck_assert_uint_eq(count_of(memory), 0);
    });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// A task that was cancelled after an executor had it: its value is nobody's.
START_TEST(test_stored_by_a_cancelled_call) {
    Cluster c;
    test::Scratch memory, elsewhere;
    c.settings.store = {memory.path(), "", true, 0};
    c.settings.executor = fakes::executor(R"(
ready()
for function, task, body in calls():
    while body == b"wait" and not os.path.exists(os.environ["GO"]):
        time.sleep(0.001)
    if task == 1:
        send(5, task, b"v", 1)
    else:
        with open(os.environ["DTASK_STORE"] + "/" + str(task), "wb") as file:
            file.write(b"value")
        send(9, task, b"5", 1)
)");
    c.settings.executor.env.set("GO", elsewhere / "go");
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1, "x");
    });
    c.on("done", [&](Frame) { // calls of microseconds: the second is given ahead
        c.send_run(2, 1, "wait");
        c.send_run(3, 1, "x");
        c.send(encode_refs("kill", ref(3)));
        c.send(encode_refs("retract", ref(99)));
    });
    c.on("retracted", [&](Frame) { // so the others have been seen
        must(replace_file(elsewhere / "go", "", 0600));
        c.send_run(4, 1, "x");
    });
    auto seen = std::make_shared<Column>();
    c.script.when("the others' outcomes", [&c, seen] {
        for (auto &frames = c.peers[0]->frames; !frames.empty(); frames.pop_front())
            if (frames.front().type() == "done")
                for (auto k : must(decode_done(std::move(frames.front()))).k) seen->push_back(k);
        return *seen == Column{2, 4};
    });
    c.script.when("its value to be gone", [&] {
        return memory.names() == std::set<std::string>{"2", "4"};
    });
    c.bye();
    ck_assert_int_eq(c.play(), 0);
}
END_TEST

// Without a store, or where it cannot be used, values travel as they always did.
START_TEST(test_without_a_store) {
    for (auto place : {"", "/nowhere/store"}) {
        Cluster c;
        c.settings.store = {place, "", false, 0};
        c.settings.executor = storing_executor();
        c.on("register", [&](Frame frame) {
            ck_text_eq(must(decode_register(frame.header)).store, "");
            c.send_function();
            c.send_run(1, 1, "where");
            c.send(encode(Fetch{3, 70000, "127.0.0.1:1"}));
        });
        c.on("unfetched", [](Frame frame) {
            ck_contains(must(decode_unfetched(frame)).message, "keeps no values");
        });
        c.on("done",
             [](Frame frame) { ck_text_eq(must(decode_done(std::move(frame))).payload, "None"); });
        c.bye();
        ck_assert_int_eq(c.play(), 0);
    }
}
END_TEST

// Short of memory it moves values to disk, and kills nobody.
START_TEST(test_moves_values_to_disk) {
    Cluster c;
    test::Scratch memory, disk;
    c.settings.store = {memory.path(), disk / "spill", true, 0};
    c.settings.executor = fakes::executor(R"(
ready()
for function, task, body in calls():
    with open(os.environ["DTASK_STORE"] + "/" + str(task), "wb") as file:
        file.write(b"v" * (8 << 20))
    send(9, task, str(8 << 20).encode())
)");
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 6);
    });
    auto seen = std::make_shared<std::size_t>(0);
    c.script.when("all values", [&c, seen] {
        for (auto &frames = c.peers[0]->frames; !frames.empty(); frames.pop_front()) {
            ck_assert(frames.front().type() != "failed");
            if (frames.front().type() == "done")
                *seen += must(decode_done(std::move(frames.front()))).k.size();
        }
        return *seen == 6;
    });
    c.script.when("enough of them on disk", [&] {
        return std::filesystem::is_symlink(memory / "1") &&
               std::filesystem::is_symlink(memory / "3") &&
               std::filesystem::file_size(disk / "spill/3") == 8 * mib;
    });
    c.bye();
    ck_assert_int_eq(c.play(Memory({}, 50 * mib)), 0);
    ck_assert(!std::filesystem::is_symlink(memory / "6"));
}
END_TEST

/// A worker's group on v1, played by files.
struct Group {
    explicit Group(std::uint64_t limit) {
        layout.root = scratch.path();
        layout.check_magic = false;
        layout.mounts.push_back({"/", scratch / "memory", false, {"memory"}});
        place = scratch / "memory/job_1/step_0/task_0/dtask";
        must(make_directories(place, 0700));
        put("cgroup.procs", "");
        put("memory.limit_in_bytes", std::to_string(limit));
        put("memory.usage_in_bytes", std::to_string(limit));
        put("memory.max_usage_in_bytes", std::to_string(limit));
        put("memory.oom_control", "oom_kill 0\n");
    }
    void put(const std::string &name, const std::string &text) {
        must(replace_file(place + "/" + name, text, 0600));
    }
    Memory memory() {
        cgroup::Membership self{{4, {"memory"}, "/job_1/step_0/task_0"}};
        return Memory(must(cgroup::WorkerGroup::find(layout, self, {1, 0, 0})), 0);
    }

    test::Scratch scratch;
    cgroup::Layout layout;
    std::string place;
};

/// Executors that store 30 MiB, tell whether the value of task 1 is on disk, and are killed by
/// the kernel, as it seems: always, or while that value is in memory.
SpawnSpec tight_executor(const Group &group) {
    auto spec = fakes::executor(R"(
store, group = os.environ["DTASK_STORE"], os.environ["GROUP"]
def moved():
    return os.path.islink(store + "/1")
ready()
for function, task, body in calls():
    if body == b"store":
        with open(store + "/" + str(task), "wb") as file:
            file.write(b"v" * (30 << 20))
        send(9, task, str(30 << 20).encode(), 20000)
    elif body == b"hog" or (body == b"large" and not moved()):
        path = group + "/memory.oom_control"
        kills = int(open(path).read().split()[1]) + 1
        with open(path + ".new", "w") as file:
            file.write("oom_kill %d\n" % kills)
        os.rename(path + ".new", path)
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        send(5, task, b"moved" if moved() else b"in memory", 20000)
)");
    spec.env.set("GROUP", group.place);
    return spec;
}

// While values are moved no call begins: it might not find the memory that it needs.
START_TEST(test_calls_wait_for_room) {
    Cluster c;
    Group group(40 * mib); // the value of 30 MiB alone is more than it may keep
    test::Scratch memory, disk;
    c.settings.store = {memory.path(), disk / "spill", true, 0};
    c.settings.executor = tight_executor(group);
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1, "store");
        c.send_run(2, 1, "look");
    });
    auto seen = std::make_shared<std::string>();
    c.script.when("both outcomes", [&c, seen] {
        for (auto &frames = c.peers[0]->frames; !frames.empty(); frames.pop_front())
            if (frames.front().type() == "done")
                *seen += must(decode_done(std::move(frames.front()))).payload;
        return !seen->empty();
    });
    c.bye();
    ck_assert_int_eq(c.play(group.memory()), 0);
    ck_text_eq(*seen, "moved");
}
END_TEST

// A call that is killed where values had taken the memory runs once more without them; one that
// takes too much by itself is reported then.
START_TEST(test_values_give_way_to_calls) {
    Cluster c;
    Group group(200 * mib); // room enough, it seems
    test::Scratch memory, disk;
    c.settings.store = {memory.path(), disk / "spill", true, 0};
    c.settings.executor = tight_executor(group);
    c.on("register", [&](Frame) {
        c.send_function();
        c.send_run(1, 1, "store");
    });
    c.on("done", [&](Frame) { c.send_run(2, 1, "large"); });
    c.on("done", [&](Frame frame) {
        ck_text_eq(must(decode_done(std::move(frame))).payload, "moved");
        c.send_run(3, 1, "store");
    });
    c.on("done", [&](Frame) { c.send_run(4, 1, "hog"); });
    c.on("failed", [&](Frame frame) {
        auto failure = must(decode_failure(std::move(frame)));
        ck_assert_uint_eq(failure.k, 4);
        ck_assert(failure.kind == FailureKind::memory);
        ck_text_eq(must(read_file(group.place + "/memory.oom_control")), "oom_kill 3\n");
    });
    c.bye();
    ck_assert_int_eq(c.play(group.memory()), 0);
}
END_TEST

Suite *suite() {
    auto s = suite_create("worker_values");
    auto c = tcase_create("worker_values");
    tcase_set_timeout(c, 60);
    for (auto test :
         {test_values_stay_until_they_are_free, test_values_that_go_wrong,
          test_stored_by_a_cancelled_call, test_without_a_store, test_moves_values_to_disk,
          test_calls_wait_for_room, test_values_give_way_to_calls})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }
