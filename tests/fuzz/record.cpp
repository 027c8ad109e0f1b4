// SPDX-License-Identifier: Apache-2.0
//
// What an executor, which runs the user's code, may put on its socket.
#include "lib/proto/record.h"
#include "lib/proto/error_text.h"
#include "lib/proto/frame.h"
#include "tests/fuzz/target.h"

using namespace dtask::proto;

DTASK_FUZZ_TARGET(record, bytes) {
    if (auto error = read_error(bytes))
        promise(error->type.size() + error->message.size() + error->traceback.size() <=
                3 * bytes.size());
    while (auto head = decode_record_head(bytes)) {
        promise(head->kind >= RecordKind::ready && head->kind != RecordKind::input);
        promise(head->length <= max_value + (1 << 20));
        auto written = encode_record_head(*head);
        promise(written.size() == record_head_size);
        promise(written.substr(8) == bytes.substr(8, record_head_size - 8));
        bytes.remove_prefix(record_head_size);
        bytes.remove_prefix(std::min<std::size_t>(head->length, bytes.size()));
    }
}
