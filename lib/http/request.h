// SPDX-License-Identifier: Apache-2.0
//
// Request: the head of an HTTP/1 request as a value, by a strict parser: what is
// unusual is refused, not guessed at. Only GET without a body is taken. Names of
// headers are in lower case; nothing is percent-decoded.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dtask::http {

constexpr std::size_t most_head = 8192; ///< bytes, the empty line at its end included
constexpr std::size_t most_headers = 64;

struct Request {
    std::string path;  ///< begins with a slash
    std::string query; ///< behind the question mark
    bool keep_alive = true;
    std::vector<std::pair<std::string, std::string>> headers;

    /// The first header of that name; empty where there is none.
    std::string_view header(std::string_view name) const;
};

/// Reads `head`, which ends with its empty line. 200, or the status of the answer to what
/// it is instead: 400, 405, 413 (it has a body), 431 (too many headers) or 505.
int parse(std::string_view head, Request &request);

/// Bytes of the head at the front of `data`; 0: its end has not come yet.
std::size_t head_size(std::string_view data);

/// The first value of that name in "a=1&b=2"; empty where there is none.
std::string_view query_value(std::string_view query, std::string_view name);
/// The same in a Cookie header, "a=1; b=2".
std::string_view cookie_value(std::string_view cookies, std::string_view name);
/// X of "Bearer X", an Authorization header; empty where it is another.
std::string_view bearer(std::string_view authorization);

std::string_view reason(int status);

} // namespace dtask::http
