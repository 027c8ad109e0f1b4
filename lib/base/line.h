// SPDX-License-Identifier: Apache-2.0
//
// Line: values in a row, most of which leave at the front. A short one takes one
// small piece of memory, where a std::deque takes two large ones.
#pragma once

#include <cstddef>
#include <iterator>
#include <type_traits>
#include <utility>
#include <vector>

namespace dtask {

template <class T> class Line {
    static_assert(
        std::is_trivially_copyable_v<T>); // those that have left are not destroyed at once

public:
    Line() = default;
    Line(Line &&other) noexcept
        : values_(std::move(other.values_)), gone_(std::exchange(other.gone_, 0)) {}
    Line &operator=(Line &&other) noexcept {
        values_ = std::move(other.values_);
        gone_ = std::exchange(other.gone_, 0);
        return *this;
    }

    bool empty() const { return begin() == end(); }
    std::size_t size() const { return values_.size() - gone_; }
    T *begin() { return values_.data() + gone_; }
    T *end() { return values_.data() + values_.size(); }
    const T *begin() const { return values_.data() + gone_; }
    const T *end() const { return values_.data() + values_.size(); }
    auto rbegin() const { return std::make_reverse_iterator(end()); }
    auto rend() const { return std::make_reverse_iterator(begin()); }
    const T &operator[](std::size_t n) const { return begin()[n]; }

    void push_back(T value) {
        // What has left makes room before more is taken.
        if (values_.size() == values_.capacity() && 2 * gone_ >= values_.size()) drop_gone();
        values_.push_back(std::move(value));
    }
    void erase(T *place) {
        if (place == begin())
            gone_++;
        else
            values_.erase(values_.begin() + (place - values_.data()));
        if (empty()) drop_gone();
    }

private:
    void drop_gone() {
        values_.erase(values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(gone_));
        gone_ = 0;
    }

    std::vector<T> values_;
    std::size_t gone_ = 0; ///< at the front
};

} // namespace dtask
