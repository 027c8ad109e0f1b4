// SPDX-License-Identifier: Apache-2.0
//
// A step's TLS credentials: every task's certificate is good with every other
// task's copy of the authority, and with no other step's.
#include "tests/unit/unit.h"

#include <memory>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "lib/tls/credentials.h"

using namespace dtask;
using dtask::test::must;

namespace {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Text = std::unique_ptr<BIO, decltype(&BIO_free_all)>;

const std::string one(32, '\x01'), two(32, '\x02');

Text text(const std::string &pem) {
    return {BIO_new_mem_buf(pem.data(), int(pem.size())), BIO_free_all};
}

Certificate certificate(const std::string &pem) {
    Certificate read(PEM_read_bio_X509(text(pem).get(), nullptr, nullptr, nullptr), X509_free);
    ck_assert_msg(read != nullptr, "no certificate");
    return read;
}

Key key(const std::string &pem) {
    Key read(PEM_read_bio_PrivateKey(text(pem).get(), nullptr, nullptr, nullptr), EVP_PKEY_free);
    ck_assert_msg(read != nullptr, "no key");
    return read;
}

std::string subject(const std::string &pem) {
    char name[256] = "";
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate(pem).get()), NID_commonName, name,
                              sizeof name);
    return name;
}

/// As a TLS library does it, for `purpose`.
bool verifies(const std::string &pem, const std::string &authority, int purpose) {
    std::unique_ptr<X509_STORE, decltype(&X509_STORE_free)> store(X509_STORE_new(),
                                                                  X509_STORE_free);
    X509_STORE_add_cert(store.get(), certificate(authority).get());
    std::unique_ptr<X509_STORE_CTX, decltype(&X509_STORE_CTX_free)> context(X509_STORE_CTX_new(),
                                                                            X509_STORE_CTX_free);
    auto subject = certificate(pem);
    X509_STORE_CTX_init(context.get(), store.get(), subject.get(), nullptr);
    X509_STORE_CTX_set_purpose(context.get(), purpose);
    return X509_verify_cert(context.get()) == 1;
}

START_TEST(test_tasks_of_one_step_trust_each_other) {
    auto a = must(tls::make_credentials(one, "n1.0")), b = must(tls::make_credentials(one, "n2.1"));
    for (auto purpose : {X509_PURPOSE_SSL_SERVER, X509_PURPOSE_SSL_CLIENT}) {
        ck_assert(verifies(a.certificate, a.authority, purpose));
        ck_assert(verifies(a.certificate, b.authority, purpose));
        ck_assert(verifies(b.certificate, a.authority, purpose));
    }
    ck_text_eq(subject(a.certificate), "n1.0");
    ck_text_eq(subject(b.certificate), "n2.1");
    ck_assert(a.key != b.key);
    ck_assert_int_eq(X509_check_private_key(certificate(a.certificate).get(), key(a.key).get()), 1);
    ck_assert_int_eq(X509_check_private_key(certificate(a.certificate).get(), key(b.key).get()), 0);
}
END_TEST

START_TEST(test_steps_do_not_trust_each_other) {
    auto a = must(tls::make_credentials(one, "n1.0")), b = must(tls::make_credentials(two, "n1.0"));
    ck_assert(!verifies(a.certificate, b.authority, X509_PURPOSE_SSL_CLIENT));
    ck_assert(!verifies(b.certificate, a.authority, X509_PURPOSE_SSL_CLIENT));
}
END_TEST

// A task cannot make certificates with the key of its own.
START_TEST(test_only_the_authority_signs) {
    auto a = must(tls::make_credentials(one, "n1.0"));
    ck_assert_int_eq(X509_check_ca(certificate(a.authority).get()), 1);
    ck_assert_int_eq(X509_check_ca(certificate(a.certificate).get()), 0);
    // No text gives the authority's key away.
    auto own = key(a.key);
    ck_assert_int_eq(X509_check_private_key(certificate(a.authority).get(), own.get()), 0);
}
END_TEST

START_TEST(test_valid_now_and_on_clocks_that_differ) {
    auto a = must(tls::make_credentials(one, "n1.0"));
    auto read = certificate(a.certificate);
    time_t now = ::time(nullptr), hour = 3600;
    for (time_t when : {now - 23 * hour, now, now + 399 * 24 * hour}) {
        ck_assert_int_lt(X509_cmp_time(X509_get0_notBefore(read.get()), &when), 0);
        ck_assert_int_gt(X509_cmp_time(X509_get0_notAfter(read.get()), &when), 0);
    }
}
END_TEST

// X.509 gives a name 64 characters; nodes may have longer ones.
START_TEST(test_long_names) {
    auto a = must(tls::make_credentials(one, std::string(250, 'n') + ".3"));
    ck_assert(subject(a.certificate).starts_with("nnnn"));
    ck_assert(verifies(a.certificate, a.authority, X509_PURPOSE_SSL_CLIENT));
}
END_TEST

Suite *suite() {
    auto s = suite_create("tls");
    auto c = tcase_create("tls");
    for (auto test :
         {test_tasks_of_one_step_trust_each_other, test_steps_do_not_trust_each_other,
          test_only_the_authority_signs, test_valid_now_and_on_clocks_that_differ, test_long_names})
        tcase_add_test(c, test);
    suite_add_tcase(s, c);
    return s;
}

} // namespace

int main() { return test::run(suite()); }
