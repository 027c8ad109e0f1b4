// SPDX-License-Identifier: Apache-2.0
//
// Paged: a map from numbers that are mostly dense, as ids that count up, to
// values that stay where they are. A look-up costs a shift and, where it is not
// the last page again, a hash of the page's number; a value has no node of its
// own. A page goes with its last value, so what is left of many that have gone
// holds one page each at most.
//
// erase() and emplace() of others leave references valid. Iteration is in no
// order and must not change the map.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <unordered_map>
#include <utility>

namespace dtask {

/// Key: a std::uint64_t, or an Id.
template <class Key, class T, std::size_t page_size = 64> class Paged {
    static_assert(std::has_single_bit(page_size) && page_size <= 64);
    static constexpr unsigned shift = std::countr_zero(page_size);

    struct Page {
        std::uint64_t used = 0; ///< a bit a slot
        alignas(T) std::byte slots[page_size * sizeof(T)];

        Page() = default;
        Page(const Page &) = delete;
        Page &operator=(const Page &) = delete;
        ~Page() {
            for (; used; used &= used - 1)
                at(static_cast<std::size_t>(std::countr_zero(used)))->~T();
        }
        T *at(std::size_t n) { return std::launder(reinterpret_cast<T *>(slots + n * sizeof(T))); }
    };
    using Pages = std::unordered_map<std::uint64_t, std::unique_ptr<Page>>;

public:
    Paged() = default;
    Paged(Paged &&other) noexcept { swap(other); }
    Paged &operator=(Paged &&other) noexcept {
        Paged(std::move(other)).swap(*this);
        return *this;
    }

    bool empty() const { return size_ == 0; }
    std::size_t size() const { return size_; }

    /// Null where there is none.
    T *find(Key key) const {
        auto number = number_of(key);
        Page *page = page_of(number);
        auto slot = number % page_size;
        return page && page->used >> slot & 1 ? page->at(slot) : nullptr;
    }
    bool contains(Key key) const { return find(key) != nullptr; }
    /// There must be one.
    T &at(Key key) const { return *find(key); }

    /// The value of that number, and whether it is new: made of `arguments`.
    template <class... Arguments> std::pair<T *, bool> emplace(Key key, Arguments &&...arguments) {
        auto number = number_of(key);
        Page *page = page_of(number);
        if (!page) {
            last_number_ = number >> shift;
            auto &place = pages_[last_number_];
            place = std::make_unique<Page>();
            page = last_ = place.get();
        }
        auto slot = number % page_size;
        if (page->used >> slot & 1) return {page->at(slot), false};
        T *value = new (page->slots + slot * sizeof(T)) T{std::forward<Arguments>(arguments)...};
        page->used |= std::uint64_t{1} << slot;
        size_++;
        return {value, true};
    }

    void erase(Key key) {
        auto number = number_of(key);
        Page *page = page_of(number);
        auto slot = number % page_size;
        if (!page || !(page->used >> slot & 1)) return;
        page->at(slot)->~T();
        page->used &= ~(std::uint64_t{1} << slot);
        size_--;
        if (page->used) return;
        pages_.erase(number >> shift);
        last_ = nullptr;
        if (pages_.empty()) pages_ = Pages(); // the buckets, too
    }

    /// Calls f(key, value) for each.
    template <class F> void each(F f) const {
        for (const auto &[number, page] : pages_)
            for (auto used = page->used; used; used &= used - 1) {
                auto slot = static_cast<std::size_t>(std::countr_zero(used));
                f(Key{number << shift | slot}, *page->at(slot));
            }
    }

    void swap(Paged &other) noexcept {
        pages_.swap(other.pages_);
        std::swap(size_, other.size_);
        std::swap(last_, other.last_);
        std::swap(last_number_, other.last_number_);
    }

private:
    static std::uint64_t number_of(std::uint64_t number) { return number; }
    template <class Id> static std::uint64_t number_of(Id id) { return id.value; }
    Page *page_of(std::uint64_t number) const {
        auto wanted = number >> shift;
        if (last_ && last_number_ == wanted) return last_;
        auto found = pages_.find(wanted);
        if (found == pages_.end()) return nullptr;
        last_number_ = wanted;
        return last_ = found->second.get();
    }

    Pages pages_;
    std::size_t size_ = 0;
    mutable Page *last_ = nullptr; ///< the page of the last look-up
    mutable std::uint64_t last_number_ = 0;
};

} // namespace dtask
