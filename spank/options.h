// SPDX-License-Identifier: Apache-2.0
//
// Options: registers the option table with Slurm, keeps what its callbacks
// bring, and resolves all sources into what the user asked for.
//
// Slurm calls back for each value in the order of rising precedence: inherited
// from sbatch or salloc, #SBATCH line, command line; some twice. A callback
// never fails: the first error is kept and reported once, by resolve(), since
// Slurm would add lines of its own. "No value" reaches us as NULL, "" or "(null)".
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/base/env.h"
#include "lib/base/result.h"
#include "lib/model/options.h"
#include "lib/model/site.h"
#include "spank/api.h"

namespace dtask::spank {

class Given {
public:
    Given();
    /// One callback for the option of that place in the table.
    void take(std::size_t index, const char *argument);

    /// --dtask was given, and not as off.
    bool asked() const { return asked_; }
    /// --dtask=off was given last.
    bool refused() const { return refused_; }

    /// What the step is to have: nothing where dtask is not asked for.
    /// `env` gives the twins; DTASK=ENGINE asks for dtask as --dtask=ENGINE does.
    Result<std::optional<model::Options>> resolve(const model::Site &site, const Env &env) const;

    /// The first option that was given other than --dtask, as it was written.
    std::optional<std::string> first_other() const;

private:
    std::vector<std::optional<std::string>> values_; ///< by place in the table
    bool asked_ = false;
    bool refused_ = false;
};

/// Registers all options with the callback; call it from slurm_spank_init in
/// local, remote and allocator context.
void register_options(spank_t spank, spank_opt_cb_f callback);

/// Name of the variable by which sbatch and salloc hand an option to srun.
std::string inherited_variable(const model::OptionInfo &option);

} // namespace dtask::spank
