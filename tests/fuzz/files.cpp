// SPDX-License-Identifier: Apache-2.0
//
// Files that a user may write: the connection file, which is also Dask's
// scheduler file, and the first line of a script. Resources come with them.
#include <string>

#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/fd.h"
#include "lib/json/json.h"
#include "lib/model/resources.h"
#include "runtime/client/connection_file.h"
#include "runtime/launch/interpreter.h"
#include "tests/fuzz/target.h"

using namespace dtask;

namespace {

/// A file in memory that says the bytes.
class File {
public:
    File() : fd_(::memfd_create("fuzz", MFD_CLOEXEC)) { promise(fd_); }
    const std::string &say(std::string_view bytes) {
        promise(::ftruncate(fd_.get(), 0) == 0);
        promise(::pwrite(fd_.get(), bytes.data(), bytes.size(), 0) ==
                static_cast<ssize_t>(bytes.size()));
        return path_;
    }

private:
    Fd fd_;
    std::string path_ = "/proc/self/fd/" + std::to_string(fd_.get());
};

} // namespace

DTASK_FUZZ_TARGET(files, bytes) {
    static File file;
    const auto &path = file.say(bytes);
    if (auto connection = client::read_connection_file(path))
        promise(connection->token.hex().size() == 64);
    if (auto json = Json::parse(bytes)) {
        auto again = Json::parse(json->compact());
        promise(again && again->compact() == json->compact());
    }
    promise(!launch::executor_python({}, path, {"-c", "x"}).empty());
    (void)launch::script_directory({}, path, {std::string(bytes.substr(0, 64))});
    if (auto resources = model::parse_resources(bytes))
        for (const auto &[name, amount] : *resources)
            promise(!name.empty() && name != "cpus" && name != "memory");
}
