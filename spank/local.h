// SPDX-License-Identifier: Apache-2.0
//
// Local: the plugin in srun, sbatch and salloc. It resolves and checks what
// was asked for and, in srun, hands it to the nodes. Where dtask is not asked
// for it changes nothing.
//
// A failed Result is for the user, one line, and means that nothing may be
// queued or launched.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "lib/base/result.h"
#include "lib/model/site.h"
#include "spank/options.h"

namespace dtask::spank {

class Local {
public:
    /// `in_srun`: false in sbatch and salloc.
    Local(bool in_srun, std::span<const char *const> words, std::string_view default_launcher);

    void on_option(std::size_t index, const char *argument);
    /// All options are known. In srun this runs once for each component of a heterogeneous job.
    Result<void> on_options_done();
    /// srun only: the step exists, nothing has been launched. Returns one line
    /// that the user should know, or an empty string.
    Result<std::string> on_step_made(spank_t spank);

private:
    Result<void> hand_over(spank_t spank);
    void copy_cpus_per_task();
    std::uint32_t cpus_per_task();

    bool in_srun_;
    Result<model::Site> site_;
    Given given_;
    std::optional<model::Options> options_; ///< set where dtask is asked for
    int components_ = 0;
    bool copied_cpus_ = false;
    std::optional<std::string> outer_cpus_; ///< SLURM_CPUS_PER_TASK of the job around srun
};

/// Whether srun was called with --multi-prog, from its argument vector and
/// the number of words that belong to the user's command.
bool has_multi_prog(std::span<const std::string> srun_argv, std::size_t command_words);

/// Whether --dtask stands among srun's own options, so that nothing is inherited.
bool has_own_dtask(std::span<const std::string> srun_argv, std::size_t command_words);

/// Whether `command` is part of a Dask cluster that the user's script brings
/// up by itself: dask-worker, dask-scheduler, dask-mpi, `dask worker` or
/// `dask scheduler`, by any path.
bool is_part_of_dask(std::span<const std::string> command);

} // namespace dtask::spank
