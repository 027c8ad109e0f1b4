// SPDX-License-Identifier: Apache-2.0
//
// Auth: the mutual proof at the start of every connection, as a pure state
// machine over bytes (doc/protocol.md §1). The MAC is libsodium's HMAC-SHA256,
// compared in constant time. A failed proof tells the peer nothing.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace dtask::proto {

enum class Role : std::uint8_t { client = 1, worker = 2, control = 3, observer = 4 };

/// The step's secret. Never printed: it has no formatter.
class Token {
public:
    static Result<Token> from_hex(std::string_view digits);
    static Token random();
    std::string hex() const;
    const std::array<unsigned char, 32> &bytes() const { return bytes_; }

private:
    std::array<unsigned char, 32> bytes_{};
};

/// 32 hexadecimal digits that only a holder of the token can make, another one for each
/// purpose: a secret of its own, from which nobody finds the token.
std::string derive(const Token &token, std::string_view purpose);

/// Whether they are the same, in a time that tells nothing of where they differ.
bool same_secret(std::string_view a, std::string_view b);

/// Begins hello and answer, with the protocol's version. The size of both stays what it is in all
/// versions, so that the two sides of different ones can say so.
constexpr std::string_view magic = "dtask-1\n";

/// What is wrong where a peer's first bytes are another version's; empty where they are not, or are
/// fewer than magic.size(). Not proved: for messages only.
std::string other_version(std::string_view bytes);

constexpr std::size_t hello_size = 48, answer_size = 72, proof_size = 32;

/// The side that connected.
class Initiator {
public:
    /// `port` is the one that was dialled: somebody who relays from another
    /// port cannot pass for its owner. `nonce` is 32 bytes, given only by tests.
    Initiator(const Token &token, Role role, std::uint16_t port, std::string_view nonce = {});
    const std::string &hello() const { return hello_; }
    /// Checks the acceptor's `answer` (answer_size bytes); the proof to send back.
    Result<std::string> prove(std::string_view answer) const;

private:
    Token token_;
    std::string hello_;
};

/// The side that was connected to.
class Acceptor {
public:
    /// `port` is the one that the connection came in on.
    Acceptor(const Token &token, std::uint16_t port, std::string_view nonce = {});
    /// The answer to `hello` (hello_size bytes), or a failure where it is none.
    Result<std::string> answer(std::string_view hello);
    /// Checks the initiator's `proof` (proof_size bytes); its role.
    Result<Role> check(std::string_view proof) const;

private:
    Token token_;
    std::uint16_t port_;
    std::string nonce_;
    std::string hello_;
};

} // namespace dtask::proto
