// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/values.h"

#include <sys/stat.h>

#include "lib/base/strings.h"

namespace dtask::worker {

std::string load_call(std::string_view path) {
    std::string pickle("\x80\x05" // protocol 5
                       "cdtask._store\nload\n"
                       "X"); // a text, its length first
    for (int shift = 0; shift < 32; shift += 8)
        pickle += static_cast<char>(path.size() >> shift & 0xff);
    pickle += path;
    return pickle += "\x85R."; // in a tuple; call; the end
}

Values::Values(ev::Loop &loop, const proto::Token &token, Store store, Send send,
               std::function<void()> on_room)
    : store_(std::move(store)), spill_(loop, store_, std::move(on_room)), send_(std::move(send)),
      fetcher_(loop, token, store_,
               {.on_fetched =
                    [this](std::uint64_t data) {
                        grew_ = true;
                        send_(proto::encode_datum("fetched", data));
                    },
                .on_unfetched =
                    [this](std::uint64_t data, const std::string &why, bool full) {
                        send_(proto::encode(proto::Unfetched{data, why, full}));
                    },
                .take_memory =
                    [this](std::uint64_t size) {
                        if (size > room_) return false;
                        room_ -= size;
                        return true;
                    }}) {}

Result<void> Values::on_fetch(const proto::Frame &frame) {
    auto what = proto::decode_fetch(frame);
    if (!what) return fail_from(std::move(what));
    fetcher_.fetch(*what);
    return {};
}

Result<void> Values::on_free(const proto::Frame &frame) {
    auto column = proto::decode_data(frame);
    if (!column) return fail_from(std::move(column));
    for (auto data : *column) {
        fetcher_.drop(data);
        store_.free(data);
    }
    return {};
}

void Values::add_held_input(Call &call, std::string_view path) {
    call.inputs.push_back(load_call(path));
    auto slash = path.rfind('/');
    if (store_.keeps() && slash != path.npos && path.substr(0, slash) == store_.place().directory) {
        if (auto data = parse_uint(path.substr(slash + 1))) store_.touch(*data);
        return;
    }
    struct stat about {};
    if (::stat(std::string(path).c_str(), &about) == 0)
        call.held += static_cast<std::uint64_t>(about.st_size);
}

Result<std::uint64_t> Values::keep(std::uint64_t task, std::string_view size) {
    constexpr std::string_view mark = " spilled";
    bool spilled = size.ends_with(mark);
    if (spilled) size.remove_suffix(mark.size());
    auto bytes = parse_uint(size);
    if (!bytes) return fail("its size is no number");
    auto added = spilled ? store_.add_spilled(task, *bytes)
                         : store_.add(task, *bytes, Store::Origin::executor);
    if (!added) {
        store_.clear_up(task, 0);
        return fail_from(std::move(added));
    }
    grew_ = true;
    return *bytes;
}

void Values::on_executor_dead(const Call &call, pid_t executor) {
    store_.clear_up(call.task, executor);
}

SharedMemory Values::shared(std::uint64_t held) const {
    SharedMemory shared;
    shared.mappable = store_.bytes() + held;
    shared.stored = store_.bytes_in_memory();
    shared.fetched = store_.bytes_fetched();
    shared.fixed = store_.can_spill() && !spill_.resting() ? 0 : shared.stored;
    return shared;
}

void Values::make_room(std::uint64_t usage, std::uint64_t limit) {
    grew_ = false;
    usage += fetcher_.incoming();
    std::uint64_t most = limit > 0 ? spill_.most(limit) : UINT64_MAX;
    room_ = most > usage ? most - usage : 0;
    spill_.make_room(usage, limit);
}

} // namespace dtask::worker
