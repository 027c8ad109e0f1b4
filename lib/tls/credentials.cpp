// SPDX-License-Identifier: Apache-2.0
#include "lib/tls/credentials.h"

#include <algorithm>
#include <array>
#include <memory>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

namespace dtask::tls {

namespace {

constexpr long day_s = 24L * 60 * 60;
constexpr long validity_s = 400 * day_s;
constexpr const char *authority_name = "dtask step authority";

template <auto free> struct Deleter {
    template <class T> void operator()(T *p) const { free(p); }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Memory = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using Extension = std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>>;

Key ed25519(const unsigned char *seed) {
    return Key(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed, 32));
}

Key authority_key(std::string_view seed) {
    constexpr std::string_view label = "dtask tls authority";
    std::array<unsigned char, EVP_MAX_MD_SIZE> mac{};
    unsigned length = 0;
    if (!HMAC(EVP_sha256(), seed.data(), static_cast<int>(seed.size()),
              reinterpret_cast<const unsigned char *>(label.data()), label.size(), mac.data(),
              &length))
        return nullptr;
    return ed25519(mac.data());
}

Key random_key() {
    std::array<unsigned char, 32> seed{};
    if (RAND_bytes(seed.data(), static_cast<int>(seed.size())) != 1) return nullptr;
    return ed25519(seed.data());
}

bool name_it(X509_NAME *name, const std::string &common) {
    constexpr std::size_t longest = 64; // X.509's ub-common-name
    return X509_NAME_add_entry_by_txt(
               name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char *>(common.data()),
               static_cast<int>(std::min(common.size(), longest)), -1, 0) == 1;
}

bool extend(X509 *certificate, X509 *issuer, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
    return extension && X509_add_ext(certificate, extension.get(), -1) == 1;
}

Certificate certify(EVP_PKEY *subject_key, const std::string &subject, EVP_PKEY *issuer_key,
                    bool authority) {
    Certificate cert(X509_new());
    std::array<unsigned char, 8> serial{};
    if (!cert || RAND_bytes(serial.data(), static_cast<int>(serial.size())) != 1) return nullptr;
    serial[0] &= 0x7f; // positive, as X.509 wants it
    std::uint64_t number = 0;
    for (auto byte : serial) number = number << 8 | byte;
    bool ok = X509_set_version(cert.get(), 2) == 1 && // counts from 0: version 3
              ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert.get()), number | 1) == 1 &&
              X509_gmtime_adj(X509_getm_notBefore(cert.get()), -day_s) &&
              X509_gmtime_adj(X509_getm_notAfter(cert.get()), validity_s) &&
              X509_set_pubkey(cert.get(), subject_key) == 1 &&
              name_it(X509_get_subject_name(cert.get()), subject) &&
              name_it(X509_get_issuer_name(cert.get()), authority_name);
    if (authority)
        ok = ok && extend(cert.get(), cert.get(), NID_basic_constraints, "critical,CA:TRUE") &&
             extend(cert.get(), cert.get(), NID_key_usage, "critical,keyCertSign,cRLSign");
    else
        ok = ok && extend(cert.get(), cert.get(), NID_basic_constraints, "critical,CA:FALSE") &&
             extend(cert.get(), cert.get(), NID_ext_key_usage, "serverAuth,clientAuth");
    // Ed25519 has its digest built in.
    if (!ok || X509_sign(cert.get(), issuer_key, nullptr) == 0) return nullptr;
    return cert;
}

std::string text_of(BIO *memory) {
    char *data = nullptr;
    long length = BIO_get_mem_data(memory, &data);
    return {data, static_cast<std::size_t>(length)};
}

std::string pem(X509 *certificate) {
    Memory memory(BIO_new(BIO_s_mem()));
    if (!memory || PEM_write_bio_X509(memory.get(), certificate) != 1) return {};
    return text_of(memory.get());
}

std::string pem(EVP_PKEY *key) {
    Memory memory(BIO_new(BIO_s_mem()));
    if (!memory ||
        PEM_write_bio_PrivateKey(memory.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1)
        return {};
    return text_of(memory.get());
}

} // namespace

Result<Credentials> make_credentials(std::string_view seed, const std::string &name) {
    Key issuer = authority_key(seed), own = random_key();
    if (!issuer || !own) return fail("TLS: no Ed25519 key can be made");
    auto authority = certify(issuer.get(), authority_name, issuer.get(), true);
    auto certificate = certify(own.get(), name, issuer.get(), false);
    if (!authority || !certificate) return fail("TLS: no certificate can be made");
    Credentials all{pem(authority.get()), pem(certificate.get()), pem(own.get())};
    if (all.authority.empty() || all.certificate.empty() || all.key.empty())
        return fail("TLS: the certificates cannot be written");
    return all;
}

} // namespace dtask::tls
