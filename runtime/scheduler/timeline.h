// SPDX-License-Identifier: Apache-2.0
//
// Timeline: what a cluster has done over time, for the page and the report. It is
// kept only where one of them was asked for.
//
// The whole life of the step is cut into at most `most_buckets` spans of equal
// width. Once it outgrows them each two become one and the width doubles, so a
// timeline has always the same size, however long the step and however many its
// tasks. It begins at `first_width_us`.
//
// A lane is what one worker was busy with, by the same spans: for how long, and
// with which function mostly. There are at most `most_lanes`, of the first
// workers that did anything, and at most `most_functions` names: what comes later
// is under the last of them, `others`.
//
// Pure: times are given, in µs since the step began.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace dtask::scheduler {

class Timeline {
public:
    static constexpr std::size_t most_buckets = 256;
    static constexpr std::int64_t first_width_us = 250'000;
    static constexpr std::size_t most_lanes = 1024;
    static constexpr std::size_t most_functions = 26;
    static constexpr std::size_t longest_name = 60; ///< bytes of a function's or worker's name
    static constexpr std::string_view others = "others";

    /// How things stand. tasks: all that were submitted; those that have ended, and cpu_us of all
    /// workers, since the step began; memory in bytes.
    struct Sample {
        std::uint64_t tasks = 0, done = 0, failed = 0, waiting = 0, running = 0, workers = 0;
        std::uint64_t memory = 0, cpu_us = 0;
    };

    /// The lane of a worker, which is made where there is room for one more; else `none`.
    std::size_t lane(std::string_view worker);
    static constexpr std::size_t none = SIZE_MAX;
    /// The number of a function's name, or that of `others`.
    std::uint8_t function(std::string_view name);
    /// An execution ended at `now` and took `us`.
    void ended(std::int64_t now, std::size_t lane, std::uint8_t function, std::uint64_t us,
               bool failed);
    /// To be called several times a second: a span keeps the most of each.
    void sample(std::int64_t now, const Sample &sample);

    /// What the page draws; doc/protocol.md has the members.
    std::string json(std::int64_t now) const;

    std::int64_t width_us() const { return width_us_; }
    std::size_t buckets() const { return buckets_.size(); }
    std::size_t lanes() const { return lanes_.size(); }

private:
    struct Bucket {
        bool sampled = false;
        Sample most;
    };
    /// Of one worker, within one span. The function is that of most of the time, as far as
    /// one name and one weight can tell (a majority vote).
    struct Cell {
        std::uint64_t busy_us = 0;
        std::uint64_t lead_us = 0;
        std::uint8_t function = 0;
        bool failed = false;
    };
    struct Lane {
        std::string worker;
        std::vector<Cell> cells; ///< as far as it did anything
    };

    std::size_t reach(std::int64_t now);
    void halve();
    static void add(Cell &cell, std::uint64_t us, std::uint8_t function);

    std::int64_t width_us_ = first_width_us;
    std::vector<Bucket> buckets_;
    std::vector<std::string> functions_;
    std::map<std::string, std::uint8_t, std::less<>> function_numbers_;
    std::vector<Lane> lanes_;
    std::map<std::string, std::size_t, std::less<>> lane_numbers_;
};

} // namespace dtask::scheduler
