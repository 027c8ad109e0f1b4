// SPDX-License-Identifier: Apache-2.0
#include "runtime/dask/scheduler.h"

#include <csignal>

#include <sys/wait.h>

#include "lib/json/json.h"

namespace dtask::dask {

Scheduler::Scheduler(ev::Loop &loop, Callbacks callbacks)
    : callbacks_(std::move(callbacks)), child_(loop, SIGCHLD, [this] {
          int status;
          if (process_ && ::waitpid(process_->pid(), &status, WNOHANG) > 0)
              process_->on_reaped(status);
      }) {}

Result<std::unique_ptr<Scheduler>> Scheduler::start(ev::Loop &loop, const model::LaunchSpec &spec,
                                                    const std::string &host, const Env &env,
                                                    Callbacks callbacks) {
    auto setup = Json::object()
                     .set("protocol", spec.options.tls ? "tls" : "tcp")
                     .set("interface", spec.options.scheduler_interface)
                     .set("host", host)
                     .set("dashboard", spec.options.dashboard ? 1 : 0)
                     .compact();
    auto command = dask_command("scheduler", env, setup);
    if (!command) return fail_from(std::move(command));
    std::unique_ptr<Scheduler> self(new Scheduler(loop, std::move(callbacks)));
    auto process = Process::start(
        loop, std::move(*command),
        {.on_serving =
             [s = self.get()](const Serving &serving) { s->callbacks_.on_serving(serving); },
         .on_exit =
             [s = self.get()](int status) {
                 bool asked = WIFEXITED(status) && WEXITSTATUS(status) == 0;
                 if (!s->ending_ && !asked)
                     s->callbacks_.on_lost("Dask's scheduler ended with " +
                                           describe_status(status));
             }});
    if (!process) return fail_from(std::move(process));
    self->process_ = std::move(*process);
    return self;
}

void Scheduler::quiet() {
    ending_ = true;
    if (process_) process_->quiet();
}

} // namespace dtask::dask
