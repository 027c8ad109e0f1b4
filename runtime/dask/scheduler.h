// SPDX-License-Identifier: Apache-2.0
//
// Scheduler of the `dask` engine: runs the user's Dask scheduler beside our
// own, which brings the step up and down. Peers are greeted with the address
// of Dask's, so workers and client wait until it serves; if it dies, the step
// ends. A Dask scheduler that ends with code 0 was asked to by its client
// (`Client.shutdown`): the client goes on, its workers have nothing to do.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/base/env.h"
#include "lib/ev/loop.h"
#include "lib/model/launch.h"
#include "lib/proto/message.h"
#include "runtime/dask/process.h"

namespace dtask::dask {

class Scheduler {
public:
    struct Callbacks {
        std::function<void(const Serving &)> on_serving;
        std::function<void(const std::string &why)> on_lost;
        std::function<void(const std::string &why)> on_unfit; ///< it cannot even begin
        std::function<void()> on_shutdown;                    ///< its client asked it to end
    };

    /// `host`: numeric address to serve at where no interface was chosen.
    static Result<std::unique_ptr<Scheduler>> start(ev::Loop &loop, const model::LaunchSpec &spec,
                                                    const std::string &host, const Env &env,
                                                    Callbacks callbacks);
    /// Tells it how a worker ended, so that Dask can say so.
    void died(const proto::Died &died);
    /// The end has come: what breaks now is of no interest.
    void quiet();

private:
    Scheduler(ev::Loop &loop, Callbacks callbacks);

    void on_exit(int status);

    Callbacks callbacks_;
    bool ending_ = false;
    ev::Signal child_;
    std::unique_ptr<Process> process_;
};

} // namespace dtask::dask
