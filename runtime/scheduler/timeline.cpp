// SPDX-License-Identifier: Apache-2.0
#include "runtime/scheduler/timeline.h"

#include <algorithm>

#include "lib/json/json.h"

namespace dtask::scheduler {

namespace {

// Cut where a character of UTF-8 begins.
std::string_view shortened(std::string_view name) {
    if (name.size() <= Timeline::longest_name) return name;
    auto size = Timeline::longest_name;
    while (size > 0 && (static_cast<unsigned char>(name[size]) & 0xc0) == 0x80) size--;
    return name.substr(0, size);
}

struct Row {
    const char *name;
    std::uint64_t Timeline::Sample::*field;
};
constexpr Row rows[] = {
    {"tasks", &Timeline::Sample::tasks},     {"done", &Timeline::Sample::done},
    {"failed", &Timeline::Sample::failed},   {"waiting", &Timeline::Sample::waiting},
    {"running", &Timeline::Sample::running}, {"workers", &Timeline::Sample::workers},
    {"memory", &Timeline::Sample::memory},   {"cpu_us", &Timeline::Sample::cpu_us},
};

void raise(Timeline::Sample &most, const Timeline::Sample &other) {
    for (const auto &row : rows) most.*row.field = std::max(most.*row.field, other.*row.field);
}

std::string number_list(const std::vector<std::uint64_t> &numbers) {
    std::string text = "[";
    for (auto number : numbers) {
        if (text.size() > 1) text += ',';
        text += std::to_string(number);
    }
    return text + ']';
}

std::string quoted(std::string_view text) {
    auto list = Json::array().append(Json::text(text)).compact();
    return list.substr(1, list.size() - 2);
}

} // namespace

// The bucket of that time, made with all before it where it is not there yet.
std::size_t Timeline::reach(std::int64_t now) {
    now = std::max<std::int64_t>(now, 0);
    while (static_cast<std::size_t>(now / width_us_) >= most_buckets) halve();
    auto n = static_cast<std::size_t>(now / width_us_);
    if (n >= buckets_.size()) buckets_.resize(n + 1);
    return n;
}

void Timeline::halve() {
    for (std::size_t n = 0; n < buckets_.size(); n += 2) {
        Bucket both = buckets_[n];
        if (n + 1 < buckets_.size()) {
            both.sampled = both.sampled || buckets_[n + 1].sampled;
            raise(both.most, buckets_[n + 1].most);
        }
        buckets_[n / 2] = both;
    }
    buckets_.resize((buckets_.size() + 1) / 2);
    for (auto &lane : lanes_) {
        auto &cells = lane.cells;
        for (std::size_t n = 0; n < cells.size(); n += 2) {
            Cell both = cells[n];
            if (n + 1 < cells.size()) {
                const Cell &next = cells[n + 1];
                add(both, next.lead_us, next.function);
                both.busy_us += next.busy_us - next.lead_us;
                both.failed = both.failed || next.failed;
            }
            cells[n / 2] = both;
        }
        cells.resize((cells.size() + 1) / 2);
    }
    width_us_ *= 2;
}

void Timeline::add(Cell &cell, std::uint64_t us, std::uint8_t function) {
    cell.busy_us += us;
    if (cell.function == function) {
        cell.lead_us += us;
    } else if (cell.lead_us > us) {
        cell.lead_us -= us;
    } else {
        cell.lead_us = us - cell.lead_us;
        cell.function = function;
    }
}

std::uint8_t Timeline::function(std::string_view name) {
    name = shortened(name);
    if (auto known = function_numbers_.find(name); known != function_numbers_.end())
        return known->second;
    if (functions_.size() + 1 >= most_functions) {
        if (functions_.size() < most_functions) functions_.emplace_back(others);
        return static_cast<std::uint8_t>(functions_.size() - 1);
    }
    auto number = static_cast<std::uint8_t>(functions_.size());
    functions_.emplace_back(name);
    function_numbers_.emplace(name, number);
    return number;
}

std::size_t Timeline::lane(std::string_view worker) {
    worker = shortened(worker);
    auto known = lane_numbers_.find(worker);
    if (known == lane_numbers_.end()) {
        if (lanes_.size() >= most_lanes) return none;
        known = lane_numbers_.emplace(worker, lanes_.size()).first;
        lanes_.push_back({std::string(worker), {}});
    }
    return known->second;
}

void Timeline::ended(std::int64_t now, std::size_t number, std::uint8_t function, std::uint64_t us,
                     bool failed) {
    auto last = reach(now);
    if (number >= lanes_.size()) return;
    auto &cells = lanes_[number].cells;
    if (cells.size() <= last) cells.resize(last + 1);
    if (failed) cells[last].failed = true;
    // Backwards from its end, a piece a bucket.
    auto end = std::max<std::int64_t>(now, 0);
    auto begin =
        end - std::min(end, static_cast<std::int64_t>(std::min<std::uint64_t>(us, INT64_MAX)));
    for (auto n = last;; n--) {
        auto from = std::max(begin, static_cast<std::int64_t>(n) * width_us_);
        add(cells[n], static_cast<std::uint64_t>(end - from), function);
        end = from;
        if (n == 0 || begin >= from) break;
    }
}

void Timeline::sample(std::int64_t now, const Sample &sample) {
    auto &bucket = buckets_[reach(now)];
    bucket.sampled = true;
    raise(bucket.most, sample);
}

// A bucket that nobody sampled has what the one before it had.
std::string Timeline::json(std::int64_t now) const {
    std::string text = "{\"width_ms\":" + std::to_string(width_us_ / 1000) +
                       ",\"now_ms\":" + std::to_string(std::max<std::int64_t>(now, 0) / 1000);
    std::vector<std::uint64_t> column;
    for (const auto &row : rows) {
        std::uint64_t last = 0;
        for (const auto &bucket : buckets_) {
            if (bucket.sampled) last = bucket.most.*row.field;
            column.push_back(last);
        }
        text.append(",\"").append(row.name).append("\":").append(number_list(column));
        column.clear();
    }
    text += ",\"functions\":[";
    for (const auto &function : functions_)
        text.append(text.back() == '[' ? "" : ",").append(quoted(function));
    text += "],\"lanes\":[";
    auto width = static_cast<std::uint64_t>(width_us_);
    for (const auto &lane : lanes_) {
        if (text.back() != '[') text += ',';
        text.append("{\"worker\":").append(quoted(lane.worker)).append(",\"cells\":\"");
        for (const auto &cell : lane.cells) {
            if (cell.busy_us == 0 && !cell.failed) {
                text += ". ";
                continue;
            }
            // Tenths of one CPU's time, rounded up; more than all of it is "9" as well.
            auto level = std::min<std::uint64_t>((cell.busy_us * 9 + width - 1) / width, 9);
            text += static_cast<char>((cell.failed ? 'A' : 'a') + cell.function);
            text += static_cast<char>('0' + level);
        }
        text += "\"}";
    }
    return text + "]}";
}

} // namespace dtask::scheduler
