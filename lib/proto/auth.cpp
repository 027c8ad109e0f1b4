// SPDX-License-Identifier: Apache-2.0
#include "lib/proto/auth.h"

#include <algorithm>
#include <cstdlib>

#include <sodium.h>

#include "lib/base/strings.h"

namespace dtask::proto {

namespace {

constexpr std::string_view family = "dtask-"; // before the version
constexpr std::size_t nonce_size = 32;
constexpr std::string_view accept_label = "dtask accept", initiate_label = "dtask initiate",
                           derive_label = "dtask derive";

void initialise() {
    static const int state = sodium_init(); // idempotent, thread-safe by the language
    if (state < 0) std::abort();            // no source of randomness
}

std::string random_bytes(std::size_t n) {
    initialise();
    std::string bytes(n, '\0');
    randombytes_buf(bytes.data(), n);
    return bytes;
}

std::string mac(const Token &token, std::string_view label, std::string_view hello,
                std::string_view nonce) {
    auto bytes = [](std::string_view s) {
        return reinterpret_cast<const unsigned char *>(s.data());
    };
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, token.bytes().data(), token.bytes().size());
    for (auto part : {label, hello, nonce})
        crypto_auth_hmacsha256_update(&state, bytes(part), part.size());
    std::string out(proof_size, '\0');
    crypto_auth_hmacsha256_final(&state, reinterpret_cast<unsigned char *>(out.data()));
    return out;
}

std::string port_bytes(std::uint16_t port) {
    return {static_cast<char>(port & 0xff), static_cast<char>(port >> 8)};
}

} // namespace

std::string derive(const Token &token, std::string_view purpose) {
    constexpr std::size_t size = 16;
    return to_hex(std::string_view(mac(token, derive_label, purpose, {})).substr(0, size));
}

bool same_secret(std::string_view a, std::string_view b) {
    return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

Result<Token> Token::from_hex(std::string_view digits) {
    auto bytes = dtask::from_hex(digits);
    Token token;
    if (!bytes || bytes->size() != token.bytes_.size())
        return fail("token: not 64 hexadecimal digits");
    std::copy(bytes->begin(), bytes->end(), token.bytes_.begin());
    return token;
}

Token Token::random() {
    initialise();
    Token token;
    randombytes_buf(token.bytes_.data(), token.bytes_.size());
    return token;
}

std::string Token::hex() const {
    return to_hex({reinterpret_cast<const char *>(bytes_.data()), bytes_.size()});
}

std::string other_version(std::string_view bytes) {
    bytes = bytes.substr(0, magic.size());
    if (bytes.size() < magic.size() || bytes == magic || !bytes.starts_with(family)) return {};
    auto version = bytes.substr(family.size());
    version = version.substr(0, version.find_first_not_of("0123456789"));
    return "it speaks version " + std::string(version.empty() ? "?" : version) +
           " of dtask's protocol, and this is version " +
           std::string(magic.substr(family.size(), magic.size() - family.size() - 1)) +
           ": dtask must be of one version on both sides";
}

Initiator::Initiator(const Token &token, Role role, std::uint16_t port, std::string_view nonce)
    : token_(token), hello_(magic) {
    hello_ += static_cast<char>(role);
    hello_ += port_bytes(port);
    hello_.append(5, '\0');
    hello_ += nonce.empty() ? random_bytes(nonce_size) : std::string(nonce);
}

Result<std::string> Initiator::prove(std::string_view answer) const {
    if (auto other = other_version(answer); !other.empty()) return fail(other);
    if (answer.size() != answer_size || !answer.starts_with(magic))
        return fail("not a dtask scheduler or worker");
    auto nonce = answer.substr(magic.size(), nonce_size);
    if (!same_secret(answer.substr(magic.size() + nonce_size),
                     mac(token_, accept_label, hello_, nonce)))
        return fail("it does not hold this step's token");
    return mac(token_, initiate_label, hello_, nonce);
}

Acceptor::Acceptor(const Token &token, std::uint16_t port, std::string_view nonce)
    : token_(token), port_(port),
      nonce_(nonce.empty() ? random_bytes(nonce_size) : std::string(nonce)) {}

Result<std::string> Acceptor::answer(std::string_view hello) {
    if (auto other = other_version(hello); !other.empty()) return fail(other);
    if (hello.size() != hello_size || !hello.starts_with(magic)) return fail("not a dtask peer");
    if (hello.substr(magic.size() + 1, 2) != port_bytes(port_))
        return fail("it dialled another port: a relay");
    hello_ = hello;
    std::string answer(magic);
    answer += nonce_;
    answer += mac(token_, accept_label, hello_, nonce_);
    return answer;
}

Result<Role> Acceptor::check(std::string_view proof) const {
    if (!same_secret(proof, mac(token_, initiate_label, hello_, nonce_)))
        return fail("wrong token");
    auto role = static_cast<unsigned char>(hello_[magic.size()]);
    if (role < 1 || role > 4) return fail("role " + std::to_string(role) + " is not known");
    return static_cast<Role>(role);
}

} // namespace dtask::proto
