// SPDX-License-Identifier: Apache-2.0
//
// The scheduler alone, among simulated workers that answer at once: what a task
// costs it in CPU time, with many tasks, workers and clients, and what it takes
// in memory. bench/scale runs it; bench/README.md explains the numbers.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/resource.h>

#include "bench/swarm/swarm.h"
#include "config.h"
#include "lib/base/spawn.h"
#include "lib/base/strings.h"
#include "lib/json/json.h"

using namespace dtask;
using swarm::Process;
using swarm::Shape;
using swarm::Swarm;

namespace {

// A figure is of no fewer: a tenth of a second, beside which what the kernel's clocks and others on
// the machine make of it is little.
constexpr std::size_t least_tasks = 200'000;

constexpr const char *usage =
    "usage: bench/scale [--only WHAT] [--rounds N] [--tasks N] [--workers N,N…] [--json FILE]\n"
    "\n"
    "CPU time and memory of a real scheduler among simulated workers that answer at once.\n"
    "  --only WHAT    tasks, workers, clients, memory or idle; else all\n"
    "  --rounds N     a figure is the median of so many (3)\n"
    "  --tasks N      tasks of the largest map (1000000)\n"
    "  --workers N,…  numbers of workers (1,16,256,1024,4096)\n"
    "  --json FILE    writes the results there, for bench/run\n";

struct Arguments {
    std::string dtaskd, only, json;
    std::size_t rounds = 3, tasks = 1'000'000;
    std::vector<std::size_t> workers{1, 16, 256, 1024, 4096};
};

/// One line of the table. target: at most; 0 = none.
struct Row {
    std::string what, against, unit;
    double ours = 0, theirs = 0, ratio = 0, target = 0;
};

[[noreturn]] void give_up(const std::string &why, int code = 1) {
    std::cerr << "bench/scale: " << why << '\n';
    std::exit(code);
}

std::string count_of(std::size_t n) {
    if (n >= 1'000'000 && n % 1'000'000 == 0) return std::to_string(n / 1'000'000) + "M";
    if (n >= 1'000 && n % 1'000 == 0) return std::to_string(n / 1'000) + "k";
    return std::to_string(n);
}

double median(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
}

class Bench {
public:
    explicit Bench(Arguments arguments) : args_(std::move(arguments)) {}

    void run() {
        auto wanted = [&](const char *what) { return args_.only.empty() || args_.only == what; };
        std::printf("%-44s %10s %8s %8s %6s  %s\n", "", "ours", "target", "ratio", "system", "met");
        if (wanted("tasks")) tasks();
        if (wanted("workers")) workers();
        if (wanted("clients")) clients();
        if (wanted("memory")) memory();
        if (wanted("idle")) idle();
        if (!args_.json.empty()) write_json();
    }

private:
    Process start(std::size_t workers) {
        auto process = Process::start(args_.dtaskd, static_cast<std::uint32_t>(workers));
        if (!process) give_up(process.error().text());
        return std::move(*process);
    }

    struct Cost {
        double us = 0; ///< of CPU, a task
        std::uint64_t system_percent = 0;
    };

    /// Tasks of one shape at a scheduler of their own.
    struct Trial {
        Shape shape;
        std::size_t tasks, clients;
        Process scheduler;
        Swarm swarm;
        std::vector<double> us = {};

        Trial(Shape shape_, std::size_t tasks_, std::size_t clients_, Process process,
              std::size_t workers)
            : shape(shape_), tasks(tasks_), clients(clients_), scheduler(std::move(process)),
              swarm(scheduler) {
            swarm.add_workers(workers);
        }
        /// With clients of its own. Few tasks are done several times, for the clock to see them.
        void round() {
            std::size_t times = std::max<std::size_t>(1, least_tasks / tasks);
            swarm.add_clients(clients);
            auto before = scheduler.cpu_ns();
            for (std::size_t n = 0; n < times; n++) {
                swarm.submit(shape, tasks);
                swarm.run();
            }
            auto spent = static_cast<double>(scheduler.cpu_ns() - before);
            us.push_back(spent / 1e3 / static_cast<double>(times * tasks));
            swarm.drop_clients();
        }
        Cost cost() const { return {median(us), scheduler.system_percent()}; }
    };

    Cost cost(Shape shape, std::size_t tasks, std::size_t workers, std::size_t clients = 1) {
        Trial trial(shape, tasks, clients, start(workers), workers);
        for (std::size_t round = 0; round < args_.rounds; round++) trial.round();
        return trial.cost();
    }

    void add(Row row, std::optional<std::uint64_t> system = {}) {
        bool met = row.ratio > 0 ? row.ratio <= row.target : row.ours <= row.target;
        std::printf("%-44s %10.2f %8s %8s %6s  %s\n", (row.what + ", " + row.unit).c_str(),
                    row.ours, row.target > 0 ? text(row.target).c_str() : "",
                    row.ratio > 0 ? text(row.ratio).c_str() : "",
                    system ? (std::to_string(*system) + " %").c_str() : "",
                    row.target > 0 ? met ? "yes" : "NO" : "");
        std::fflush(stdout);
        rows_.push_back(std::move(row));
    }
    static std::string text(double value) {
        char line[32];
        std::snprintf(line, sizeof line, "%.4g", value);
        return line;
    }

    void tasks() {
        // In turn, since they are compared with each other.
        std::vector<std::unique_ptr<Trial>> maps;
        for (std::size_t n = 1'000; n <= args_.tasks; n *= 10)
            maps.push_back(std::make_unique<Trial>(Shape::map, n, 1, start(16), 16));
        for (std::size_t round = 0; round < args_.rounds; round++)
            for (auto &map : maps) map->round();
        std::vector<double> of_map;
        for (const auto &map : maps) {
            auto spent = map->cost();
            of_map.push_back(spent.us);
            add({"map of " + count_of(map->tasks) + ", 16 workers", "", "us a task", spent.us, 0, 0,
                 5},
                spent.system_percent);
        }
        maps.clear();
        if (of_map.size() > 1)
            add({"the dearest of these maps", "the cheapest", "us a task", std::ranges::max(of_map),
                 std::ranges::min(of_map), std::ranges::max(of_map) / std::ranges::min(of_map),
                 1.5});
        auto merged = std::min<std::size_t>(args_.tasks, 100'000);
        auto merge = cost(Shape::merge, merged, 16);
        add({"merge of " + count_of(merged) + ", 16 workers", "", "us a task", merge.us, 0, 0, 5},
            merge.system_percent);
        auto tree = cost(Shape::tree, merged, 16);
        add({"tree of " + count_of(merged) + ", 16 workers", "", "us a task", tree.us, 0, 0, 5},
            tree.system_percent);
    }

    void workers() {
        const std::pair<Shape, const char *> shapes[] = {
            {Shape::map, "map"}, {Shape::merge, "merge"}, {Shape::tree, "tree"}};
        for (auto [shape, name] : shapes) {
            auto tasks =
                shape == Shape::map ? args_.tasks : std::min<std::size_t>(args_.tasks, 100'000);
            std::optional<double> first;
            for (auto n : args_.workers) {
                auto spent = cost(shape, tasks, n);
                if (!first) first = spent.us;
                add({std::string(name) + " of " + count_of(tasks) + ", " + std::to_string(n) +
                         (n == 1 ? " worker" : " workers"),
                     std::to_string(args_.workers[0]) + " workers", "us a task", spent.us, *first,
                     spent.us / *first, 1.5},
                    spent.system_percent);
            }
        }
    }

    // No target: each client has a function of its own, which each worker is sent, and its results
    // in messages of its own.
    void clients() {
        std::optional<double> first;
        for (std::size_t n : {1, 16, 256}) {
            auto tasks = std::min<std::size_t>(args_.tasks, 100'000);
            auto spent = cost(Shape::map, tasks, 16, n);
            if (!first) first = spent.us;
            add({"map of " + count_of(tasks) + ", 16 workers, " + std::to_string(n) +
                     (n == 1 ? " client" : " clients"),
                 "1 client", "us a task", spent.us, *first, spent.us / *first, 0},
                spent.system_percent);
        }
    }

    // No worker has come: all tasks wait. Then one comes, and all are done and released.
    void memory() {
        for (auto shape : {Shape::map, Shape::tree}) {
            Process scheduler = start(1);
            Swarm swarm(scheduler);
            swarm.add_clients(1);
            auto empty = scheduler.resident();
            swarm.submit(shape, args_.tasks);
            swarm.await_taken();
            auto n = static_cast<double>(args_.tasks);
            auto full = static_cast<double>(scheduler.resident()) - static_cast<double>(empty);
            std::string name = (shape == Shape::map ? "map" : "tree") + std::string(" of ") +
                               count_of(args_.tasks);
            add({name + ", waiting, beside arguments", "", "B a task",
                 full / n - static_cast<double>(Swarm::argument_bytes()), 0, 0, 400});
            swarm.add_workers(1);
            swarm.run();
            swarm.idle(3'000);
            auto left = static_cast<double>(scheduler.resident()) - static_cast<double>(empty);
            // What one more connection and the functions take is not the tasks'.
            add({name + ", done and released", "", "B a task", std::max(left, 0.0) / n, 0, 0, 1});
        }
    }

    void idle() {
        for (auto n : args_.workers) {
            Process scheduler = start(n);
            Swarm swarm(scheduler);
            auto empty = scheduler.resident();
            auto before = scheduler.cpu_ns();
            swarm.add_workers(n);
            auto joined = scheduler.cpu_ns();
            auto many = static_cast<double>(n);
            auto name = std::to_string(n) + (n == 1 ? " worker" : " workers");
            add({name + " come", "", "us a worker",
                 static_cast<double>(joined - before) / 1e3 / many, 0, 0, 0});
            // Once they have told that they idle they tell each 5 s that they live.
            constexpr int first_seconds = 3, seconds = 10;
            swarm.idle(first_seconds * 1'000);
            auto quiet = scheduler.cpu_ns();
            swarm.idle(seconds * 1'000);
            auto spent = static_cast<double>(scheduler.cpu_ns() - quiet);
            add({name + " idle", "", "us a worker and second", spent / 1e3 / many / seconds, 0, 0,
                 0});
            add({name + " idle", "", "KiB a worker",
                 (static_cast<double>(scheduler.resident()) - static_cast<double>(empty)) / 1024 /
                     many,
                 0, 0, 0});
        }
    }

    void write_json() {
        Json all = Json::array();
        for (const auto &row : rows_) {
            bool met = row.ratio > 0 ? row.ratio <= row.target : row.ours <= row.target;
            Json one = Json::object();
            one.set("what", row.what)
                .set("against", row.against)
                .set("ours", row.ours)
                .set("theirs", row.theirs)
                .set("unit", row.unit)
                .set("ratio", row.ratio)
                .set("target", row.target)
                .set("met", row.target > 0 ? met ? "yes" : "no" : "")
                .set("version", PACKAGE_VERSION)
                .set("command", "bench/scale");
            all.append(std::move(one));
        }
        std::ofstream(args_.json) << all.indented() << '\n';
    }

    Arguments args_;
    std::vector<Row> rows_;
};

std::uint64_t number(const std::string &option, const std::string &text) {
    auto value = parse_uint(text, 1'000'000'000);
    if (!value || *value == 0) give_up(option + " " + text + ": accepted is a number above 0", 2);
    return *value;
}

Arguments parse(int argc, char **argv) {
    Arguments args;
    args.dtaskd = argv[1];
    for (int n = 2; n < argc; n += 2) {
        std::string option = argv[n];
        if (option == "--help") {
            std::cout << usage;
            std::exit(0);
        }
        if (n + 1 == argc) give_up(option + ": an option with a value is accepted\n" + usage, 2);
        std::string value = argv[n + 1];
        if (option == "--only") {
            args.only = value;
            if (value != "tasks" && value != "workers" && value != "clients" && value != "memory" &&
                value != "idle")
                give_up(option + " " + value +
                            ": accepted are tasks, workers, clients, memory and idle",
                        2);
        } else if (option == "--rounds") {
            args.rounds = number(option, value);
        } else if (option == "--tasks") {
            args.tasks = number(option, value);
        } else if (option == "--workers") {
            args.workers.clear();
            for (auto part : split(value, ','))
                args.workers.push_back(number(option, std::string(part)));
        } else if (option == "--json") {
            args.json = value;
        } else {
            give_up(option + ": no such option\n" + usage, 2);
        }
    }
    return args;
}

// What the kernel lets this process have: two descriptors a connection are not needed, one is.
void check_descriptors(Arguments &args) {
    raise_descriptor_limit();
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    std::size_t room = limit.rlim_cur > 300 ? limit.rlim_cur - 300 : 0;
    auto too_many = [&](std::size_t n) { return n > room; };
    if (std::ranges::none_of(args.workers, too_many)) return;
    std::cerr << "bench/scale: " << limit.rlim_cur
              << " descriptors (ulimit -Hn) are too few for more than " << room
              << " workers: those numbers are left out\n";
    std::erase_if(args.workers, too_many);
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 2) give_up(std::string("the path of dtaskd is missing\n") + usage, 2);
    auto args = parse(argc, argv);
    check_descriptors(args);
    Bench(std::move(args)).run();
    return 0;
}
