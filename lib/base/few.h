// SPDX-License-Identifier: Apache-2.0
//
// Few: a vector of small values, of which there is mostly none or one: so many
// (`within`) need no memory of their own.
//
// Bytes: a string that is never changed, as long as most pickled arguments
// without memory of its own. Both take a fraction of what std's do when there
// are millions of them.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

namespace dtask {

template <class T, std::uint32_t within = 1> class Few {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) == sizeof(void *));

public:
    Few() = default;
    Few(const Few &) = delete;
    Few &operator=(const Few &) = delete;
    Few(Few &&other) noexcept { swap(other); }
    Few &operator=(Few &&other) noexcept {
        Few(std::move(other)).swap(*this);
        return *this;
    }
    ~Few() {
        if (capacity_ > within) delete[] many_;
    }

    bool empty() const { return size_ == 0; }
    std::size_t size() const { return size_; }
    T *begin() { return capacity_ > within ? many_ : here_; }
    T *end() { return begin() + size_; }
    const T *begin() const { return capacity_ > within ? many_ : here_; }
    const T *end() const { return begin() + size_; }
    const T &back() const { return end()[-1]; }

    void push_back(T value) {
        if (size_ == capacity_) grow();
        begin()[size_++] = value;
    }
    void pop_back() { size_--; }
    void clear() { *this = Few(); }

    void swap(Few &other) noexcept {
        std::swap(size_, other.size_);
        std::swap(capacity_, other.capacity_);
        char mine[sizeof here_];
        std::memcpy(mine, &here_, sizeof here_);
        std::memcpy(static_cast<void *>(&here_), static_cast<void *>(&other.here_), sizeof here_);
        std::memcpy(static_cast<void *>(&other.here_), mine, sizeof here_);
    }

private:
    void grow() {
        std::uint32_t larger = 2 * capacity_ + 1;
        T *values = new T[larger];
        std::memcpy(static_cast<void *>(values), begin(), size_ * sizeof(T));
        if (capacity_ > within) delete[] many_;
        many_ = values;
        capacity_ = larger;
    }

    std::uint32_t size_ = 0, capacity_ = within;
    union {
        T here_[within]{};
        T *many_;
    };
};

class Bytes {
public:
    static constexpr std::size_t within = 36; ///< bytes that need no memory of their own

    Bytes() = default;
    explicit Bytes(std::string_view text) : size_(static_cast<std::uint32_t>(text.size())) {
        char *to = here_;
        if (size_ > within) {
            to = new char[size_];
            std::memcpy(here_, &to, sizeof to);
        }
        if (size_ > 0) std::memcpy(to, text.data(), size_);
        // cppcheck-suppress memleak ; here_ holds the pointer
    }
    Bytes(const Bytes &) = delete;
    Bytes &operator=(const Bytes &) = delete;
    Bytes(Bytes &&other) noexcept { swap(other); }
    Bytes &operator=(Bytes &&other) noexcept {
        Bytes(std::move(other)).swap(*this);
        return *this;
    }
    ~Bytes() {
        if (size_ > within) delete[] far();
    }

    std::string_view view() const { return {size_ > within ? far() : here_, size_}; }
    bool empty() const { return size_ == 0; }
    void clear() { *this = Bytes(); }
    void swap(Bytes &other) noexcept {
        std::swap(size_, other.size_);
        std::swap(here_, other.here_);
    }

private:
    char *far() const {
        char *bytes;
        std::memcpy(&bytes, here_, sizeof bytes);
        return bytes;
    }

    std::uint32_t size_ = 0;
    char here_[within]{}; ///< the bytes, or where they are
};

} // namespace dtask
