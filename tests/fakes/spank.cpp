// SPDX-License-Identifier: Apache-2.0
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "tests/fakes/spank.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

struct spank_handle {
    int unused;
};

namespace dtask::fake {

Slurm slurm;

namespace {

spank_handle the_handle;

} // namespace

Block &Block::operator=(Block &&other) noexcept {
    words_.swap(other.words_);
    made_.swap(other.made_);
    return *this;
}

Block::~Block() { clear(); }

void Block::clear() {
    for (char *word : words_)
        if (std::ranges::find(made_, word) == made_.end()) std::free(word);
    for (char *word : made_) std::free(word);
}

void Block::fill(const std::vector<std::string> &words) {
    clear();
    words_.clear();
    for (const auto &word : words) words_.push_back(::strdup(word.c_str()));
    words_.push_back(nullptr);
    made_ = words_;
}

std::vector<std::string> Block::words() const {
    std::vector<std::string> all;
    for (char *word : words_)
        if (word) all.emplace_back(word);
    return all;
}

spank_t Slurm::handle() {
    argv_block.fill(argv);
    return &the_handle;
}

} // namespace dtask::fake

using dtask::fake::slurm;

namespace {
// A macro for 0 in older releases.
constexpr auto success = static_cast<spank_err_t>(ESPANK_SUCCESS);
} // namespace

extern "C" {

spank_context_t spank_context(void) { return slurm.context; }

spank_err_t spank_get_item(spank_t, spank_item_t item, ...) {
    va_list arguments;
// An enumeration may be promoted, which clang warns of; spank.h's signature leaves no choice.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wvarargs"
    va_start(arguments, item);
#pragma GCC diagnostic pop
    auto rc = success;
    auto number = [&](std::uint32_t value) { *va_arg(arguments, std::uint32_t *) = value; };
    bool of_task = item == S_TASK_ID || item == S_TASK_GLOBAL_ID || item == S_TASK_PID;
    if (of_task && !slurm.has_task) {
        va_end(arguments);
        return ESPANK_NOT_TASK;
    }
    switch (item) {
    case S_JOB_UID: *va_arg(arguments, uid_t *) = slurm.uid; break;
    case S_JOB_ID: number(slurm.job); break;
    case S_JOB_STEPID: number(slurm.step); break;
    case S_JOB_TOTAL_TASK_COUNT: number(slurm.ntasks); break;
    case S_JOB_LOCAL_TASK_COUNT: number(slurm.local_tasks); break;
    case S_STEP_CPUS_PER_TASK: number(slurm.cpus_per_task); break;
    case S_TASK_GLOBAL_ID: number(slurm.rank); break;
    case S_TASK_ID: *va_arg(arguments, int *) = slurm.local_rank; break;
    case S_TASK_PID: *va_arg(arguments, pid_t *) = slurm.task_pid; break;
    case S_STEP_ALLOC_MEM: *va_arg(arguments, std::uint64_t *) = slurm.step_mb; break;
    case S_JOB_ENV: {
        std::vector<std::string> words;
        for (const auto &[name, value] : slurm.env) words.push_back(name + '=' + value);
        slurm.env_block.fill(words);
        *va_arg(arguments, char ***) = slurm.env_block.data();
        break;
    }
    case S_JOB_ARGV:
        *va_arg(arguments, int *) = static_cast<int>(slurm.argv.size());
        *va_arg(arguments, char ***) = slurm.argv_block.data();
        break;
    default: rc = ESPANK_BAD_ARG;
    }
    va_end(arguments);
    return rc;
}

spank_err_t spank_setenv(spank_t, const char *name, const char *value, int overwrite) {
    if (!overwrite && slurm.env.contains(name)) return ESPANK_ENV_EXISTS;
    slurm.env[name] = value;
    return success;
}

spank_err_t spank_unsetenv(spank_t, const char *name) {
    slurm.env.erase(name);
    return success;
}

spank_err_t spank_option_register(spank_t, struct spank_option *option) {
    slurm.registered.push_back(option->name);
    slurm.options.push_back(*option);
    return success;
}

const char *spank_strerror(spank_err_t) { return "an error"; }

#ifdef HAVE_SPANK_PREPEND_TASK_ARGV
spank_err_t spank_prepend_task_argv(spank_t, int argc, const char *argv[]) {
    std::vector<std::string> words(argv, argv + argc);
    words.insert(words.end(), slurm.argv.begin(), slurm.argv.end());
    slurm.argv = words;
    slurm.argv_block.fill(words);
    return success;
}
#endif

void slurm_error(const char *format, ...) {
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    slurm.errors.emplace_back(text);
}

void slurm_info(const char *, ...) {}

slurm_step_layout_t *slurm_job_step_layout_get(slurm_step_id_t *) {
    if (slurm.step_nodes.empty()) return nullptr;
    auto layout = static_cast<slurm_step_layout_t *>(std::calloc(1, sizeof(slurm_step_layout_t)));
    layout->node_list = slurm.step_nodes.data();
    return layout;
}

void slurm_job_step_layout_free(slurm_step_layout_t *layout) { std::free(layout); }

int slurm_load_node_single(node_info_msg_t **message, char *, uint16_t) {
    if (slurm.node_address.empty()) return SLURM_ERROR;
    *message = static_cast<node_info_msg_t *>(std::calloc(1, sizeof(node_info_msg_t)));
    (*message)->record_count = 1;
    (*message)->node_array = static_cast<node_info_t *>(std::calloc(1, sizeof(node_info_t)));
    (*message)->node_array[0].node_addr = slurm.node_address.data();
    return SLURM_SUCCESS;
}

void slurm_free_node_info_msg(node_info_msg_t *message) {
    std::free(message->node_array);
    std::free(message);
}

} // extern "C"
