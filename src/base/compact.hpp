// Containers for what a daemon holds thousands of, where an empty std::vector's 24 bytes are most of the cost.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace rollbackd {

/// A part that few have: one pointer where it is absent, and then it reads as a T made without arguments.
template <class T>
class Rare {
 public:
  Rare() = default;
  Rare(const Rare& other) : held_(other.held_ ? std::make_unique<T>(*other.held_) : nullptr) {}
  Rare(Rare&&) noexcept = default;
  Rare& operator=(Rare other) noexcept {
    held_ = std::move(other.held_);
    return *this;
  }
  ~Rare() = default;

  const T& operator*() const { return held_ ? *held_ : nothing(); }
  const T* operator->() const { return &**this; }
  explicit operator bool() const { return held_ != nullptr; }
  /// Makes it, unless it is there.
  T& edit() {
    if (!held_) held_ = std::make_unique<T>();
    return *held_;
  }
  /// To change what is there; nullptr where it is not.
  T* get() { return held_.get(); }
  void reset() { held_.reset(); }

 private:
  static const T& nothing() {
    static const T none{};
    return none;
  }
  std::unique_ptr<T> held_;
};

/// A vector in one pointer: its size stands before its elements. Grows twofold from one, as most hold one or two.
template <class T>
class Packed {
  static_assert(alignof(T) <= 8 && std::is_nothrow_move_constructible_v<T>);

 public:
  using value_type = T;
  using iterator = T*;
  using const_iterator = const T*;
  Packed() = default;
  Packed(std::initializer_list<T> items) {
    reserve(items.size());
    for (const T& item : items) push_back(item);
  }
  Packed(const Packed& other) {
    reserve(other.size());
    for (const T& item : other) push_back(item);
  }
  Packed(Packed&& other) noexcept : head_(std::exchange(other.head_, nullptr)) {}
  Packed& operator=(Packed other) noexcept {
    std::swap(head_, other.head_);
    return *this;
  }
  ~Packed() {
    std::destroy(begin(), end());
    ::operator delete(head_);
  }

  std::size_t size() const { return head_ == nullptr ? 0 : head_->size; }
  bool empty() const { return size() == 0; }
  T* data() { return head_ == nullptr ? nullptr : reinterpret_cast<T*>(head_ + 1); }
  const T* data() const { return head_ == nullptr ? nullptr : reinterpret_cast<const T*>(head_ + 1); }
  T* begin() { return data(); }
  T* end() { return data() + size(); }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size(); }
  T& operator[](std::size_t n) { return data()[n]; }
  const T& operator[](std::size_t n) const { return data()[n]; }
  const T& front() const { return data()[0]; }
  const T& back() const { return data()[size() - 1]; }

  void push_back(T item) {
    if (head_ == nullptr || head_->size == head_->room) reserve(size() == 0 ? 1 : size() * 2);
    ::new (static_cast<void*>(end())) T(std::move(item));
    ++head_->size;
  }
  /// Before all others, which are moved.
  void push_front(T item) {
    Packed out;
    out.reserve(size() + 1);
    out.push_back(std::move(item));
    for (T& old : *this) out.push_back(std::move(old));
    *this = std::move(out);
  }
  /// Takes `at` out; the order of the others stays.
  void erase(T* at) {
    for (T* next = at + 1; next != end(); ++at, ++next) *at = std::move(*next);
    std::destroy_at(end() - 1);
    --head_->size;
  }
  void shrink_to_fit() {
    if (head_ != nullptr && head_->size != head_->room) move_to(head_->size);
  }
  void reserve(std::size_t room) {
    if (room > (head_ == nullptr ? 0 : head_->room)) move_to(room);
  }

 private:
  struct alignas(8) Head {
    std::uint32_t size = 0, room = 0;
  };
  void move_to(std::size_t room) {
    auto* made = ::new (::operator new(sizeof(Head) + room * sizeof(T))) Head{0, static_cast<std::uint32_t>(room)};
    std::uninitialized_move(begin(), end(), reinterpret_cast<T*>(made + 1));
    made->size = static_cast<std::uint32_t>(size());
    std::destroy(begin(), end());
    ::operator delete(std::exchange(head_, made));
  }
  Head* head_ = nullptr;
};

}  // namespace rollbackd
