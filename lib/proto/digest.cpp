// SPDX-License-Identifier: Apache-2.0
#include "lib/proto/digest.h"

#include <sodium.h>

namespace dtask::proto {

std::string digest(std::string_view text) {
    std::string sum(digest_size, '\0');
    crypto_generichash(reinterpret_cast<unsigned char *>(sum.data()), sum.size(),
                       reinterpret_cast<const unsigned char *>(text.data()), text.size(), nullptr,
                       0);
    return sum;
}

} // namespace dtask::proto
