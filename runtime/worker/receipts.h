// SPDX-License-Identifier: Apache-2.0
//
// Receipts: the commands that have ended well here, of clients that keep a journal, with what they
// wrote. The last reports may never have reached the client: where the cluster is lost the receipts
// are written beside its journal, to JOURNAL.from-WORKER, and the next --resume tells of them
// (ensemble/journal.h). So what has ended is not run again, whoever was killed.
//
// A client has at most model::most_untold jobs with the scheduler, so no more are kept; and no
// more than most_bytes of the last ones, but for the very last.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "lib/base/result.h"

namespace dtask::worker {

class Receipts {
public:
    static constexpr std::size_t most_bytes = 64u << 20;

    /// `journal`: the path of the client's; `digest`: of the job, in hex; `ended`: its outcome.
    void add(std::uint64_t function, const std::string &journal, const std::string &digest,
             std::string ended);
    /// Its client knows of all, or has gone.
    void forget(std::uint64_t function);
    /// Writes what there is. A journal that cannot be reached from here gets none.
    void write(const std::string &worker);

private:
    struct Receipt {
        std::uint64_t function;
        std::string journal, digest, ended;
    };
    void drop_first();

    std::deque<Receipt> receipts_;
    std::size_t bytes_ = 0; ///< of the outcomes
};

} // namespace dtask::worker
