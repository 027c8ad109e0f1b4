// SPDX-License-Identifier: Apache-2.0
//
// Mapper: an ensemble as a client of a cluster: it submits the jobs, takes their outcomes,
// and tells of them.
//
//   connecting ──welcome──▶ running ──all have ended──▶ over
//                              ├──signal, too many failures──▶ stopping ──▶ over
//                              └──cluster lost──▶ over
//
// At most `window` jobs are with the scheduler at a time. What is written to standard
// output, to the job log and to the journal leaves at the end of a turn, the journal last:
// a job that is journalled has been told.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/fd.h"
#include "lib/ev/loop.h"
#include "lib/model/command.h"
#include "lib/proto/codec.h"
#include "runtime/client/dialer.h"
#include "runtime/ensemble/inputs.h"
#include "runtime/ensemble/journal.h"
#include "runtime/ensemble/progress.h"
#include "runtime/ensemble/template.h"

namespace dtask::ensemble {

struct Plan {
    Template command;
    Inputs inputs;
    std::vector<std::string> unset = {};
    std::string directory;                   ///< of all jobs, or
    std::optional<Text> directory_text = {}; ///< of each
    std::vector<std::string> set = {};       ///< NAME=VALUE of all jobs
    std::vector<Text> set_texts = {};        ///< NAME=VALUE of each
    std::optional<Text> input = {}, output = {}, errors = {};
    std::uint64_t cpus = 1, memory = 0, timeout_ms = 0, retries = 0;
    std::uint64_t most_failures = 0; ///< then no more jobs; 0: any
    bool keep_order = false, tag = false;
    bool line_buffer = false; ///< lines are told while their job runs; not with keep_order
};

enum class Show { none, lines, bar };

class Mapper {
public:
    struct Exits {
        static constexpr int some_failed = 1;
    };

    Mapper(ev::Loop &loop, const proto::Token &token, std::string address, Plan plan,
           Journal journal, Fd joblog, Show show);
    ~Mapper();

    /// The exit code.
    int run();

private:
    struct Job {
        std::string digest; ///< empty where there is no journal
    };
    struct Told { ///< an outcome in wait for its turn
        bool failed = false;
        std::string why; ///< of a failure, for its line
        model::Ended ended;
    };

    void on_frame(const proto::Frame &frame);
    Result<void> handle(const proto::Frame &frame);
    void begin(const proto::Welcome &welcome);
    void submit_more();
    model::Command own_part(const Row &row) const;
    void on_ended(std::uint64_t number, Told told);
    void on_failure(const proto::Failure &failure);
    void tell(std::uint64_t number, const Told &told);
    void add_written(const Row &row, std::string_view output, std::string_view errors);
    void skip(std::uint64_t number);
    void tell_left(std::uint64_t number, const Job &job, model::Ended ended);
    void stop(int code, const std::string &why);
    void write_out();
    void end_turn_soon();
    void finish(int code);
    void say(const std::string &line);
    void show_progress(bool last = false);
    void clear_bar();

    ev::Loop &loop_;
    Plan plan_;
    Journal journal_;
    Fd joblog_;
    Show show_;
    SteadyClock clock_;
    std::int64_t began_us_ = 0, shown_us_ = 0, line_pause_us_ = 0, synced_us_ = 0;
    Counts counts_;
    std::uint64_t next_ = 1;         ///< job to submit
    std::uint64_t next_to_tell_ = 1; ///< in order
    Counter counter_;
    std::unordered_map<std::uint64_t, Job> out_;        ///< with the scheduler
    std::map<std::uint64_t, std::optional<Told>> held_; ///< keep_order; nothing: skipped
    std::string pending_out_, pending_err_, pending_log_;
    bool begun_ = false, bar_shown_ = false, turn_pending_ = false;
    std::optional<int> stopping_; ///< the exit code to come
    std::optional<int> code_;
    std::unique_ptr<client::Dialer> dialer_;
    ev::Ticker tick_;
    ev::Timer patience_; ///< for what was cancelled
    ev::Signal interrupt_, terminate_;
};

} // namespace dtask::ensemble
