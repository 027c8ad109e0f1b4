// SPDX-License-Identifier: Apache-2.0
//
// The only include of Slurm's headers. spank.h declares the hooks outside of
// its own extern "C", so the wrap is ours.
#pragma once

extern "C" {
#include <slurm/slurm.h>
#include <slurm/spank.h>
}
