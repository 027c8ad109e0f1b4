// SPDX-License-Identifier: Apache-2.0
//
// Reactor: what happens when something happens. Each on_* function takes one
// event, changes the core and has its effects through `comm`; none blocks,
// none reads a clock of its own. Errors returned are the peer's fault: the
// caller closes that peer.
//
// After events that make work or room, the caller calls dispatch() once; that
// lets many events of one turn share one pass.
#pragma once

#include "lib/base/result.h"
#include "runtime/scheduler/comm.h"
#include "runtime/scheduler/core.h"

namespace dtask::scheduler {

struct Reactor {
    Core &core;
    Comm &comm;
    const Clock &clock;
};

ClientId on_new_client(Reactor r);
void on_client_lost(Reactor r, ClientId client);
Result<void> on_function(Reactor r, ClientId client, proto::Function function);
Result<void> on_submit(Reactor r, ClientId client, const proto::Submit &submit);
/// Tasks that may need each other. An input that was not named before is an error.
Result<void> on_graph(Reactor r, ClientId client, const proto::Graph &graph);
/// Of tasks that others need, only the client's interest ends.
/// `by`: as " by somebody", where it was not the client.
void on_cancel(Reactor r, ClientId client, const proto::Column &keys, std::string_view by = {});

/// The client needs these values no more, which it was told are stored.
void on_release(Reactor r, ClientId client, const proto::Column &keys);
/// The client could not have a stored value where it was told that it is.
void on_lost_value(Reactor r, ClientId client, const proto::LostValue &lost);

WorkerId on_new_worker(Reactor r, proto::Register about);
/// `why` reaches the users whose tasks have no try left.
void on_worker_lost(Reactor r, WorkerId worker, std::string_view why);
void on_unfit(Reactor r, proto::Unfit unfit);
Result<void> on_done(Reactor r, WorkerId worker, const proto::Done &done);
Result<void> on_failed(Reactor r, WorkerId worker, proto::Failure failure);
void on_retracted(Reactor r, WorkerId worker, const proto::Refs &refs);
void on_fetched(Reactor r, WorkerId worker, TaskId data);
void on_unfetched(Reactor r, WorkerId worker, const proto::Unfetched &unfetched);
/// Of a command that runs there; goes to its client as long as that waits for it.
void on_output(Reactor r, WorkerId worker, proto::Output output);
void on_stat(Reactor r, WorkerId worker, proto::Stat stat);
/// So many of its tasks wait for others, and leave their slots free.
void on_blocked(Reactor r, WorkerId worker, std::uint64_t count);

/// Gives ready tasks to workers with room, and takes queued ones back from
/// busy workers for idle ones.
/// True: not all that could be sent was; it is to be called again in placement::trial_ms.
bool dispatch(Reactor r);

/// The inputs of a task are on its worker's node: it is sent there.
void send_run(Reactor r, TaskId id, Task &task);
/// The copy of a value at `source` cannot be had, for that reason.
void lose_source(Reactor r, TaskId id, Task &task, WorkerId source, const std::string &why);

/// Once a second or so: finds workers that have fallen silent.
void on_tick(Reactor r);

proto::WorkerCount worker_count(const Core &core);
proto::Info info(const Core &core, const Clock &clock);
/// For how long a task that the worker has been sent has run, as far as it has told; else 0.
std::int64_t running_us(const Worker &worker, TaskId id, const Task &task, std::int64_t now_us);

} // namespace dtask::scheduler
