// SPDX-License-Identifier: Apache-2.0
#include "lib/model/command.h"

#include <array>
#include <utility>

#include "lib/base/strings.h"

namespace dtask::model {

namespace {

// One letter before each text says what it is.
void put(std::string &into, char what, std::string_view text) {
    into += what;
    into += text;
    into += '\0';
}

void put_number(std::string &into, std::uint64_t number) {
    for (int byte = 0; byte < 8; byte++)
        into += static_cast<char>(static_cast<unsigned char>(number >> (8 * byte)));
}

std::uint64_t number_at(std::string_view bytes, std::size_t at) {
    std::uint64_t number = 0;
    for (std::size_t byte = 0; byte < 8; byte++)
        number |= std::uint64_t{static_cast<unsigned char>(bytes[at + byte])} << (8 * byte);
    return number;
}

constexpr std::size_t ended_numbers = 10;

} // namespace

bool runs_commands(std::string_view program, std::string_view first_argument) {
    auto slash = program.rfind('/');
    if (slash != program.npos) program.remove_prefix(slash + 1);
    return program == "dtask" && first_argument == "map";
}

std::string Command::encode() const {
    std::string bytes;
    for (const auto &argument : argv) put(bytes, 'a', argument);
    for (const auto &variable : set) put(bytes, 'e', variable);
    for (const auto &name : unset) put(bytes, 'u', name);
    if (slot_marks) put(bytes, 's', "");
    if (streamed) put(bytes, 'l', "");
    if (!directory.empty()) put(bytes, 'd', directory);
    if (!input.empty()) put(bytes, 'i', input);
    if (!output.empty()) put(bytes, 'o', output);
    if (!errors.empty()) put(bytes, 'r', errors);
    if (!journal.empty()) put(bytes, 'j', journal);
    if (!digest.empty()) put(bytes, 'k', digest);
    if (memory > 0) put(bytes, 'm', std::to_string(memory));
    return bytes;
}

Result<void> Command::decode(std::string_view bytes, Command &into) {
    while (!bytes.empty()) {
        auto end = bytes.find('\0');
        if (end == bytes.npos || end == 0) return fail("a command whose texts do not end");
        std::string text(bytes.substr(1, end - 1));
        switch (bytes[0]) {
        case 'a': into.argv.push_back(std::move(text)); break;
        case 'e':
            if (text.find('=') == text.npos || text[0] == '=')
                return fail("a command's variable is not NAME=VALUE");
            into.set.push_back(std::move(text));
            break;
        case 'u': into.unset.push_back(std::move(text)); break;
        case 's': into.slot_marks = true; break;
        case 'l': into.streamed = true; break;
        case 'd': into.directory = std::move(text); break;
        case 'i': into.input = std::move(text); break;
        case 'o': into.output = std::move(text); break;
        case 'r': into.errors = std::move(text); break;
        case 'j': into.journal = std::move(text); break;
        case 'k': into.digest = std::move(text); break;
        case 'm': {
            auto number = parse_uint(text);
            if (!number) return fail("a command's memory is no number");
            into.memory = *number;
            break;
        }
        default: return fail("a command has a text of unknown kind");
        }
        bytes.remove_prefix(end + 1);
    }
    return {};
}

std::string Ended::encode() const {
    std::string bytes;
    bytes.reserve(8 * ended_numbers + host.size() + output.size() + errors.size());
    for (std::uint64_t number :
         {std::uint64_t{exit}, std::uint64_t{signal}, began_us, ran_us, cpu_us, peak, lost,
          std::uint64_t{host.size()}, std::uint64_t{output.size()}, std::uint64_t{errors.size()}})
        put_number(bytes, number);
    return bytes.append(host).append(output).append(errors);
}

Result<Ended> Ended::decode(std::string_view bytes) {
    constexpr std::size_t head = 8 * ended_numbers;
    if (bytes.size() < head) return fail("a command's outcome is cut short");
    std::array<std::uint64_t, ended_numbers> numbers{};
    for (std::size_t n = 0; n < ended_numbers; n++) numbers[n] = number_at(bytes, 8 * n);
    auto [exit, signal, began, ran, cpu, peak, lost, host, output, errors] = numbers;
    bytes.remove_prefix(head);
    if (host > bytes.size() || output > bytes.size() - host ||
        errors != bytes.size() - host - output)
        return fail("a command's outcome is not as long as it says");
    if (exit > 255 || signal > 255) return fail("a command's outcome has no such exit code");
    Ended ended;
    ended.exit = static_cast<std::uint32_t>(exit);
    ended.signal = static_cast<std::uint32_t>(signal);
    ended.began_us = began;
    ended.ran_us = ran;
    ended.cpu_us = cpu;
    ended.peak = peak;
    ended.lost = lost;
    ended.host = bytes.substr(0, host);
    ended.output = bytes.substr(host, output);
    ended.errors = bytes.substr(host + output);
    return ended;
}

} // namespace dtask::model
