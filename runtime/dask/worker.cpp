// SPDX-License-Identifier: Apache-2.0
#include "runtime/dask/worker.h"

#include <algorithm>
#include <csignal>

#include <sys/resource.h>
#include <sys/wait.h>

#include "lib/base/exit_codes.h"
#include "lib/base/log.h"
#include "lib/base/net.h"
#include "lib/base/strings.h"

namespace dtask::dask {

namespace {

constexpr std::int64_t stat_ms = 1'000;
constexpr std::int64_t watch_ms = 20; // between looks at resident sets
constexpr std::uint64_t little_memory = 200 << 20;
constexpr std::int64_t restart_pause_ms = 100; // doubled with each restart in a row

} // namespace

Worker::Worker(ev::Loop &loop, const proto::Token &token, const model::LaunchSpec &spec,
               proto::Register about, std::vector<std::string> candidates, std::string door_host,
               std::int64_t dial_timeout_ms, std::int64_t silence_ms, Env env,
               worker::Memory memory)
    : loop_(loop), token_(token), spec_(spec), about_(std::move(about)),
      candidates_(std::move(candidates)), door_host_(std::move(door_host)),
      dial_timeout_ms_(dial_timeout_ms), silence_ms_(silence_ms), env_(std::move(env)),
      memory_(std::move(memory)),
      child_(loop, SIGCHLD,
             [this] {
                 int status;
                 rusage used{};
                 if (!process_ || ::wait4(process_->pid(), &status, WNOHANG, &used) <= 0) return;
                 usage_.add(used);
                 process_->on_reaped(status);
             }),
      terminate_(loop, SIGTERM, [this] { end(0); }),
      interrupt_(loop, SIGINT,
                 [this] {
                     if (!dialer_ || !dialer_->connected()) end(0);
                 }),
      restart_(loop, [this] { start_process(); }), stat_(loop, stat_ms, [this] { stat(); }) {
    if (memory_.needs_watch()) watch_.emplace(loop, watch_ms, [this] { watch_memory(); });
}

Worker::~Worker() = default;

Result<int> Worker::run() {
    auto door = worker::Door::open(loop_, token_, door_host_, {[this] { return about_; }});
    if (!door) return fail_from(std::move(door));
    door_ = std::move(*door);
    if (memory_.limit() > 0 && memory_.limit() < little_memory)
        log::warning("a memory limit of " + format_size(memory_.limit()) +
                     " is little for a Dask worker: it needs about 100M for itself and takes no "
                     "tasks above 80 % of its limit");
    start_process(); // it loads while the scheduler is looked for
    dialer_ = std::make_unique<client::Dialer>(
        loop_, token_, proto::Role::worker, candidates_, dial_timeout_ms_,
        client::Dialer::Callbacks{
            .on_connected =
                [this] {
                    dialer_->watch(silence_ms_);
                    dialer_->send(proto::encode_here(about_.task));
                },
            .on_frame = [this](const proto::Frame &frame) { on_frame(frame); },
            .on_lost =
                [this](const std::string &why) {
                    log::info("the scheduler was lost: " + why);
                    end(unfit_.empty() ? exit_code::cluster_lost : exit_code::unfit);
                },
            .on_failed =
                [this](const std::string &why) {
                    log::error("the scheduler was not found in " +
                               std::to_string(dial_timeout_ms_ / 1000) + " s: " + why);
                    end(exit_code::no_scheduler);
                }});
    loop_.run();
    process_.reset(); // killed: it has no state that anybody wants
    return exit_code_.value_or(exit_code::cluster_lost);
}

void Worker::on_frame(const proto::Frame &frame) {
    if (frame.type() == "bye") return end(0);
    if (frame.type() != "welcome" || std::exchange(greeted_, true)) return;
    scheduler_address_ = frame.header.string_or("address", "");
    about_.address =
        join_address(door_host_.empty() ? dialer_->local_host() : door_host_, door_->port());
    if (!unfit_.empty()) return send_unfit();
    if (process_) serve();
}

Json Worker::setup() const {
    return Json::object()
        .set("scheduler", scheduler_address_)
        .set("name", about_.name)
        .set("nthreads", about_.nthreads)
        .set("memory_limit", memory_.limit())
        .set("local_directory", env_.get_or("DTASK_SCRATCH", "/tmp"))
        .set("host", door_host_.empty() ? dialer_->local_host() : door_host_);
}

void Worker::start_process() {
    dead_.reset();
    auto spec = dask_command("worker", env_);
    if (!spec) return give_up(spec.error().text());
    spec->join_fds = memory_.join_fds();
    spec->oom_score_adj = first_to_die;
    auto process = Process::start(loop_, std::move(*spec),
                                  {.on_serving =
                                       [this](const Serving &serving) {
                                           log::info("Dask's worker serves at " + serving.address);
                                           if (!std::exchange(registered_, true))
                                               dialer_->send(proto::encode(about_));
                                       },
                                   .on_exit = [this](int status) { on_exit(status); }});
    if (!process) return give_up(process.error().text());
    process_ = std::move(*process);
    if (greeted_) serve();
}

void Worker::serve() { process_->tell(Json::object().set("serve", setup())); }

void Worker::on_exit(int status) {
    bool memory_kill = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
                       memory_.was_memory_kill(process_->pid());
    dead_ = std::move(process_);
    if (exit_code_) return;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == 0) return log::info("its Dask worker was asked to leave, and has");
    if (code == come_back) {
        log::info("its Dask worker left and is started again");
        return restart();
    }
    if (code == cannot_load) return give_up(dead_->why());
    auto limit = format_size(memory_.limit()), peak = format_size(memory_.peak());
    std::string how = "ended with " + describe_status(status);
    if (memory_kill && memory_.was_below_limit())
        how = "had " + peak + " of its " + limit +
              " and was killed: the step's tasks had used up all its memory on the node";
    else if (memory_kill)
        how = "passed the memory limit of " + limit + " (peak " + peak + ") and was killed";
    if (!dead_->why().empty()) how += ": " + dead_->why();
    dialer_->send(proto::encode(proto::Died{about_.name, dead_->address(), how}));
    std::string what = "its Dask worker " + how;
    if (restarts_ >= spec_.options.restarts)
        return give_up(what + "; it was restarted " + std::to_string(restarts_) +
                       " times already (--dtask-restarts)");
    log::error(what + "; it is restarted");
    restarts_++;
    restart();
}

