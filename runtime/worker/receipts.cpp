// SPDX-License-Identifier: Apache-2.0
#include "runtime/worker/receipts.h"

#include <map>

#include "lib/base/log.h"
#include "lib/base/strings.h"
#include "lib/model/command.h"
#include "runtime/ensemble/journal.h"

namespace dtask::worker {

void Receipts::add(std::uint64_t function, const std::string &journal, const std::string &digest,
                   std::string ended) {
    if (journal.empty() || digest.empty()) return;
    bytes_ += ended.size();
    receipts_.push_back({function, journal, digest, std::move(ended)});
    while (receipts_.size() > model::most_untold || (bytes_ > most_bytes && receipts_.size() > 1))
        drop_first();
}

void Receipts::drop_first() {
    bytes_ -= receipts_.front().ended.size();
    receipts_.pop_front();
}

void Receipts::forget(std::uint64_t function) {
    std::erase_if(receipts_, [&](const Receipt &receipt) {
        bool its = receipt.function == function;
        if (its) bytes_ -= receipt.ended.size();
        return its;
    });
}

void Receipts::write(const std::string &worker) {
    std::map<std::string, std::string> records; // by journal
    for (; !receipts_.empty(); drop_first()) {
        const auto &receipt = receipts_.front();
        if (auto digest = from_hex(receipt.digest))
            ensemble::put_outcome(records[receipt.journal], *digest, receipt.ended);
    }
    for (const auto &[journal, text] : records)
        if (auto ok = ensemble::leave_beside(journal, worker, text); !ok)
            log::info("what has ended is not noted: " + ok.error().text());
}

} // namespace dtask::worker
