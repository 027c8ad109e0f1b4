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

std::string sha256_base64(std::string_view text) {
    unsigned char sum[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(sum, reinterpret_cast<const unsigned char *>(text.data()), text.size());
    char digits[sodium_base64_ENCODED_LEN(sizeof sum, sodium_base64_VARIANT_ORIGINAL)];
    return sodium_bin2base64(digits, sizeof digits, sum, sizeof sum,
                             sodium_base64_VARIANT_ORIGINAL);
}

} // namespace dtask::proto
