// SPDX-License-Identifier: Apache-2.0
//
// Handover: what srun's side of the plugin tells the side on the nodes, in
// two variables of the step's environment. Their names begin with SLURM_
// because only such pass --export=NONE. The remote side takes both away
// before the task starts.
//
//   SLURM_DTASK_TOKEN     the step's secret, 64 hexadecimal digits
//   SLURM_DTASK_OPTIONS   the text form of this struct
//
// The user can write both: the remote side reads them strictly, and trusts
// only what it can check against the step's credential.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.h"
#include "lib/model/options.h"

namespace dtask::spank {

constexpr const char *token_variable = "SLURM_DTASK_TOKEN";
constexpr const char *options_variable = "SLURM_DTASK_OPTIONS";

struct Handover {
    model::Options options;
    std::string scheduler_host; ///< address of the step's first node; empty: not known
};

std::string to_text(const Handover &handover);
Result<Handover> handover_from_text(std::string_view text);

/// A fresh token from the kernel's random source.
Result<std::string> make_token();

} // namespace dtask::spank
