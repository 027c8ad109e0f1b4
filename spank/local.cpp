// SPDX-License-Identifier: Apache-2.0
#include "spank/local.h"

#include <algorithm>
#include <cstdlib>

#include "lib/base/env.h"
#include "lib/base/fd.h"
#include "lib/base/strings.h"
#include "lib/model/slots.h"
#include "spank/handover.h"
#include "spank/nodes.h"

namespace dtask::spank {
namespace {

constexpr const char *slurm_cpus = "SLURM_CPUS_PER_TASK";
constexpr const char *srun_cpus = "SRUN_CPUS_PER_TASK";

std::vector<std::string> own_arguments() {
    std::vector<std::string> words;
    auto text = read_file("/proc/self/cmdline", 16 << 20);
    if (!text) return words;
    if (text->ends_with('\0')) text->pop_back();
    for (auto word : split(*text, '\0')) words.emplace_back(word);
    return words;
}

std::vector<std::string> command_of(spank_t spank) {
    int argc = 0;
    char **argv = nullptr;
    if (spank_get_item(spank, S_JOB_ARGV, &argc, &argv) != ESPANK_SUCCESS) return {};
    return {argv, argv + std::max(argc, 0)};
}

void unset_handover() {
    ::unsetenv(token_variable);
    ::unsetenv(options_variable);
}

std::string joined(const std::vector<std::string> &names) {
    std::string text;
    for (std::size_t i = 0; i < names.size(); i++)
        text.append(i == 0 ? "" : i + 1 == names.size() ? " or " : ", ").append(names[i]);
    return text;
}

/// Refuses interfaces that this machine, a node of the step, does not have.
Result<void> check_interfaces(const model::Options &options, const std::string &node) {
    auto known = interfaces();
    for (const auto &name : {options.scheduler_interface, options.worker_interface}) {
        if (name.empty() || std::ranges::find(known, name) != known.end()) continue;
        auto option = model::find_key("interface");
        known.insert(known.begin(), "auto");
        return fail(model::spelled(*option, model::value_of(options, *option),
                                   model::Source::command_line) +
                    ": node " + node + " has no interface " + name +
                    "; accepted: " + joined(known));
    }
    return {};
}

Result<void> refuse_container() {
    if (!std::getenv("SLURM_CONTAINER")) return {};
    return fail("--dtask: cannot be used with --container; accepted: a step without a container, "
                "or --dtask=off");
}

} // namespace

Local::Local(bool in_srun, std::span<const char *const> words, std::string_view default_launcher)
    : in_srun_(in_srun), site_(model::parse_site(words, default_launcher)) {
    if (in_srun_) copy_cpus_per_task();
}

/// From 22.05 on srun does not read the batch job's --cpus-per-task from
/// SLURM_CPUS_PER_TASK any more, so a cluster in a job script would have tasks
/// of one CPU. Runs before srun reads its environment, and its options: which
/// of the words are the command's is not known yet.
void Local::copy_cpus_per_task() {
    const auto &engine = model::option_table()[0];
    bool asked = std::getenv(inherited_variable(engine).c_str()) ||
                 model::twin(Env::current(), engine) || has_own_dtask(own_arguments(), 0);
    const char *cpus = std::getenv(slurm_cpus);
    if (!asked || !cpus || std::getenv(srun_cpus)) return;
    copied_cpus_ = ::setenv(srun_cpus, cpus, 0) == 0;
}

void Local::on_option(std::size_t index, const char *argument) { given_.take(index, argument); }

Result<void> Local::on_options_done() {
    components_++;
    if (copied_cpus_) {
        ::unsetenv(srun_cpus);
        copied_cpus_ = false;
    }
    auto env = Env::current();
    Result<std::optional<model::Options>> resolved = std::nullopt;
    if (site_) {
        resolved = given_.resolve(*site_, env);
    } else {
        // With a wrong plugstack.conf a step without dtask still must run.
        resolved = given_.resolve(model::Site{}, env);
        if (resolved && *resolved) return fail(site_.error().text());
    }
    if (!resolved) return fail_from(std::move(resolved));
    options_ = std::move(*resolved);
    if (options_)
        if (auto done = model::expand_home(*options_, env.get_or("HOME", "")); !done) return done;

    if (!options_) {
        // Whoever writes an option on srun's own command line expects a
        // cluster; in a job script the --dtask may be on the srun.
        auto other = given_.first_other();
        bool inherited = false;
        for (const auto &option : model::option_table())
            inherited = inherited || env.get(inherited_variable(option));
        if (in_srun_ && other && !given_.refused() && !inherited &&
            !model::twin(env, model::option_table()[0]))
            return fail(*other + ": has no effect without --dtask; accepted: --dtask with it");
        return {};
    }
    if (site_)
        if (auto done = model::permit(*site_, *options_); !done) return done;
    if (components_ > 1 || env.get("SLURM_HET_SIZE"))
        return fail("--dtask: cannot be used in a heterogeneous job; accepted: a job of one "
                    "component, or --dtask=off");
    if (in_srun_) {
        if (auto done = refuse_container(); !done) return done;
        // What srun sets itself is the step's; see cpus_per_task().
        if (auto cpus = env.get(slurm_cpus)) outer_cpus_ = *cpus;
        ::unsetenv(slurm_cpus);
    }
    return {};
}

/// srun has set SLURM_CPUS_PER_TASK if it knows of -c; else a task has one CPU.
std::uint32_t Local::cpus_per_task() {
    const char *text = std::getenv(slurm_cpus);
    auto cpus = text ? parse_uint(text, UINT32_MAX) : std::nullopt;
    if (!text && outer_cpus_) ::setenv(slurm_cpus, outer_cpus_->c_str(), 0);
    return static_cast<std::uint32_t>(std::max<std::uint64_t>(cpus.value_or(1), 1));
}

Result<std::string> Local::on_step_made(spank_t spank) {
    if (!options_) {
        // An srun that was started from within a step's launcher inherits nothing.
        unset_handover();
        return {};
    }
    auto command = command_of(spank), words = own_arguments();
    if (!command.empty() && has_multi_prog(words, command.size()))
        return fail("--multi-prog: cannot be used with --dtask; accepted: one command for all "
                    "tasks, or --dtask=off");
    if (is_part_of_dask(command) && !has_own_dtask(words, command.size())) {
        // A script that was written for a cluster of its own, below #SBATCH --dtask.
        unset_handover();
        return "--dtask: " + command[0] + " brings up a cluster of its own: this step runs without";
    }
    if (auto done = hand_over(spank); !done) return fail_from(std::move(done));
    return {};
}

Result<void> Local::hand_over(spank_t spank) {
    std::uint32_t ntasks = 0;
    auto cpus = cpus_per_task();
    if (spank_get_item(spank, S_JOB_TOTAL_TASK_COUNT, &ntasks) == ESPANK_SUCCESS) {
        auto plan = model::plan(options_->slots, ntasks, cpus);
        if (!plan) return fail_from(std::move(plan));
        if (auto done = model::permit(*site_, *plan); !done) return done;
    }

    Handover handover{*options_, {}};
    std::uint32_t job = 0, step = 0;
    if (spank_get_item(spank, S_JOB_ID, &job) == ESPANK_SUCCESS &&
        spank_get_item(spank, S_JOB_STEPID, &step) == ESPANK_SUCCESS) {
        if (auto node = first_node(job, step); !node.empty()) {
            auto facts = look_up_node(node);
            handover.scheduler_host = std::move(facts.host);
            if (facts.local)
                if (auto done = check_interfaces(*options_, node); !done) return done;
        }
    }

    auto token = make_token();
    if (!token) return fail_from(std::move(token), "--dtask");
    if (::setenv(token_variable, token->c_str(), 1) != 0 ||
        ::setenv(options_variable, to_text(handover).c_str(), 1) != 0)
        return fail_errno("--dtask: setenv");
    return {};
}

bool has_own_dtask(std::span<const std::string> srun_argv, std::size_t command_words) {
    if (srun_argv.size() <= command_words) return false;
    for (const auto &word : srun_argv.subspan(1, srun_argv.size() - command_words - 1))
        if (word == "--dtask" || word.starts_with("--dtask=")) return true;
    return false;
}

bool is_part_of_dask(std::span<const std::string> command) {
    if (command.empty()) return false;
    auto name = std::string_view(command[0]);
    name.remove_prefix(name.rfind('/') + 1); // npos + 1 is 0
    if (name == "dask")
        return command.size() > 1 && (command[1] == "worker" || command[1] == "scheduler");
    return name == "dask-worker" || name == "dask-scheduler" || name == "dask-mpi";
}

bool has_multi_prog(std::span<const std::string> srun_argv, std::size_t command_words) {
    if (srun_argv.size() <= command_words) return false;
    // With --multi-prog srun has put one word more into the command: look at
    // one word beyond what else would be its options. getopt takes any
    // unambiguous beginning of the name.
    constexpr std::string_view full = "--multi-prog", least = "--mu";
    auto last = std::min(srun_argv.size() - command_words, srun_argv.size() - 1);
    for (std::size_t i = 1; i <= last; i++) {
        std::string_view word = srun_argv[i];
        if (word == "--") break;
        if (word.starts_with(least) && full.starts_with(word)) return true;
    }
    return false;
}

} // namespace dtask::spank
