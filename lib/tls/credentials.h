// SPDX-License-Identifier: Apache-2.0
//
// Credentials: a step's own TLS authority and certificates, made from its
// token. This folder is the only includer of <openssl/…>.
//
// Every task derives the same authority key (Ed25519, from HMAC-SHA256 of the
// token) and signs a certificate of its own with it, so that no private key
// ever crosses the network or a shared file system: who holds the token can
// make a certificate, who does not can neither join nor pose as a member.
// They are valid from a day ago, for nodes whose clocks differ, and for 400
// days, longer than any step.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace dtask::tls {

/// All PEM.
struct Credentials {
    std::string authority;   ///< certificate of the step's authority
    std::string certificate; ///< of this task, signed by it
    std::string key;         ///< private key of this task
};

/// `seed` is 32 secret bytes, the same for all tasks of the step; `name`
/// stands in the certificate's subject.
Result<Credentials> make_credentials(std::string_view seed, const std::string &name);

} // namespace dtask::tls
