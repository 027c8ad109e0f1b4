// SPDX-License-Identifier: Apache-2.0
#include "runtime/ensemble/mapper.h"

#include <algorithm>
#include <csignal>
#include <filesystem>

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "lib/base/exit_codes.h"
#include "lib/base/spawn.h"
#include "lib/base/strings.h"
#include "runtime/ensemble/joblog.h"

namespace dtask::ensemble {

namespace {

constexpr std::size_t window = model::most_untold, refill = 4096, batch = 512;
constexpr std::uint64_t function = 1; // all jobs are tasks of it
constexpr std::int64_t tick_ms = 250, sync_us = 1'000'000;
constexpr std::int64_t first_line_us = 10'000'000, longest_pause_us = 60'000'000;
constexpr std::int64_t dial_ms = 10'000, cancelled_ms = 2'000;
constexpr std::size_t tail_lines = 5;

std::size_t terminal_width() {
    winsize size{};
    return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// The last lines of what a job wrote to a file, indented.
std::string tail(std::string_view text) {
    while (text.ends_with('\n')) text.remove_suffix(1);
    if (text.empty()) return {};
    std::size_t from = text.size();
    for (std::size_t lines = 0; lines < tail_lines && from != text.npos && from > 0; lines++)
        from = text.rfind('\n', from - 1);
    text.remove_prefix(from == text.npos || from == 0 ? 0 : from + 1);
    std::string indented = "  ";
    for (char c : text) {
        indented += c;
        if (c == '\n') indented += "  ";
    }
    return indented + '\n';
}

std::string how(const model::Ended &ended) {
    return ended.signal != 0 ? describe_status(static_cast<int>(ended.signal))
                             : "exit code " + std::to_string(ended.exit);
}

void add_tagged(std::string &into, std::string_view text, const std::string &tag) {
    while (!text.empty()) {
        auto end = text.find('\n');
        into.append(tag).append(text.substr(0, end)).append("\n");
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
    }
}

} // namespace

Mapper::Mapper(ev::Loop &loop, const proto::Token &token, std::string address, Plan plan,
               Journal journal, Fd joblog, Show show)
    : loop_(loop), plan_(std::move(plan)), journal_(std::move(journal)), joblog_(std::move(joblog)),
      show_(show), began_us_(clock_.now_us()), shown_us_(began_us_), line_pause_us_(first_line_us),
      tick_(loop, tick_ms, [this] { show_progress(); }),
      patience_(loop, [this] { finish(stopping_.value_or(exit_code::cluster_lost)); }),
      interrupt_(loop, SIGINT, [this] { stop(exit_code::signal_base + SIGINT, "interrupted"); }),
      terminate_(loop, SIGTERM, [this] { stop(exit_code::signal_base + SIGTERM, "told to end"); }) {
    counts_.total = plan_.inputs.size();
    auto lost = [this](const std::string &why) {
        say("the cluster was lost: " + why);
        finish(exit_code::cluster_lost);
    };
    dialer_ = std::make_unique<client::Dialer>(
        loop, token, proto::Role::client, std::vector{std::move(address)}, dial_ms,
        client::Dialer::Callbacks{
            .on_connected = [] {},
            .on_frame = [this](const proto::Frame &frame) { on_frame(frame); },
            .on_lost = lost,
            .on_failed =
                [this](const std::string &why) {
                    say("no scheduler answers at " + dialer_->address() + ": " + why);
                    finish(exit_code::cluster_lost);
                }});
}

Mapper::~Mapper() = default;

int Mapper::run() {
    loop_.run();
    // What has ended behind one that never will.
    for (auto &[number, told] : std::exchange(held_, {}))
        if (told) tell(number, *told);
    write_out();
    auto kept = journal_.sync();
    if (kept && next_ > plan_.inputs.size()) kept = journal_.forget_left();
    if (!kept) {
        say(kept.error().text());
        code_ = exit_code::cluster_lost;
    }
    show_progress(true);
    return code_.value_or(exit_code::cluster_lost);
}

void Mapper::say(const std::string &line) { pending_err_ += "dtask map: " + line + '\n'; }

void Mapper::finish(int code) {
    if (!code_) code_ = code;
    loop_.stop();
}

void Mapper::on_frame(const proto::Frame &frame) {
    std::string type = frame.type();
    if (auto ok = handle(frame); !ok) {
        say("from the scheduler: " + type + ": " + ok.error().text());
        finish(exit_code::cluster_lost);
    }
    end_turn_soon();
}

Result<void> Mapper::handle(const proto::Frame &frame) {
    std::string type = frame.type();
    if (type == "done") {
        auto keys = frame.header.column("k");
        auto lengths = frame.header.column("len");
        if (!keys) return fail_from(std::move(keys));
        if (!lengths) return fail_from(std::move(lengths));
        auto values = proto::slices(frame.payload, *lengths);
        if (!values) return fail_from(std::move(values));
        if (values->size() != keys->size()) return fail("columns of different length");
        for (std::size_t n = 0; n < keys->size(); n++) {
            auto ended = model::Ended::decode((*values)[n]);
            if (!ended) return fail_from(std::move(ended));
            on_ended((*keys)[n], {false, {}, std::move(*ended)});
        }
    } else if (type == "failed") {
        auto failure = proto::decode_failure(frame);
        if (!failure) return fail_from(std::move(failure));
        failure->worker = frame.header.string_or("worker", "");
        failure->node = frame.header.string_or("node", "");
        on_failure(*failure);
    } else if (type == "output") {
        auto written = proto::decode_output(frame);
        if (!written) return fail_from(std::move(written));
        if (out_.contains(written->k))
            add_written(plan_.inputs.row(written->k), written->output, written->errors);
    } else if (type == "welcome") {
        auto welcome = proto::decode_welcome(frame);
        if (!welcome) return fail_from(std::move(welcome));
        begin(*welcome);
    } else if (type == "workers") {
        auto count = proto::decode_worker_count(frame);
        if (!count) return fail_from(std::move(count));
        counts_.workers = count->n;
    } else if (type == "info") {
        auto info = proto::decode_info(frame);
        if (!info) return fail_from(std::move(info));
        counts_.workers = info->workers.size();
        counts_.busy = static_cast<std::uint64_t>(std::ranges::count_if(
            info->workers, [](const auto &worker) { return worker.running > 0; }));
    } else if (type == "bye") {
        say("the cluster has ended: " + frame.header.string_or("why", ""));
        finish(stopping_.value_or(exit_code::cluster_lost));
    }
    return {};
}

void Mapper::begin(const proto::Welcome &welcome) {
    if (std::exchange(begun_, true)) return;
    if (welcome.engine != "native") {
        say("the cluster's engine is " + welcome.engine + "; accepted: native");
        return finish(exit_code::usage);
    }
    counts_.workers = welcome.workers;
    model::Command common;
    common.set = plan_.set;
    common.unset = plan_.unset;
    common.directory = plan_.directory;
    common.memory = plan_.memory;
    if (journal_) // for workers, which are elsewhere
        common.journal = std::filesystem::absolute(journal_.path()).lexically_normal().string();
    common.streamed = plan_.line_buffer;
    if (plan_.command.uses_slot()) common.slot_marks = true;
    for (const auto *text : {&plan_.output, &plan_.errors, &plan_.input, &plan_.directory_text})
        if (*text && (*text)->uses_slot()) common.slot_marks = true;
    for (const auto &text : plan_.set_texts)
        if (text.uses_slot()) common.slot_marks = true;
    dialer_->send(proto::encode(
        proto::Function{function, plan_.command.name(), common.encode(), plan_.cpus}));
    submit_more();
}

model::Command Mapper::own_part(const Row &row) const {
    model::Command command;
    command.argv = plan_.command.argv(row);
    if (plan_.directory_text) command.directory = plan_.directory_text->expand(row);
    for (const auto &text : plan_.set_texts) command.set.push_back(text.expand(row));
    if (plan_.input) command.input = plan_.input->expand(row);
    if (plan_.output) command.output = plan_.output->expand(row);
    if (plan_.errors) command.errors = plan_.errors->expand(row);
    return command;
}

void Mapper::submit_more() {
    while (!stopping_ && next_ <= plan_.inputs.size() && out_.size() < window) {
        proto::Submit submit;
        submit.f = function;
        submit.retries = plan_.retries;
        submit.timeout_ms = plan_.timeout_ms;
        if (plan_.cpus > 1) submit.needs.resources["cpus"] = plan_.cpus;
        if (plan_.memory > 0) {
            submit.needs.resources["memory"] = plan_.memory;
            submit.needs.resources["cpus"] = plan_.cpus;
        }
        while (next_ <= plan_.inputs.size() && submit.k.size() < batch) {
            auto number = next_++;
            auto command = own_part(plan_.inputs.row(number));
            auto bytes = command.encode();
            Job job;
            if (journal_) {
                job.digest = counter_.next(bytes);
                if (journal_.has(job.digest)) {
                    skip(number);
                    continue;
                }
                if (auto left = journal_.take_left(job.digest))
                    if (auto ended = model::Ended::decode(*left)) {
                        tell_left(number, job, std::move(*ended));
                        continue;
                    }
            }
            // What the job is to see, and what tells it not from another of a journal.
            model::Command sequence;
            sequence.set = {"PARALLEL_SEQ=" + std::to_string(number),
                            "DTASK_SEQ=" + std::to_string(number)};
            sequence.digest = to_hex(job.digest);
            bytes += sequence.encode();
            submit.k.push_back(number);
            submit.len.push_back(bytes.size());
            submit.payload += bytes;
            out_.emplace(number, std::move(job));
        }
        if (!submit.k.empty()) dialer_->send(proto::encode(std::move(submit)));
    }
    if (out_.empty() && next_ > plan_.inputs.size())
        finish(counts_.failed > 0 ? Exits::some_failed : 0);
}

void Mapper::skip(std::uint64_t number) {
    counts_.ended++;
    counts_.skipped++;
    if (!plan_.keep_order) return;
    held_[number] = std::nullopt;
}

// It has ended with a worker that nobody heard.
void Mapper::tell_left(std::uint64_t number, const Job &job, model::Ended ended) {
    counts_.ended++;
    counts_.skipped++;
    journal_.add(job.digest);
    Told told{false, {}, std::move(ended)};
    if (plan_.keep_order)
        held_[number] = std::move(told);
    else
        tell(number, told);
}

void Mapper::on_failure(const proto::Failure &failure) {
    auto number = failure.k;
    if (failure.kind == proto::FailureKind::cancelled && stopping_) {
        out_.erase(number);
        return;
    }
    Told told;
    told.failed = true;
    auto ended = model::Ended::decode(failure.payload);
    if (ended) {
        told.ended = std::move(*ended);
    } else { // it has never ended: no worker is left, or each that had it was lost
        told.ended.host = failure.node;
        told.ended.exit = static_cast<std::uint32_t>(std::min<std::uint64_t>(failure.exit, 255));
        told.ended.signal =
            static_cast<std::uint32_t>(std::min<std::uint64_t>(failure.signal, 255));
    }
    if (failure.kind == proto::FailureKind::raised)
        told.why = how(told.ended);
    else
        told.why = failure.message;
    // As GNU parallel's job log has it: no job that has failed reads as one that has not.
    if (told.ended.exit == 0 && told.ended.signal == 0) told.ended.exit = 255;
    if (failure.kind == proto::FailureKind::cancelled) told.why = "cancelled by dtask cancel";
    if (!failure.worker.empty()) told.why += ", on worker " + failure.worker;
    on_ended(number, std::move(told));
}

void Mapper::on_ended(std::uint64_t number, Told told) {
    auto job = out_.find(number);
    if (job == out_.end()) return;
    counts_.ended++;
    if (told.failed)
        counts_.failed++;
    else
        journal_.add(job->second.digest);
    out_.erase(job);
    bool enough = told.failed && plan_.most_failures > 0 && counts_.failed >= plan_.most_failures;
    if (plan_.keep_order)
        held_[number] = std::move(told);
    else
        tell(number, told);
    if (enough)
        stop(Exits::some_failed, fmt::format("{} jobs have failed (--max-fails)", counts_.failed));
}

void Mapper::add_written(const Row &row, std::string_view output, std::string_view errors) {
    if (!plan_.tag) {
        pending_out_ += output;
        pending_err_ += errors;
        return;
    }
    std::string tag;
    for (const auto &value : row.values) tag.append(tag.empty() ? "" : " ").append(value);
    tag += '\t';
    add_tagged(pending_out_, output, tag);
    add_tagged(pending_err_, errors, tag);
}

void Mapper::tell(std::uint64_t number, const Told &told) {
    auto row = plan_.inputs.row(number);
    auto line = plan_.command.line(row);
    const auto &ended = told.ended;
    if (joblog_) pending_log_ += joblog_line(number, ended, line);
    add_written(row, ended.output, plan_.errors ? std::string_view() : ended.errors);
    if (ended.lost > 0)
        say(fmt::format("job {}: {} bytes of its output were left out; --output writes all of it "
                        "to files: {}",
                        number, ended.lost, line));
    if (!told.failed) return;
    if (!pending_err_.empty() && pending_err_.back() != '\n') pending_err_ += '\n';
    say(fmt::format("job {} failed: {}: {}", number, told.why, line));
    if (plan_.errors) pending_err_ += tail(ended.errors);
}

void Mapper::end_turn_soon() {
    if (std::exchange(turn_pending_, true)) return;
    loop_.post([this] {
        turn_pending_ = false;
        write_out();
        if (stopping_ && out_.empty()) return finish(*stopping_);
        if (begun_ && !stopping_ && out_.size() < refill) submit_more();
    });
}

void Mapper::write_out() {
    while (!held_.empty() && held_.begin()->first == next_to_tell_) {
        if (held_.begin()->second) tell(next_to_tell_, *held_.begin()->second);
        held_.erase(held_.begin());
        next_to_tell_++;
    }
    auto put = [this](int fd, std::string &text, const char *what) {
        if (text.empty()) return;
        auto ok = write_all(fd, text);
        text.clear();
        if (ok || code_) return;
        code_ = exit_code::cluster_lost;
        (void)write_all(STDERR_FILENO, fmt::format("dtask map: {}: {}\n", what, ok.error().text()));
        loop_.stop();
    };
    if (!pending_out_.empty() || !pending_err_.empty()) clear_bar();
    put(STDOUT_FILENO, pending_out_, "standard output");
    put(STDERR_FILENO, pending_err_, "standard error");
    if (joblog_) put(joblog_.get(), pending_log_, "job log");
    if (code_ == exit_code::cluster_lost && !journal_) return;
    if (auto ok = journal_.flush(); !ok && !code_) {
        say(ok.error().text());
        finish(exit_code::cluster_lost);
    }
}

void Mapper::stop(int code, const std::string &why) {
    if (stopping_) return code > exit_code::signal_base ? finish(code) : void();
    stopping_ = code;
    say(why + ": the jobs that run are stopped");
    proto::Column keys;
    for (const auto &[number, job] : out_) keys.push_back(number);
    if (keys.empty() || !begun_) return finish(code);
    auto frame = proto::make_frame("cancel");
    frame.header.set("k", std::move(keys));
    dialer_->send(std::move(frame));
    patience_.set(cancelled_ms);
    end_turn_soon();
}

void Mapper::clear_bar() {
    if (std::exchange(bar_shown_, false)) (void)write_all(STDERR_FILENO, "\r\x1b[K");
}

void Mapper::show_progress(bool last) {
    auto now = clock_.now_us();
    counts_.elapsed_us = now - began_us_;
    if (!last && journal_ && now - synced_us_ >= sync_us) {
        synced_us_ = now;
        if (auto ok = journal_.sync(); !ok && !code_) {
            say(ok.error().text());
            finish(exit_code::cluster_lost);
        }
    }
    if (last) {
        clear_bar();
        if (show_ != Show::none) say(summary(counts_));
        (void)write_all(STDERR_FILENO, std::exchange(pending_err_, {}));
    } else if (show_ == Show::bar) {
        (void)write_all(STDERR_FILENO, "\r\x1b[K" + bar(counts_, terminal_width() - 1));
        bar_shown_ = true;
        if (begun_) dialer_->send(proto::make_frame("info"));
    } else if (show_ == Show::lines && now - shown_us_ >= line_pause_us_) {
        shown_us_ = now;
        line_pause_us_ = std::min(line_pause_us_ * 2, longest_pause_us);
        (void)write_all(STDERR_FILENO, "dtask map: " + describe(counts_) + "\n");
        if (begun_) dialer_->send(proto::make_frame("info")); // for the next one
    }
}

} // namespace dtask::ensemble
