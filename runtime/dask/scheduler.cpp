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
    auto command = dask_command("scheduler", env);
    if (!command) return fail_from(std::move(command));
    std::unique_ptr<Scheduler> self(new Scheduler(loop, std::move(callbacks)));
    auto process = Process::start(
        loop, std::move(*command),
        {.on_serving =
             [s = self.get()](const Serving &serving) { s->callbacks_.on_serving(serving); },
         .on_exit = [s = self.get()](int status) { s->on_exit(status); }});
    if (!process) return fail_from(std::move(process));
    self->process_ = std::move(*process);
    self->process_->tell(
        Json::object().set("serve", Json::object()
                                        .set("protocol", spec.options.tls ? "tls" : "tcp")
                                        .set("host", host)
                                        .set("dashboard", spec.options.dashboard ? 1 : 0)));
    return self;
}

void Scheduler::on_exit(int status) {
    if (ending_) return;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return callbacks_.on_shutdown();
    const auto &why = process_->why();
    if (process_->address().empty() && !why.empty()) return callbacks_.on_unfit(why);
    callbacks_.on_lost("Dask's scheduler ended with " + describe_status(status) +
                       (why.empty() ? "" : ": " + why));
}

void Scheduler::died(const proto::Died &died) {
    if (process_)
        process_->tell(Json::object().set("died", Json::object()
                                                      .set("name", died.name)
                                                      .set("address", died.address)
                                                      .set("how", died.how)));
}

void Scheduler::quiet() {
    ending_ = true;
    if (process_) process_->tell(Json::object().set("end", 1));
}

} // namespace dtask::dask
