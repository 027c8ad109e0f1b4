// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/data.h"

#include <algorithm>
#include <utility>

#include "runtime/scheduler/life.h"

namespace dtask::scheduler::data {

namespace {

using State = Task::State;

bool is_there(const Copy &copy) { return copy.there; }

void forget_copy(Core &core, TaskId id, WorkerId worker) {
    if (auto found = core.workers.find(worker); found != core.workers.end())
        found->second.holds.erase(id);
}

// A copy is lost, and others are left: who had counted on it, on that node, and
// waits for another input only.
void give_back_heirs(Reactor r, TaskId id) {
    const auto &heirs = r.core.tasks.at(id).heirs;
    for (auto heir : std::vector<TaskId>(heirs.begin(), heirs.end())) {
        Task *task = r.core.tasks.find(heir);
        Task *source = r.core.tasks.find(id); // may go with the last one that needs it
        if (!source) return;
        if (!task || task->state != State::gathering) continue;
        auto worker = r.core.workers.find(task->worker);
        if (worker == r.core.workers.end()) continue; // it is lost, and gives back what it has
        if (!copy_on(r.core, *source, worker->second.about.node)) life::give_back(r, heir, *task);
    }
}

} // namespace

bool available(const Task &task) {
    if (task.state != State::ended || task.failed) return false;
    return task.size == 0 || std::ranges::any_of(task.copies, is_there);
}

Copy *copy_on(Core &core, Task &task, const std::string &node) {
    for (auto &copy : task.copies)
        if (core.workers.at(copy.worker).about.node == node) return &copy;
    return nullptr;
}

void add(Core &core, TaskId id, Task &task, WorkerId worker, std::uint64_t size) {
    task.size = size;
    task.copies.push_back({worker, true, worker, {}});
    core.workers.at(worker).holds.insert(id);
}

bool bring(Reactor r, TaskId id, Task &task, WorkerId worker, Dispatch user) {
    auto &to = r.core.workers.at(worker);
    if (Copy *copy = copy_on(r.core, task, to.about.node)) {
        if (!copy->there) copy->users.push_back(user);
        return copy->there;
    }
    // Each next node takes it from another one, so that no single worker sends to all.
    std::vector<WorkerId> sources;
    for (const auto &copy : task.copies)
        if (copy.there) sources.push_back(copy.worker);
    auto source = sources.at(task.copies.size() % sources.size());
    task.copies.push_back({worker, false, source, {user}});
    to.holds.insert(id);
    r.comm.fetch(worker, id, task.size, r.core.workers.at(source).about.address);
    return false;
}

const std::string &address_of(const Core &core, const Task &task) {
    auto copy = std::ranges::find_if(task.copies, is_there);
    return core.workers.at(copy->worker).about.address;
}

std::string path_on(Core &core, TaskId id, Task &task, WorkerId worker) {
    Copy *copy = copy_on(core, task, core.workers.at(worker).about.node);
    return core.workers.at(copy->worker).about.store + '/' + std::to_string(id.value);
}

void drop(Reactor r, TaskId id, Task &task) {
    for (const auto &copy : std::exchange(task.copies, {})) {
        forget_copy(r.core, id, copy.worker);
        r.comm.free(copy.worker, id);
    }
}

void lose(Reactor r, TaskId id, WorkerId worker) {
    Task *found = r.core.tasks.find(id);
    if (!found) return;
    Task &task = *found;
    auto copy = std::ranges::find(task.copies, worker, &Copy::worker);
    if (copy == task.copies.end()) return;
    auto users = std::move(copy->users);
    task.copies.erase(copy);
    forget_copy(r.core, id, worker);
    bool gone = task.state == State::ended && !available(task);
    if (gone && task.users > 0) life::run_again(r, id);
    if (!gone) give_back_heirs(r, id);
    for (auto user : users)
        if (Task *waiting = life::gathering(r.core, user)) life::give_back(r, user.task, *waiting);
}

} // namespace dtask::scheduler::data