// The pause grows while it ends again at once: whatever the reason, that must not be a busy loop.
void Worker::restart() { restart_.set(restart_pause_ms << std::min(in_a_row_++, 6u)); }

void Worker::stat() {
    memory_.forget_old_kills();
    if (process_ && !process_->address().empty()) in_a_row_ = 0;
    if (!registered_ || !dialer_->connected() || !process_) return;
    worker::Pids pids{process_->pid()};
    dialer_->send(proto::encode(usage_.stat(memory_, memory_.usage(pids), pids)));
}

void Worker::watch_memory() {
    if (!process_) return;
    auto victim = memory_.over_limit({process_->pid()});
    if (!victim) return;
    if (*victim == process_->pid()) return process_->kill();
    ::kill(*victim, SIGKILL); // what a function had left behind has most of it
}

// The scheduler is told once it serves: if it cannot either, it has said why for all.
void Worker::give_up(const std::string &why) {
    unfit_ = why;
    if (greeted_) send_unfit();
}

// The scheduler closes the connection then, which ends the loop.
void Worker::send_unfit() {
    dialer_->send(proto::encode(proto::Unfit{about_.node, unfit_, about_.task}));
    exit_code_ = exit_code::unfit;
}

void Worker::end(int code) {
    if (process_) process_->kill();
    if (!exit_code_) exit_code_ = code;
    loop_.stop();
}

} // namespace dtask::dask
