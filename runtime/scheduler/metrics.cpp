// SPDX-License-Identifier: Apache-2.0
// What the page has for Prometheus.
#include "runtime/scheduler/page.h"

#include <functional>

#include <fmt/format.h>

namespace dtask::scheduler {

namespace {

// As the value of a label.
std::string escaped(std::string_view text) {
    std::string out;
    for (char c : text) {
        if (c == '\\' || c == '"') out += '\\';
        if (c == '\n')
            out += "\\n";
        else
            out += c;
    }
    return out;
}

class Text {
public:
    void family(std::string_view name, std::string_view type, std::string_view help) {
        text_ += fmt::format("# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
        name_ = name;
    }
    template <class T> void value(T number, std::string_view labels = "") {
        text_ += labels.empty() ? fmt::format("{} {}\n", name_, number)
                                : fmt::format("{}{{{}}} {}\n", name_, labels, number);
    }
    template <class T>
    void single(std::string_view name, std::string_view type, std::string_view help, T number) {
        family(name, type, help);
        value(number);
    }
    std::string take() { return std::move(text_); }

private:
    std::string text_;
    std::string_view name_;
};

} // namespace

std::string metrics(const proto::Info &info, double cpu_s) {
    Text text;
    text.family("dtask_info", "gauge", "The cluster.");
    text.value(1, fmt::format("id=\"{}\",engine=\"{}\"", escaped(info.id), escaped(info.engine)));
    text.single("dtask_uptime_seconds", "gauge", "Since the scheduler began.",
                static_cast<double>(info.uptime_ms) / 1e3);
    text.single("dtask_workers", "gauge", "Workers that are there.", info.workers.size());
    text.single("dtask_workers_expected", "gauge", "Workers that the step should have.",
                info.expected);
    text.single("dtask_clients", "gauge", "Clients that are connected.", info.clients);
    text.family("dtask_tasks", "gauge", "Tasks that have not ended, by state.");
    text.value(info.waiting, "state=\"waiting\"");
    text.value(info.running, "state=\"running\"");
    text.family("dtask_tasks_ended_total", "counter", "Tasks that have ended, by outcome.");
    text.value(info.done, "outcome=\"done\"");
    text.value(info.failed, "outcome=\"failed\"");
    text.single("dtask_tasks_retried_total", "counter",
                "Executions that were followed by another try.", info.retried);
    text.single("dtask_busy_seconds_total", "counter", "Run time of all executions.",
                static_cast<double>(info.busy_us) / 1e6);
    text.single("process_cpu_seconds_total", "counter", "CPU time of the scheduler.", cpu_s);

    struct Row {
        std::string_view name, type, help;
        std::function<double(const proto::WorkerInfo &)> value;
    };
    auto number = [](std::uint64_t n) { return static_cast<double>(n); };
    const Row rows[] = {
        {"dtask_worker_memory_bytes", "gauge", "Memory of a worker's executors and values.",
         [&](auto &w) { return number(w.memory); }},
        {"dtask_worker_memory_peak_bytes", "gauge", "The most that it has been.",
         [&](auto &w) { return number(w.peak); }},
        {"dtask_worker_memory_limit_bytes", "gauge", "Its limit; 0: none.",
         [&](auto &w) { return number(w.about.memory_limit); }},
        {"dtask_worker_cpus", "gauge", "CPUs of a worker.",
         [&](auto &w) { return number(w.about.nthreads); }},
        {"dtask_worker_cpu_seconds_total", "counter", "CPU time of what it has run.",
         [&](auto &w) { return number(w.cpu_us) / 1e6; }},
        {"dtask_worker_running", "gauge", "Tasks that run there.",
         [&](auto &w) { return number(w.running); }},
        {"dtask_worker_queued", "gauge", "Tasks that wait there.",
         [&](auto &w) { return number(w.queued); }},
        {"dtask_worker_done_total", "counter", "Tasks that have ended there.",
         [&](auto &w) { return number(w.done); }},
    };
    for (const auto &row : rows) {
        text.family(row.name, row.type, row.help);
        for (const auto &worker : info.workers)
            text.value(row.value(worker),
                       fmt::format("worker=\"{}\",node=\"{}\"", escaped(worker.about.name),
                                   escaped(worker.about.node)));
    }
    return text.take();
}

} // namespace dtask::scheduler
