// SPDX-License-Identifier: Apache-2.0
//
// DTASK_LAUNCH as a launcher reads it from its environment.
#include "lib/model/launch.h"
#include "lib/model/ports.h"
#include "lib/model/slots.h"
#include "tests/fuzz/target.h"

using namespace dtask::model;

DTASK_FUZZ_TARGET(launch, bytes) {
    auto spec = launch_from_text(bytes);
    if (!spec) return;
    promise(spec->rank < spec->ntasks && is_token(spec->token));
    auto again = launch_from_text(to_text(*spec));
    promise(again && *again == *spec);
    auto ports = candidate_ports(spec->job, spec->step, spec->first_port, spec->last_port);
    promise(!ports.empty() && ports.size() <= candidate_count);
    if (auto made = plan(spec->options.slots, spec->ntasks, spec->cpus_per_task)) {
        auto role = role_of(*made, spec->rank);
        promise(role.scheduler || role.client || role.worker);
    }
}
