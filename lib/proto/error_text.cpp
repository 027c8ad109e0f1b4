// SPDX-License-Identifier: Apache-2.0
#include "lib/proto/error_text.h"

#include <cstdint>
#include <map>
#include <vector>

namespace dtask::proto {

namespace {

// Pickle's opcodes, as its protocols 2 to 5 write (bytes or None, str, str, str).
enum Opcode : unsigned char {
    proto_op = 0x80,
    frame_op = 0x95,
    none_op = 'N',
    mark_op = '(',
    tuple_op = 't',
    memoize_op = 0x94,
    binput_op = 'q',
    long_binput_op = 'r',
    binget_op = 'h',
    long_binget_op = 'j',
    short_string_op = 0x8c,
    string_op = 'X',
    long_string_op = 0x8d,
    short_bytes_op = 'C',
    bytes_op = 'B',
    long_bytes_op = 0x8e,
    stop_op = '.',
};

class Pickle {
public:
    explicit Pickle(std::string_view bytes) : left_(bytes) {}

    // The tuple's members; bytes and None are empty strings.
    std::optional<std::vector<std::string_view>> read() {
        while (good_ && !left_.empty()) {
            auto op = static_cast<unsigned char>(take(1)[0]);
            switch (op) {
            case proto_op: take(1); break;
            case frame_op: take(8); break;
            case none_op: push({}); break;
            case mark_op:
            case tuple_op: break;
            case memoize_op: put(memo_.size()); break;
            case binput_op: put(number(1)); break;
            case long_binput_op: put(number(4)); break;
            case binget_op: get(number(1)); break;
            case long_binget_op: get(number(4)); break;
            case short_string_op: push(take(number(1))); break;
            case string_op: push(take(number(4))); break;
            case long_string_op: push(take(number(8))); break;
            case short_bytes_op: skip(number(1)); break;
            case bytes_op: skip(number(4)); break;
            case long_bytes_op: skip(number(8)); break;
            case stop_op: return good_ ? std::optional(members_) : std::nullopt;
            default: return {};
            }
        }
        return {};
    }

private:
    std::string_view take(std::uint64_t count) {
        if (count > left_.size()) {
            good_ = false;
            return std::string_view("\0", 1);
        }
        auto taken = left_.substr(0, count);
        left_.remove_prefix(count);
        return taken;
    }
    std::uint64_t number(unsigned bytes) {
        auto taken = take(bytes);
        std::uint64_t value = 0;
        for (std::size_t n = taken.size(); n-- > 0;)
            value = value << 8 | static_cast<unsigned char>(taken[n]);
        return good_ ? value : 0;
    }
    void push(std::string_view text) {
        members_.push_back(text);
        good_ = good_ && members_.size() <= 4;
    }
    void skip(std::uint64_t count) {
        take(count);
        push({});
    }
    // The tuple itself is put, too: as whatever came last.
    void put(std::uint64_t number) {
        if (members_.empty())
            good_ = false;
        else
            memo_[number] = members_.back();
    }
    void get(std::uint64_t number) {
        auto found = memo_.find(number);
        if (found == memo_.end())
            good_ = false;
        else
            push(found->second);
    }

    std::string_view left_;
    bool good_ = true;
    std::vector<std::string_view> members_;
    std::map<std::uint64_t, std::string_view> memo_;
};

} // namespace

std::optional<ErrorText> read_error(std::string_view pickled) {
    auto members = Pickle(pickled).read();
    if (!members || members->size() != 4) return {};
    return ErrorText{std::string((*members)[1]), std::string((*members)[2]),
                     std::string((*members)[3])};
}

} // namespace dtask::proto
