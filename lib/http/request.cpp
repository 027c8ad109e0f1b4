// SPDX-License-Identifier: Apache-2.0
#include "lib/http/request.h"

#include <algorithm>

#include "lib/base/strings.h"

namespace dtask::http {

namespace {

constexpr std::string_view head_end = "\r\n\r\n";

// A token of RFC 9110.
bool is_token(std::string_view word) {
    constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
    return !word.empty() && std::ranges::all_of(word, [&](char c) {
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
               marks.find(c) != marks.npos;
    });
}

bool is_visible(std::string_view text) {
    return std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~'; });
}

// "GET /path?query HTTP/1.1"
int parse_line(std::string_view line, Request &request) {
    auto words = split(line, ' ');
    if (words.size() != 3 || !is_token(words[0]) || !is_visible(words[1])) return 400;
    if (words[2].size() != 8 || !words[2].starts_with("HTTP/")) return 400;
    if (words[2] != "HTTP/1.1" && words[2] != "HTTP/1.0") return 505;
    if (words[0] != "GET") return 405;
    if (!words[1].starts_with('/')) return 400;
    request.keep_alive = words[2] == "HTTP/1.1";
    auto mark = words[1].find('?');
    request.path = words[1].substr(0, mark);
    if (mark != std::string_view::npos) request.query = words[1].substr(mark + 1);
    return 200;
}

int parse_header(std::string_view line, Request &request) {
    auto colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return 400;
    auto value = trim(line.substr(colon + 1));
    auto control = [](char c) {
        return (static_cast<unsigned char>(c) < ' ' && c != '\t') || c == 0x7f;
    };
    if (std::ranges::any_of(value, control)) return 400;
    if (request.headers.size() == most_headers) return 431;
    request.headers.emplace_back(lower(line.substr(0, colon)), value);
    return 200;
}

// The one value of `name` in pieces "name=value".
std::string_view value_of(std::string_view text, char separator, std::string_view name) {
    for (auto piece : split(text, separator)) {
        piece = trim(piece);
        if (piece.size() > name.size() && piece.starts_with(name) && piece[name.size()] == '=')
            return piece.substr(name.size() + 1);
    }
    return {};
}

} // namespace

std::string_view Request::header(std::string_view name) const {
    for (const auto &[key, value] : headers)
        if (key == name) return value;
    return {};
}

int parse(std::string_view head, Request &request) {
    request = {};
    if (head.size() > most_head) return 431;
    if (!head.ends_with(head_end)) return 400;
    head.remove_suffix(head_end.size());
    for (bool first = true; first || !head.empty(); first = false) {
        auto end = head.find("\r\n");
        auto line = head.substr(0, end);
        head.remove_prefix(end == std::string_view::npos ? head.size() : end + 2);
        int status = first ? parse_line(line, request) : parse_header(line, request);
        if (status != 200) return status;
    }
    for (const auto &[name, value] : request.headers) {
        if (name == "transfer-encoding") return 413;
        if (name == "content-length" && value != "0") return parse_uint(value) ? 413 : 400;
        if (name != "connection") continue;
        for (auto word : split(value, ','))
            if (lower(trim(word)) == "close") request.keep_alive = false;
    }
    return 200;
}

std::size_t head_size(std::string_view data) {
    auto end = data.find(head_end);
    return end == data.npos ? 0 : end + head_end.size();
}

std::string_view query_value(std::string_view query, std::string_view name) {
    return value_of(query, '&', name);
}

std::string_view cookie_value(std::string_view cookies, std::string_view name) {
    return value_of(cookies, ';', name);
}

std::string_view bearer(std::string_view authorization) {
    constexpr std::string_view scheme = "bearer ";
    if (lower(authorization.substr(0, scheme.size())) != scheme) return {};
    return trim(authorization.substr(scheme.size()));
}

std::string_view reason(int status) {
    switch (status) {
    case 200: return "OK";
    case 303: return "See Other";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    }
    return "Status";
}

} // namespace dtask::http
