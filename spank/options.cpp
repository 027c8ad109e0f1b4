// SPDX-License-Identifier: Apache-2.0
#include "spank/options.h"

#include <string_view>

namespace dtask::spank {
namespace {

/// The option's C strings must outlive the plugin's stack frame.
struct Registration {
    std::string name, arginfo, usage;
    spank_option option;
};

std::vector<Registration> &registrations() {
    static auto all = new std::vector<Registration>(model::option_table().size());
    return *all;
}

bool is_none(const char *argument) {
    if (!argument) return true;
    std::string_view text = argument;
    return text.empty() || text == "(null)";
}

} // namespace

Given::Given() : values_(model::option_table().size()) {}

void Given::take(std::size_t index, const char *argument) {
    if (index >= values_.size()) return;
    auto &value = values_[index];
    if (index > 0) {
        // Only switches may stand alone, and then mean "on".
        bool alone = model::option_table()[index].argument_optional && is_none(argument);
        value = alone ? "on" : argument ? argument : "";
        return;
    }
    if (is_none(argument)) {
        if (value == "off") value.reset();
    } else {
        value = argument;
    }
    refused_ = value == "off";
    asked_ = !refused_;
}

std::optional<std::string> Given::first_other() const {
    auto table = model::option_table();
    for (std::size_t i = 1; i < table.size(); i++)
        if (values_[i]) return model::spelled(table[i], *values_[i], model::Source::command_line);
    return {};
}

Result<std::optional<model::Options>> Given::resolve(const model::Site &site,
                                                     const Env &env) const {
    using model::Source;
    auto table = model::option_table();

    // What was given is checked even where it has no effect: a typing error
    // in a job script should not wait for the day that --dtask is added.
    auto options = site.options;
    for (std::size_t i = 0; i < table.size(); i++)
        if (values_[i])
            if (auto done = model::parse(options, table[i], *values_[i]); !done)
                return fail_from(std::move(done));
    if (refused_) return std::nullopt;

    auto engine = values_[0] ? std::nullopt : model::twin(env, table[0]);
    if (!asked_ && !engine) return std::nullopt;
    if (engine) {
        auto twin = options;
        if (auto done = model::parse(twin, table[0], *engine, Source::environment); !done)
            return fail_from(std::move(done));
        // A bare --dtask outranks DTASK=off, and takes the engine from elsewhere.
        if (twin.engine != model::Engine::off)
            options.engine = twin.engine;
        else if (!asked_)
            return std::nullopt;
    }
    for (std::size_t i = 1; i < table.size(); i++) {
        auto value = values_[i] ? std::nullopt : model::twin(env, table[i]);
        if (!value) continue;
        if (auto done = model::parse(options, table[i], *value, Source::environment); !done)
            return fail_from(std::move(done));
    }
    return options;
}

void register_options(spank_t spank, spank_opt_cb_f callback) {
    auto table = model::option_table();
    auto &all = registrations();
    for (std::size_t i = 0; i < table.size(); i++) {
        auto &entry = all[i];
        entry.name = table[i].name;
        entry.arginfo = table[i].arginfo;
        // Both forms must be told apart in help: --dtask=[ENGINE].
        if (table[i].argument_optional) entry.arginfo = '[' + entry.arginfo + ']';
        entry.usage = table[i].help;
        // 1: needs an argument; 2: takes one only in the form --name=value
        entry.option = {entry.name.data(),   entry.arginfo.data(),
                        entry.usage.data(),  table[i].argument_optional ? 2 : 1,
                        static_cast<int>(i), callback};
        spank_option_register(spank, &entry.option);
    }
}

std::string inherited_variable(const model::OptionInfo &option) {
    std::string name = "SLURM_SPANK__SLURM_SPANK_OPTION_dtask_";
    for (char c : option.name) name += c == '-' ? '_' : c;
    return name;
}

} // namespace dtask::spank
