// SPDX-License-Identifier: Apache-2.0
//
// Closing: the report at the end of a step, told on standard error and written to a file
// as --dtask-report says. By default it is told where a step ran tasks for a minute or more: of
// a shorter one its user knows how it went. Once the end begins how things stand is kept;
// what workers have used they tell as they leave.
#pragma once

#include <functional>
#include <string>

#include "lib/model/launch.h"
#include "runtime/scheduler/report.h"
#include "runtime/scheduler/server.h"

namespace dtask::scheduler {

class Closing {
public:
    /// `timeline` as of Timeline::json; empty where there is none. Fails where the report
    /// could not be written in the end, for want of its directory.
    static Result<Closing> make(const model::LaunchSpec &spec, const Server &server,
                                std::function<std::string()> timeline);

    void on_ending();
    void tell();

private:
    Closing(const model::LaunchSpec &spec, const Server &server,
            std::function<std::string()> timeline);

    const model::LaunchSpec &spec_;
    const Server &server_;
    std::function<std::string()> timeline_;
    std::string path_; ///< empty: no file
    Facts facts_;
    std::string last_timeline_;
};

} // namespace dtask::scheduler
