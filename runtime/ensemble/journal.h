// SPDX-License-Identifier: Apache-2.0
//
// Journal: which jobs of an ensemble are done, in a file that is only appended to and that
// survives the end of its writer, or of the machine, at any byte.
//
//   "dtask-journal-1\n"   then records: u32 length   u32 CRC-32 of the body   body
//
// Lengths and numbers are little-endian. The body's first byte says what it is: 1, a job
// that has ended well, whose digest (16 bytes) follows; 2, the same with its outcome behind the
// digest, which for calls of Python is the pickled result (python/dtask/_journal.py). Records of
// other kinds are kept and skipped. Where a record is cut short or its CRC does
// not fit the file ends: what is behind is cut off when it is opened for writing.
//
// When it lasts: add() has given the record to the kernel when flush() returns, so that no
// end of this process loses it; the disk has it after sync(), which whoever uses it calls
// each second and at the end. A machine that loses power may lose the last second's jobs,
// which then run once more.
//
// One process at a time writes it: the file is locked. Workers of a cluster that is lost leave
// what became of the last jobs that ended with them beside it, in files of the same form,
// JOURNAL.from-WORKER or, where that is there, JOURNAL.from-WORKER.N: nobody may have been told.
// Who goes on tells of them, and removes the files that it has read when all is in the journal.
// Others may come meanwhile: those of its own workers, if its cluster is lost as well.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "lib/base/fd.h"
#include "lib/base/result.h"

namespace dtask::ensemble {

class Journal {
public:
    Journal() = default; ///< none: nothing is done, and nothing is written

    /// Makes the file; where it has records already `resume` must be true.
    static Result<Journal> open(const std::string &path, bool resume);

    explicit operator bool() const { return static_cast<bool>(file_); }
    bool has(const std::string &digest) const { return done_.contains(digest); }
    std::size_t size() const { return done_.size(); }
    const std::string &path() const { return path_; }
    std::uint64_t cut_off() const { return cut_off_; } ///< bytes of a torn end

    /// What a worker has left of the job: its outcome, once.
    std::optional<std::string> take_left(const std::string &digest);
    /// All that was left when it was opened is in the journal, or of no job. After sync().
    Result<void> forget_left();

    void add(std::string_view digest);
    Result<void> flush();
    Result<void> sync();

private:
    Result<void> read_left();

    Fd file_;
    std::string path_;
    std::unordered_set<std::string> done_;
    std::unordered_map<std::string, std::string> left_;
    std::vector<std::string> left_files_; ///< that these are from
    std::string pending_;
    std::uint64_t cut_off_ = 0;
    bool unsynced_ = false;
};

/// How many bytes of a journal's text are whole; its jobs are told, with the outcome of those that
/// have one. Nothing where the text is no journal's.
using OnJob = std::function<void(std::string_view digest, std::optional<std::string_view> outcome)>;
std::optional<std::size_t> read_journal(std::string_view text, const OnJob &on_job);

/// A record of a job with its outcome.
void put_outcome(std::string &into, std::string_view digest, std::string_view outcome);
/// What a worker does with such records: a new file, whole or not there.
Result<void> leave_beside(const std::string &journal, const std::string &worker,
                          std::string_view records);

std::uint32_t crc32(std::string_view bytes);

/// Tells jobs that are alike apart: the second one of a digest is another job.
class Counter {
public:
    /// The digest of a job by what it runs, and how many alike came before it.
    std::string next(std::string_view command);

private:
    std::unordered_map<std::string, std::uint64_t> seen_;
};

} // namespace dtask::ensemble
