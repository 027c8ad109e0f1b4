// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/scheduler.h"

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <iostream>
#include <optional>
#include <utility>

#include "lib/base/exit_codes.h"
#include "lib/base/log.h"
#include "lib/base/net.h"
#include "lib/base/spawn.h"
#include "lib/model/ports.h"
#include "lib/model/slots.h"
#include "runtime/client/connection_file.h"
#include "runtime/client/probe.h"
#include "runtime/dask/scheduler.h"
#include "runtime/launch/handover.h"
#include "runtime/launch/place.h"
#include "runtime/scheduler/closing.h"
#include "runtime/scheduler/display.h"
#include "runtime/scheduler/server.h"

namespace dtask::scheduler {

namespace {

// The step's end is the launcher's to decide: what reaches the whole process
// group, as Ctrl-C, is not for us.
void ignore_signals() {
    for (int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE})
        (void)::signal(number, SIG_IGN);
}

// Writes the scheduler file, and says whether it is there: only outsiders need
// it, and the step works without. Fails where it is another step's.
Result<bool> publish(const model::LaunchSpec &spec, const std::string &path,
                     const client::Connection &connection) {
    // A directory that the machine of srun has and this node has not is not
    // made here: nobody would look for it, or remove it.
    std::error_code ignored;
    if (!spec.submit_dir.empty() && path.starts_with(spec.submit_dir + '/') &&
        !std::filesystem::is_directory(spec.submit_dir, ignored)) {
        auto level = spec.options.scheduler_file.empty() ? log::Level::info : log::Level::warning;
        log::write(level, "scheduler file " + path + ": " + spec.node + " has no directory " +
                              spec.submit_dir);
        return false;
    }
    auto done = client::write_connection_file(path, connection);
    if (done) return true;
    if (auto may = client::may_write_connection_file(path, connection.token); !may)
        return fail_from(std::move(may));
    log::warning("scheduler file: " + done.error().text());
    return false;
}

Result<int> serve(const model::LaunchSpec &spec, const Env &env) {
    auto token = proto::Token::from_hex(spec.token);
    if (!token) return fail_from(std::move(token));
    auto plan = model::plan(spec.options.slots, spec.ntasks, spec.cpus_per_task);
    if (!plan) return fail_from(std::move(plan));
    auto silence_s = launch::silence_limit(env);
    if (!silence_s) return fail_from(std::move(silence_s));
    auto host = launch::advertised_host(spec);
    if (!host) return fail_from(std::move(host));
    auto path = client::connection_file_path(spec);
    if (auto may = client::may_write_connection_file(path, *token); !may)
        return fail_from(std::move(may));

    Settings settings;
    settings.id = launch::cluster_id(spec);
    settings.engine = model::name_of(spec.options.engine);
    settings.expected = plan->workers;
    for (std::uint32_t rank = 0; rank < spec.ntasks; rank++)
        if (model::role_of(*plan, rank).worker) settings.tasks.insert(rank);
    settings.silence_us = *silence_s * 1'000'000;
    settings.lonely_us =
        std::max(settings.lonely_us, std::int64_t{spec.options.timeout_s} * 1'000'000);

    ev::Loop loop;
    Server server(loop, *token, settings, std::int64_t{spec.options.timeout_s} * 1000);
    // A cluster on one machine without Slurm is nobody else's business.
    bool local = spec.job == 0;
    auto port =
        server.listen(local ? "127.0.0.1" : "",
                      model::candidate_ports(spec.job, spec.step, spec.first_port, spec.last_port));
    if (!port) return fail_from(std::move(port));
    std::string address = join_address(*host, *port);
    client::Connection connection{settings.id, settings.engine, address, spec.node, *token, "", ""};
    // Of Dask's tasks we know nothing.
    bool native = spec.options.engine == model::Engine::native;
    auto report = spec.options.report.kind;
    if (!native && (report == model::ReportOption::on || report == model::ReportOption::to_file))
        log::warning("--dtask-report: there is no report with the engine dask");
    std::optional<Display> display;
    if (native && report == model::ReportOption::to_file) display.emplace(loop, server);
    if (native && spec.options.dashboard) {
        // Others than those on which workers look for us.
        auto others = model::candidate_ports(spec.job, ~spec.step, spec.first_port, spec.last_port);
        if (!display) display.emplace(loop, server);
        auto url = display->open_page(*token, *host, others);
        if (!url) return fail_from(std::move(url));
        connection.dashboard = *url;
    }
    auto closing =
        Closing::make(spec, server, [&] { return display ? display->timeline() : std::string(); });
    if (!closing) return fail_from(std::move(closing));
    bool written = false;
    // Serving: from now on whoever comes is told where.
    auto announce = [&](const dask::Serving &dask) {
        connection.dask = dask.address;
        if (!dask.dashboard.empty()) connection.dashboard = dask.dashboard;
        auto published = publish(spec, path, connection);
        if (!published) {
            log::error(published.error().text());
            return server.end(exit_code::usage, "the scheduler file is another step's");
        }
        written = *published;
        if (!connection.dashboard.empty())
            std::cerr << "dtask: dashboard: " << connection.dashboard << '\n';
        server.set_address(dask.address.empty() ? address : dask.address);
        log::info("serving at " + address);
    };
    ev::Signal orphaned(loop, launch::scheduler_death_signal, [&] {
        // At once: Slurm may kill us before all peers have left.
        if (std::exchange(written, false)) client::remove_connection_file(path, *token);
        log::error("the scheduler's launcher was lost; the step ends");
        server.end(exit_code::cluster_lost, "the scheduler's launcher was lost");
    });
    std::unique_ptr<dask::Scheduler> dask_scheduler;
    if (spec.options.engine == model::Engine::dask) {
        auto started = dask::Scheduler::start(
            loop, spec, *host, env,
            {.on_serving = announce,
             .on_lost =
                 [&](const std::string &why) {
                     log::error(why);
                     server.end(exit_code::cluster_lost, why);
                 },
             .on_unfit =
                 [&](const std::string &why) {
                     log::error(why);
                     server.end(exit_code::usage, why);
                 },
             .on_shutdown = [&] { server.dismiss_workers("Dask's scheduler was shut down"); }});
        if (!started) return fail_from(std::move(started));
        dask_scheduler = std::move(*started);
        server.on_ending([&] { dask_scheduler->quiet(); });
        server.on_died([&](const proto::Died &died) { dask_scheduler->died(died); });
    } else {
        server.on_ending([&] { closing->on_ending(); });
        announce({});
    }
    int code = server.run();
    if (native) closing->tell();
    if (written) client::remove_connection_file(path, *token);
    return code;
}

} // namespace

int main(Env env) {
    ignore_signals();
    raise_descriptor_limit(); // one a worker, and more
    auto spec = launch::take_handover(env);
    if (spec) {
        if (auto opened = launch::open_log(*spec, "scheduler"); !opened)
            spec = fail_from(std::move(opened));
    }
    Result<int> code = spec ? serve(*spec, env) : fail_from(std::move(spec));
    if (code) return *code;
    log::error(code.error().text());
    return exit_code::usage;
}

} // namespace dtask::scheduler
