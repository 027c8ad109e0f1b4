// SPDX-License-Identifier: Apache-2.0
#include "runtime/ensemble/journal.h"

#include <array>
#include <filesystem>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "lib/proto/digest.h"

namespace dtask::ensemble {

namespace {

constexpr std::string_view from = ".from-";
constexpr std::string_view magic = "dtask-journal-1\n";
constexpr std::size_t head_size = 8, longest_record = 256u << 20;
constexpr std::size_t longest_file = std::size_t{8} << 30;
constexpr char done_kind = 1, outcome_kind = 2;
constexpr unsigned most_left = 1'000; // files of one worker

void put(std::string &into, std::uint32_t number) {
    for (int byte = 0; byte < 4; byte++)
        into += static_cast<char>(static_cast<unsigned char>(number >> (8 * byte)));
}

std::uint32_t number_at(std::string_view bytes, std::size_t at) {
    std::uint32_t number = 0;
    for (std::size_t byte = 0; byte < 4; byte++)
        number |= std::uint32_t{static_cast<unsigned char>(bytes[at + byte])} << (8 * byte);
    return number;
}

std::array<std::uint32_t, 256> make_table() {
    constexpr std::uint32_t polynomial = 0xedb88320;
    std::array<std::uint32_t, 256> table{};
    for (std::uint32_t n = 0; n < table.size(); n++) {
        std::uint32_t value = n;
        for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ ((value & 1) ? polynomial : 0);
        table[n] = value;
    }
    return table;
}

void put_record(std::string &into, const std::string &body) {
    put(into, static_cast<std::uint32_t>(body.size()));
    put(into, crc32(body));
    into += body;
}

// Ends with a number, as workers' names do: what is still being written has another end.
bool is_whole(const std::string &name) {
    return name.find_first_not_of("0123456789", name.rfind('.') + 1) == name.npos;
}

// What workers have left.
std::vector<std::string> beside(const std::string &journal) {
    std::filesystem::path path(journal);
    auto directory = path.parent_path().empty() ? std::filesystem::path(".") : path.parent_path();
    auto prefix = path.filename().string() + std::string(from);
    std::vector<std::string> files;
    std::error_code error;
    for (std::filesystem::directory_iterator at(directory, error), end; !error && at != end;
         at.increment(error)) {
        auto name = at->path().filename().string();
        if (name.starts_with(prefix) && is_whole(name)) files.push_back(at->path());
    }
    return files;
}

Result<void> remove_files(const std::vector<std::string> &files) {
    for (const auto &file : files)
        if (::unlink(file.c_str()) < 0 && errno != ENOENT) return fail_errno("journal: " + file);
    return {};
}

} // namespace

std::uint32_t crc32(std::string_view bytes) {
    static const auto table = make_table();
    std::uint32_t sum = 0xffffffff;
    for (char c : bytes) sum = table[(sum ^ static_cast<unsigned char>(c)) & 0xff] ^ (sum >> 8);
    return ~sum;
}

std::optional<std::size_t> read_journal(std::string_view text, const OnJob &on_job) {
    // The first write may be torn as well.
    if (text.size() < magic.size() && magic.starts_with(text)) return 0;
    if (!text.starts_with(magic)) return {};
    std::size_t at = magic.size();
    while (text.size() - at >= head_size) {
        std::size_t length = number_at(text, at);
        if (length == 0 || length > longest_record || text.size() - at - head_size < length) break;
        auto body = text.substr(at + head_size, length);
        if (crc32(body) != number_at(text, at + 4)) break;
        constexpr auto outcome = 1 + proto::digest_size;
        if (body[0] == done_kind && body.size() == outcome) on_job(body.substr(1), {});
        if (body[0] == outcome_kind && body.size() >= outcome)
            on_job(body.substr(1, proto::digest_size), body.substr(outcome));
        at += head_size + length;
    }
    return at;
}

Result<Journal> Journal::open(const std::string &path, bool resume) {
    Journal journal;
    journal.path_ = path;
    auto file = open_file(path, O_RDWR | O_CREAT | O_APPEND, 0666);
    if (!file) return fail_from(std::move(file), "journal");
    if (::flock(file->get(), LOCK_EX | LOCK_NB) < 0)
        return fail("journal: " + path + ": " +
                    (errno == EWOULDBLOCK ? "another dtask map writes it" : std::strerror(errno)));
    auto text = read_all(file->get(), longest_file);
    if (!text) return fail_from(std::move(text), "journal: " + path);
    auto whole =
        read_journal(*text, [&](std::string_view digest, auto) { journal.done_.emplace(digest); });
    if (!whole)
        return fail("journal: " + path +
                    " is no journal of dtask; accepted: a name that is free, "
                    "or a journal and --resume");
    if (!resume && *whole > magic.size())
        return fail("journal: " + path + " has " + std::to_string(journal.done_.size()) +
                    " jobs already; accepted: --resume to go on with them, or another name");
    journal.cut_off_ = text->size() - *whole;
    if (journal.cut_off_ > 0 && ::ftruncate(file->get(), static_cast<off_t>(*whole)) < 0)
        return fail_errno("journal: " + path);
    journal.file_ = std::move(*file);
    if (*whole == 0) journal.pending_ = magic;
    // Else they are those of a journal that was removed.
    if (auto ok = resume && *whole > 0 ? journal.read_left() : remove_files(beside(path)); !ok)
        return fail_from(std::move(ok));
    if (auto ok = journal.flush(); !ok) return fail_from(std::move(ok));
    return journal;
}

void put_outcome(std::string &into, std::string_view digest, std::string_view outcome) {
    put_record(into, std::string(1, outcome_kind).append(digest).append(outcome));
}

Result<void> Journal::read_left() {
    left_files_ = beside(path_);
    for (const auto &file : left_files_) {
        auto text = read_file(file, longest_file);
        if (!text) return fail_from(std::move(text), "journal");
        auto keep = [&](std::string_view digest, std::optional<std::string_view> outcome) {
            if (outcome) left_.emplace(digest, *outcome);
        };
        if (!read_journal(*text, keep)) return fail("journal: " + file + " is none of a worker's");
    }
    return {};
}

std::optional<std::string> Journal::take_left(const std::string &digest) {
    auto found = left_.extract(digest);
    if (found.empty()) return {};
    // cppcheck-suppress returnStdMoveLocal ; the map's value, not a local one
    return std::move(found.mapped());
}

Result<void> Journal::forget_left() { return remove_files(std::exchange(left_files_, {})); }

Result<void> leave_beside(const std::string &journal, const std::string &worker,
                          std::string_view records) {
    auto name = journal + std::string(from) + worker;
    auto text = std::string(magic).append(records);
    for (unsigned before = 0; before < most_left; before++) {
        auto path = before == 0 ? name : name + "." + std::to_string(before);
        auto made = create_file(path, text, 0644);
        if (!made) return fail_from(std::move(made));
        if (*made) return {};
    }
    return fail(name + ": " + std::to_string(most_left) + " of them are there already");
}

void Journal::add(std::string_view digest) {
    if (file_) put_record(pending_, std::string(1, done_kind).append(digest));
}

Result<void> Journal::flush() {
    if (!file_ || pending_.empty()) return {};
    if (auto ok = write_all(file_.get(), pending_); !ok)
        return fail_from(std::move(ok), "journal: " + path_);
    pending_.clear();
    unsynced_ = true;
    return {};
}

Result<void> Journal::sync() {
    if (auto ok = flush(); !ok) return ok;
    if (!unsynced_) return {};
    unsynced_ = false;
    if (::fdatasync(file_.get()) < 0 && errno != EINVAL) return fail_errno("journal: " + path_);
    return {};
}

std::string Counter::next(std::string_view command) {
    auto digest = proto::digest(command);
    auto before = seen_[digest]++;
    if (before == 0) return digest;
    return proto::digest(digest + std::to_string(before));
}

} // namespace dtask::ensemble
