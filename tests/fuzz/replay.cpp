// SPDX-License-Identifier: Apache-2.0
//
// Gives every fuzz target its corpus, and each prefix of each file of it.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <string>

#include "tests/fuzz/target.h"

namespace dtask::fuzz {

namespace {

constexpr std::size_t most_prefixes = 300;

std::map<std::string, Target> &targets() {
    static std::map<std::string, Target> all;
    return all;
}

std::size_t replay(Target target, const std::filesystem::path &file) {
    std::ifstream in(file, std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(in)), {});
    for (std::size_t n = 0; n < std::min(bytes.size(), most_prefixes); n++)
        target(std::string(bytes, 0, n)); // a copy, so that a sanitizer sees its end
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
        // Frames, records and handshakes share the fixtures of the wire.
        for (const auto &directory : {tests / "fuzz/corpus" / name, tests / "fixtures/protocol"}) {
            std::error_code missing;
            for (const auto &entry : std::filesystem::directory_iterator(directory, missing))
                if (entry.is_regular_file()) files += replay(target, entry.path());
            if (missing) {
                std::cerr << directory.string() << ": " << missing.message() << '\n';
                return EXIT_FAILURE;
            }
        }
        std::cout << name << ": " << files << " files\n";
    }
    return targets().empty() ? EXIT_FAILURE : EXIT_SUCCESS;
}
