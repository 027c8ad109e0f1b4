// SPDX-License-Identifier: Apache-2.0
//
// The head of an HTTP request, and what is looked for in its query and cookies.
#include "lib/http/request.h"
#include "tests/fuzz/target.h"

using namespace dtask;

DTASK_FUZZ_TARGET(request, bytes) {
    auto size = http::head_size(bytes);
    promise(size <= bytes.size());
    http::Request request;
    int status = http::parse(size > 0 ? bytes.substr(0, size) : bytes, request);
    promise(status == 200 || status == 400 || status == 405 || status == 413 || status == 431 ||
            status == 505);
    promise(http::reason(status) != "Status");
    if (status != 200) return;
    promise(size > 0 && size <= http::most_head && request.headers.size() <= http::most_headers);
    promise(request.path.starts_with('/'));
    for (char c : request.path + request.query) promise(c > ' ' && c <= '~');
    for (const auto &[name, value] : request.headers)
        promise((name + value).find_first_of("\r\n") == std::string::npos);
    auto token = http::query_value(request.query, "token");
    promise(token.find('&') == token.npos && token.size() <= request.query.size());
    auto cookie = http::cookie_value(request.header("cookie"), "dtask_page_1");
    promise(cookie.find(';') == cookie.npos);
    (void)http::bearer(request.header("authorization"));
}
