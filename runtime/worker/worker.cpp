// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/worker.h"

#include <algorithm>
#include <csignal>

#include <sys/resource.h>
#include <sys/wait.h>

#include "lib/base/exit_codes.h"
#include "lib/base/log.h"
#include "lib/base/net.h"
#include "runtime/worker/report.h"

namespace dtask::worker {

namespace {

constexpr double ahead_us = 1'000;     // work to give an executor ahead
constexpr std::size_t most_ahead = 16; // calls; what is given ahead cannot be given back
// In one turn: where commands end as fast as others begin, the scheduler is heard in between.
constexpr unsigned most_reaped = 16;

// The scheduler and the executors are told where it is. Without one the worker
// serves all the same: its values travel with its reports.
Store open_store(Settings &settings) {
    auto store = Store::open(settings.store);
    if (!store) log::warning("no values are kept here: " + store.error().text());
    if (!store || !store->keeps()) return {};
    settings.about.store = settings.store.directory;
    settings.executor.env.set("DTASK_STORE", settings.store.directory);
    if (store->can_spill()) settings.executor.env.set("DTASK_SPILL", settings.store.spill);
    return std::move(*store);
}

} // namespace

Worker::Worker(ev::Loop &loop, const proto::Token &token, Settings settings, Memory memory)
    : loop_(loop), token_(token), settings_(std::move(settings)),
      values_(
          loop, token, open_store(settings_),
          [this](proto::Frame frame) {
              end_turn(); // what was finished before
              dialer_->send(std::move(frame));
              end_turn_soon(); // to see whether there is still room
          },
          [this] { feed(); }),
      sign_(settings_.silence_ms),
      watch_(loop, std::move(memory), values_,
             {.executors = [this] { return executors(); },
              .commands = [this] { return commands_ ? commands_->pids() : Pids(); },
              .kill_command = [this](pid_t pid) { return commands_->kill_for_memory(pid); },
              .on_stat = [this](proto::Stat now) { stat(std::move(now)); }}),
      report_(loop, [this] { end_turn(); }), child_(loop, SIGCHLD, [this] { on_child(); }),
      terminate_(loop, SIGTERM, [this] { end(0); }), interrupt_(loop, SIGINT, [this] {
          // Ctrl-C is the client's to answer, once there is a cluster.
          if (!dialer_ || !dialer_->connected()) end(0);
      }) {
    settings_.executor.join_fds = settings_.nursery.join_fds = watch_.memory().join_fds();
    settings_.nursery.env = settings_.executor.env;
    commands_.emplace(
        loop_, command_place(),
        [this](const Commands::Outcome &outcome) { on_command_ended(outcome); },
        [this](const Call &call, std::string output, std::string errors) {
            dialer_->send(proto::encode(
                proto::Output{call.task, call.instance, std::move(output), std::move(errors)}));
        });
    nursery_.emplace(loop_, settings_.executor, settings_.nursery);
    slots_.resize(settings_.about.concurrency);
}

Worker::~Worker() = default;

Result<int> Worker::run() {
    auto door = Door::open(
        loop_, token_, settings_.door_host,
        {.describe = [this] { return settings_.about; },
         .open_value = [this](auto data) { return values_.open_value(data); },
         .output_of = [this](auto task,
                             auto instance) { return commands_->output_of(task, instance); }});
    if (!door) return fail_from(std::move(door));
    door_ = std::move(*door);
    // Executors start while the scheduler is looked for.
    for (std::size_t n = 0; n < slots_.size() && !settings_.lazy; n++) start_executor(n);
    dial(settings_.candidates);
    loop_.run();
    slots_.clear(); // kills them
    end_commands();
    return exit_code_.value_or(exit_code::cluster_lost);
}

void Worker::dial(std::vector<std::string> candidates) {
    former_dialer_ = std::move(dialer_);
    dialer_ = std::make_unique<client::Dialer>(
        loop_, token_, proto::Role::worker, std::move(candidates), settings_.dial_timeout_ms,
        client::Dialer::Callbacks{
            .on_connected =
                [this] {
                    dialer_->watch(settings_.silence_ms);
                    dialer_->send(proto::encode_here(settings_.about.task));
                },
            .on_frame = [this](proto::Frame frame) { on_frame(std::move(frame)); },
            .on_lost =
                [this](const std::string &why) {
                    log::info("the scheduler was lost: " + why);
                    end(unfit_.empty() ? exit_code::cluster_lost : exit_code::unfit);
                },
            .on_failed =
                [this](const std::string &why) {
                    log::write(settings_.restarted ? log::Level::info : log::Level::error,
                               "the scheduler was not found in " +
                                   std::to_string(settings_.dial_timeout_ms / 1000) + " s: " + why);
                    end(exit_code::no_scheduler);
                }});
}

void Worker::on_frame(proto::Frame frame) {
    std::string type = frame.type();
    if (auto ok = handle(std::move(frame)); !ok) {
        log::error("from the scheduler: " + type + ": " + ok.error().text());
        end(exit_code::cluster_lost);
    }
}

Result<void> Worker::handle(proto::Frame frame) {
    std::string type = frame.type();
    if (type == "run") return on_run(std::move(frame));
    if (type == "function") {
        auto m = proto::decode_function(std::move(frame));
        if (!m) return fail_from(std::move(m));
        if (m->cpus > 0) {
            if (auto ok = commands_->add(m->f, m->pickled, m->cpus); !ok) return ok;
            m->pickled.clear();
        }
        functions_[m->f] = {std::move(m->name), std::move(m->pickled)};
    } else if (type == "retract" || type == "kill") {
        auto refs = proto::decode_refs(frame);
        if (!refs) return fail_from(std::move(refs));
        type == "kill" ? on_kill(*refs) : on_retract(*refs);
    } else if (type == "forget") {
        auto column = frame.header.column("f");
        if (!column) return fail_from(std::move(column));
        for (auto f : *column) {
            functions_.erase(f);
            commands_->forget(f);
            receipts_.forget(f);
            for (auto &slot : slots_)
                if (slot.executor) slot.executor->forget(f);
        }
    } else if (type == "fetch") {
        watch_.make_room();
        return values_.on_fetch(frame);
    } else if (type == "free") {
        return values_.on_free(frame);
    } else if (type == "welcome") {
        auto welcome = proto::decode_welcome(frame);
        if (!welcome) return fail_from(std::move(welcome));
        on_welcome(*welcome);
    } else if (type == "bye") {
        client_ended_ = frame.header.natural("code").value_or(1) == 0;
        watch_.stat();                  // what it has used in all,
        loop_.post([this] { end(0); }); // once that is on its way
    }
    return {};
}

void Worker::on_welcome(const proto::Welcome &welcome) {
    if (settings_.follow_address && dialer_->address() != welcome.address) {
        settings_.follow_address = false;
        return loop_.post([this, address = welcome.address] { dial({address}); });
    }
    loop_.post([this] { former_dialer_.reset(); });
    if (!unfit_.empty()) return send_unfit();
    // Where it listens at one address it can be found nowhere else.
    const auto &host = settings_.door_host;
    settings_.about.address =
        join_address(host.empty() ? dialer_->local_host() : host, door_->port());
    dialer_->send(proto::encode(settings_.about));
    log::info("serves the scheduler at " + dialer_->address() + ", and others at " +
              settings_.about.address);
}

Result<void> Worker::on_run(proto::Frame frame) {
    auto run = proto::decode_run(std::move(frame));
    if (!run) return fail_from(std::move(run));
    auto shares = proto::slices(run->payload, run->len);
    if (!shares) return fail_from(std::move(shares));
    std::size_t input = 0;
    for (std::size_t n = 0; n < run->k.size(); n++) {
        if (!functions_.contains(run->f[n]))
            return fail("function " + std::to_string(run->f[n]) + " was never sent");
        Call call{run->f[n], run->k[n], run->i[n], {}};
        if (!run->timeout.empty()) call.timeout_ms = static_cast<std::uint32_t>(run->timeout[n]);
        std::string_view share = (*shares)[n];
        for (auto left = run->inputs.empty() ? 0 : run->inputs[n]; left > 0; left--, input++) {
            if (run->in[input] > share.size()) return fail("\"in\" adds up to more than \"len\"");
            auto value = share.substr(0, run->in[input]);
            if (!run->held.empty() && run->held[input] != 0)
                values_.add_held_input(call, value);
            else
                call.inputs.emplace_back(value);
            share.remove_prefix(run->in[input]);
        }
        call.args = share;
        queue_.push_back(std::move(call));
    }
    feed();
    return {};
}

void Worker::on_retract(const proto::Refs &refs) {
    proto::Refs given_back;
    for (std::size_t n = 0; n < refs.k.size(); n++) {
        auto found = std::find_if(queue_.begin(), queue_.end(), [&](const Call &call) {
            return call.task == refs.k[n] && call.instance == refs.i[n];
        });
        if (found == queue_.end()) continue; // begun: it will be reported
        queue_.erase(found);
        given_back.k.push_back(refs.k[n]);
        given_back.i.push_back(refs.i[n]);
    }
    end_turn(); // reports first, so that the scheduler sees them in order
    dialer_->send(proto::encode_refs("retracted", given_back));
}

void Worker::on_kill(const proto::Refs &refs) {
    for (std::size_t n = 0; n < refs.k.size(); n++) drop_call(refs.k[n], refs.i[n]);
}

void Worker::drop_call(std::uint64_t task, std::uint64_t instance) {
    auto dropped = std::erase_if(
        queue_, [&](const Call &call) { return call.task == task && call.instance == instance; });
    if (dropped > 0 || commands_->drop(task, instance)) return;
    for (auto &slot : slots_)
        if (slot.executor && slot.executor->drop(task, instance)) slot.executor->kill();
}

// How many calls an executor may hold. Only calls of microseconds are given
// ahead: they would wait for us longer than they run. Others stay in the
// queue, from where they can be given back. An executor gets its next ones when
// half of them are done, so that several travel at once.
std::size_t Worker::depth(const Function &function) const {
    if (function.mean_us < 0) return 1;
    return std::clamp<std::size_t>(
        static_cast<std::size_t>(ahead_us / std::max(function.mean_us, 1.0)), 1, most_ahead);
}

void Worker::feed() {
    while (!queue_.empty() && !values_.makes_room()) {
        auto function = functions_.find(queue_.front().function);
        if (function == functions_.end()) { // forgotten: its client has gone
            queue_.pop_front();
            continue;
        }
        if (!has_room(queue_.front())) return;
        if (commands_->knows(queue_.front().function)) {
            Call call = std::move(queue_.front());
            queue_.pop_front();
            commands_->start(std::move(call));
            continue;
        }
        Slot *idle = nullptr, *least = nullptr;
        std::size_t busy = 0;
        for (auto &slot : slots_) {
            auto *e = slot.executor.get();
            if (!e || !e->takes_calls()) continue;
            if (e->in_flight().empty()) {
                idle = &slot;
                continue;
            }
            busy++;
            if (!least || e->in_flight().size() < least->executor->in_flight().size())
                least = &slot;
        }
        auto *next = idle && busy < settings_.about.concurrency ? idle : least;
        if (!next) return staff();
        auto held = next->executor->in_flight().size(), most = depth(function->second);
        next->filling = held <= most / 2 || (next->filling && held < most);
        if (!next->filling) return staff();
        next->executor->introduce(dialer_->address());
        next->executor->call(std::move(queue_.front()), function->second.pickled);
        queue_.pop_front();
    }
}

void Worker::on_outcome(const Call &call, proto::RecordKind kind, const std::string &value,
                        std::uint64_t us) {
    learn(call.function, us);
    using proto::RecordKind;
    if (kind == RecordKind::stored) {
        auto size = values_.keep(call.task, value);
        if (call.dropped)
            values_.drop(call.task);
        else if (!size)
            report(not_stored(call, size.error().text()));
        else
            add_outcome(done_, call, us, false, {}, *size);
        watch_.make_room();
    } else if (call.dropped) {
        return feed();
    } else if (kind == RecordKind::too_large) {
        report(too_large(call, value));
    } else if (kind == RecordKind::missing) {
        report(missing(call, value));
    } else {
        add_outcome(done_, call, us, kind == RecordKind::error, value);
    }
    if (done_.payload.size() >= proto::batch_payload)
        end_turn();
    else
        end_turn_soon();
    feed();
}

void Worker::on_child() {
    int status;
    rusage used{};
    pid_t pid;
    unsigned reaped = 0;
    for (; reaped < most_reaped && (pid = ::wait4(-1, &status, WNOHANG, &used)) > 0; reaped++) {
        watch_.usage().add(used);
        if (commands_ && commands_->on_reaped(pid, status, used)) {
            feed();
            continue;
        }
        auto slot = std::ranges::find_if(slots_, [&](const Slot &s) {
            return s.executor && !s.executor->dead() && s.executor->pid() == pid;
        });
        if (slot != slots_.end())
            slot->executor->on_reaped(status);
        else if (nursery_->on_reaped(pid, status)) // else an orphan that we have adopted
            watch_.memory().set_nursery(0);
    }
    if (commands_) commands_->settle();
    if (reaped == most_reaped) loop_.post([this] { on_child(); });
    feed();
}

void Worker::report(proto::Failure failure) {
    end_turn(); // what was finished before
    dialer_->send(proto::encode(std::move(failure)));
}

// This worker will never run anything: the scheduler must not count on it.
void Worker::give_up(const std::string &why) {
    if (!std::exchange(unfit_, why).empty()) return;
    if (dialer_ && dialer_->connected()) send_unfit();
}

void Worker::send_unfit() {
    dialer_->send(proto::encode(proto::Unfit{settings_.about.node, unfit_, settings_.about.task}));
}

void Worker::end(int code) {
    if (exit_code_) return;
    exit_code_ = code;
    loop_.stop();
}

void Worker::end_turn_soon() {
    if (std::exchange(turn_pending_, true)) return;
    loop_.post([this] {
        end_turn();
        if (values_.grew()) watch_.make_room();
        dead_.clear();
    });
}

void Worker::end_turn() {
    turn_pending_ = false;
    if (std::exchange(report_pending_, false)) report_.cancel();
    if (!done_.k.empty() && dialer_) dialer_->send(proto::encode(std::exchange(done_, {})));
}

} // namespace dtask::worker
