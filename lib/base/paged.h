// SPDX-License-Identifier: Apache-2.0
//
// Paged: a map from numbers that are mostly dense, as ids that count up, to
// values that stay where they are. A look-up costs some shifts and, where it is not
// in the last leaf again, a hash of the leaf's number; a value has no node of its own.
//
//   leaves, by number ──▶ leaf: 64 places for pages ──▶ page: page_size slots for values
//
// A page goes with its last value and a leaf with its last page, so what is left of
// many that have gone holds one of both each at most.
//
// erase() and emplace() of others leave references valid. Iteration is in no
// order and must not change the map.
#pragma once

#include <array>
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
    static constexpr std::size_t leaf_size = 64;
    static constexpr unsigned leaf_shift = std::countr_zero(leaf_size);

    struct Leaf {
        std::size_t used = 0; ///< pages
        std::array<std::unique_ptr<Page>, leaf_size> pages;
    };
    using Leaves = std::unordered_map<std::uint64_t, Leaf>;

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
        auto wanted = number >> shift;
        Leaf *leaf = leaf_of(wanted >> leaf_shift);
        if (!leaf) {
            last_number_ = wanted >> leaf_shift;
            leaf = last_ = &leaves_[last_number_];
        }
        auto &page = leaf->pages[wanted % leaf_size];
        if (!page) {
            page = std::make_unique<Page>();
            leaf->used++;
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
        // The look-up has left its leaf in last_.
        last_->pages[(number >> shift) % leaf_size].reset();
        if (--last_->used > 0) return;
        leaves_.erase(last_number_);
        last_ = nullptr;
        if (leaves_.empty()) leaves_ = Leaves(); // the buckets, too
    }

    /// Calls f(key, value) for each.
    template <class F> void each(F f) const {
        for (const auto &[leaf_number, leaf] : leaves_)
            for (std::size_t n = 0; n < leaf_size; n++) {
                if (!leaf.pages[n]) continue;
                auto first = (leaf_number << leaf_shift | n) << shift;
                for (auto used = leaf.pages[n]->used; used; used &= used - 1) {
                    auto slot = static_cast<std::size_t>(std::countr_zero(used));
                    f(Key{first | slot}, *leaf.pages[n]->at(slot));
                }
            }
    }

    void swap(Paged &other) noexcept {
        leaves_.swap(other.leaves_);
        std::swap(size_, other.size_);
        std::swap(last_, other.last_);
        std::swap(last_number_, other.last_number_);
    }

private:
    static std::uint64_t number_of(std::uint64_t number) { return number; }
    template <class Id> static std::uint64_t number_of(Id id) { return id.value; }
    Leaf *leaf_of(std::uint64_t wanted) const {
        if (last_ && last_number_ == wanted) return last_;
        auto found = leaves_.find(wanted);
        if (found == leaves_.end()) return nullptr;
        last_number_ = wanted;
        return last_ = const_cast<Leaf *>(&found->second);
    }
    Page *page_of(std::uint64_t number) const {
        auto wanted = number >> shift;
        Leaf *leaf = leaf_of(wanted >> leaf_shift);
        return leaf ? leaf->pages[wanted % leaf_size].get() : nullptr;
    }

    Leaves leaves_;
    std::size_t size_ = 0;
    mutable Leaf *last_ = nullptr; ///< the leaf of the last look-up
    mutable std::uint64_t last_number_ = 0;
};

} // namespace dtask
