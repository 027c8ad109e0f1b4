// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/scheduler.h"

#include <csignal>

#include <sys/resource.h>

#include "lib/base/exit_codes.h"
#include "lib/base/log.h"
#include "lib/base/net.h"
#include "lib/model/ports.h"
#include "lib/model/slots.h"
#include "runtime/client/connection_file.h"
#include "runtime/launch/handover.h"
#include "runtime/launch/place.h"
#include "runtime/scheduler/server.h"

namespace dtask::scheduler {

namespace {

// A descriptor a worker: the soft limit of a login shell is soon reached.
void raise_descriptor_limit() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

// The step's end is the launcher's to decide: what reaches the whole process
// group, as Ctrl-C, is not for us.
void ignore_signals() {
    for (int number : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE})
        ::signal(number, SIG_IGN);
}

Result<int> serve(const model::LaunchSpec &spec) {
    auto token = proto::Token::from_hex(spec.token);
    if (!token) return fail_from(std::move(token));
    auto plan = model::plan(spec.options.slots, spec.ntasks, spec.cpus_per_task);
    if (!plan) return fail_from(std::move(plan));
    auto host = launch::advertised_host(spec);
    if (!host) return fail_from(std::move(host));

    Settings settings;
    settings.id = launch::cluster_id(spec);
    settings.engine = model::name_of(spec.options.engine);
    settings.expected = plan->workers;

    ev::Loop loop;
    Server server(loop, *token, settings, std::int64_t{spec.options.timeout_s} * 1000);
    // A cluster on one machine without Slurm is nobody else's business.
    bool local = spec.job == 0;
    auto port = server.listen(
        local ? "127.0.0.1" : "",
        model::candidate_ports(spec.job, spec.step, spec.first_port, spec.last_port));
    if (!port) return fail_from(std::move(port));
    std::string address = join_address(*host, *port);
    server.set_address(address);

    auto path = client::connection_file_path(spec);
    auto written = client::write_connection_file(
        path, {settings.id, settings.engine, address, spec.node, *token});
    // Only outsiders need the file: the step works without it.
    if (!written) log::warning("scheduler file: " + written.error().text());
    log::info("serving at " + address);
    int code = server.run();
    if (written) client::remove_connection_file(path);
    return code;
}

} // namespace

int main(Env env) {
    ignore_signals();
    raise_descriptor_limit();
    auto spec = launch::take_handover(env);
    if (spec) {
        if (auto opened = launch::open_log(*spec, "scheduler"); !opened) spec = fail_from(std::move(opened));
    }
    Result<int> code = spec ? serve(*spec) : fail_from(std::move(spec));
    if (code) return *code;
    log::error(code.error().text());
    return exit_code::usage;
}

} // namespace dtask::scheduler
