// SPDX-License-Identifier: Apache-2.0
//
// Gives every fuzz target its corpus, and prefixes of each file of it.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <set>
#include <string>

#include "tests/fuzz/target.h"

namespace dtask::fuzz {

namespace {

/// How many of the first lengths, and of all. Those with sockets take their time.
struct Prefixes {
    std::size_t heads = 24, cuts = 24;
};
const std::set<std::string> by_socket{"door", "handshake", "link"};

std::map<std::string, Target> &targets() {
    static std::map<std::string, Target> all;
    return all;
}

std::size_t replay(Target target, const std::filesystem::path &file, Prefixes of) {
    std::ifstream in(file, std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(in)), {});
    // Copies, so that a sanitizer sees their end.
    for (std::size_t n = 0; n < std::min(bytes.size(), of.heads); n++)
        target(std::string(bytes, 0, n));
    for (std::size_t n = 1; n < of.cuts && bytes.size() > of.heads; n++)
        target(std::string(bytes, 0, bytes.size() * n / of.cuts));
    target(bytes);
    return 1;
}

} // namespace

Registered::Registered(const char *name, Target target) { targets()[name] = target; }

} // namespace dtask::fuzz

int main() {
    using namespace dtask::fuzz;
    const std::filesystem::path tests = DTASK_SOURCE_DIR "/tests";
    for (auto &[name, target] : targets()) {
        std::size_t files = 0;
        auto prefixes = by_socket.contains(name) ? Prefixes{2, 4} : Prefixes{};
        // Frames, records and handshakes share the fixtures of the wire.
        for (const auto &directory : {tests / "fuzz/corpus" / name, tests / "fixtures/protocol"}) {
            std::error_code missing;
            for (const auto &entry : std::filesystem::directory_iterator(directory, missing))
                if (entry.is_regular_file()) files += replay(target, entry.path(), prefixes);
            if (missing) {
                std::cerr << directory.string() << ": " << missing.message() << '\n';
                return EXIT_FAILURE;
            }
        }
        std::cout << name << ": " << files << " files\n";
    }
    return targets().empty() ? EXIT_FAILURE : EXIT_SUCCESS;
}
