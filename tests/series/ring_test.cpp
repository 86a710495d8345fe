#include "series/ring.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>

namespace rollbackd::series {
namespace {

const Instant t0 = Instant::from_seconds(1'700'000'000);

bool same(const Point& a, const Point& b) {
  return a.at == b.at && std::bit_cast<std::uint64_t>(a.value) == std::bit_cast<std::uint64_t>(b.value);
}

/// A ring beside a plain vector to which the same is done.
class RingBesideVector {
 public:
  RingBesideVector(std::uint32_t seed, int new_value_of) : random_(seed), new_value_of_(new_value_of) {}

  void step() {
    const Instant somewhere = t0 + std::chrono::milliseconds(random_() % (milliseconds_ + 3'000));
    switch (random_() % 100) {
      case 0: return put(somewhere);
      case 1: return insert(somewhere);
      case 2: return raise(random_() % 2 == 0 ? somewhere : now() - 20s);
      case 3: return drop(random_() % 20 == 0 ? now() + 1ms : t0 + (somewhere - t0) / 2);
      case 4: return drop(now() - 100s);
      default: return push();
    }
  }

  void compare(const std::string& where) {
    SCOPED_TRACE(where);
    ASSERT_EQ(ring_.size(), plain_.size());
    ASSERT_EQ(ring_.empty(), plain_.empty());
    ASSERT_EQ(ring_.first_number(), dropped_);
    ASSERT_EQ(ring_.end_number(), dropped_ + plain_.size());
    std::vector<Point> all(plain_.size());
    ring_.copy(dropped_, all.size(), all.data());
    for (std::size_t n = 0; n < plain_.size(); ++n) {
      ASSERT_TRUE(same(all[n], plain_[n])) << n;
      ASSERT_TRUE(same(ring_.numbered(dropped_ + n), plain_[n])) << n;
    }
    if (!plain_.empty()) {
      ASSERT_TRUE(same(ring_.front(), plain_.front()));
      ASSERT_TRUE(same(ring_.back(), plain_.back()));
    }
    const Instant a = t0 + std::chrono::milliseconds(random_() % (milliseconds_ + 3'000)), b = a + 7s;
    const auto [first, count] = ring_.within(a, b);
    const auto from = std::find_if(plain_.begin(), plain_.end(), [a](const Point& p) { return p.at >= a; });
    const auto to = std::find_if(from, plain_.end(), [b](const Point& p) { return p.at > b; });
    ASSERT_EQ(count, static_cast<std::size_t>(to - from));
    ASSERT_TRUE(count == 0 || first - dropped_ == static_cast<std::size_t>(from - plain_.begin()));
    std::vector<Point> part(count);
    ring_.copy(first, count, part.data());
    for (std::size_t n = 0; n < count; ++n) ASSERT_TRUE(same(part[n], *(from + static_cast<std::ptrdiff_t>(n))));
    const auto before = ring_.last_before(a);
    ASSERT_EQ(before.has_value(), from != plain_.begin());
    ASSERT_TRUE(!before || same(*before, *(from - 1)));
  }
  std::size_t size() const { return plain_.size(); }

 private:
  Instant now() const { return t0 + std::chrono::milliseconds(milliseconds_); }
  double value() {
    if (random_() % static_cast<std::uint32_t>(new_value_of_) != 0) return value_;
    const double odd[] = {stale_nan(), std::numeric_limits<double>::quiet_NaN(), 0.0, -0.0, std::numeric_limits<double>::infinity(), 1};
    return value_ = random_() % 2 == 0 ? odd[random_() % 6] : static_cast<double>(random_() % 1000);
  }
  std::vector<Point>::iterator since(Instant t) {
    return std::find_if(plain_.begin(), plain_.end(), [t](const Point& p) { return p.at >= t; });
  }

  void push() {
    milliseconds_ += 1 + random_() % 2'000;
    const Point point{now(), value()};
    plain_.push_back(point);
    ring_.push(point);
  }
  void put(Instant t) {
    const Point point{t, value()};
    const auto at = since(t);
    if (at != plain_.end() && at->at == t) {
      *at = point;
    } else {
      plain_.insert(at, point);
    }
    ring_.put(point);
    milliseconds_ = std::max<std::int64_t>(milliseconds_, (t - t0) / 1ms);
  }
  void insert(Instant t) {
    const Point point{t, value()};
    const auto at = since(t);
    const auto revision = ring_.revision();
    const bool changes = at != plain_.end() && at->at != t;
    if (at == plain_.end() || changes) plain_.insert(at, point);
    ring_.insert(point);
    EXPECT_EQ(ring_.revision() != revision, changes);
    milliseconds_ = std::max<std::int64_t>(milliseconds_, (t - t0) / 1ms);
  }
  void raise(Instant t) {
    for (auto at = since(t); at != plain_.end(); ++at) at->value += 3;
    ring_.raise_since(t, 3);
  }
  void drop(Instant t) {
    const auto to = since(t);
    dropped_ += static_cast<std::uint64_t>(to - plain_.begin());
    plain_.erase(plain_.begin(), to);
    ring_.drop_before(t);
  }

  Ring ring_;
  std::vector<Point> plain_;
  std::uint64_t dropped_ = 0;
  std::int64_t milliseconds_ = 0;
  double value_ = 1;
  std::mt19937 random_;
  int new_value_of_;
};

TEST(Ring, IsWhatAPlainVectorWouldBe) {
  std::size_t largest = 0;
  for (std::uint32_t seed = 1; seed <= 30; ++seed) {
    const int often[] = {1, 3, 50, 1'000};
    RingBesideVector both(seed, often[seed % 4]);
    for (int step = 0; step < 2'500; ++step) {
      both.step();
      largest = std::max(largest, both.size());
      if (step % 7 == 0) both.compare("seed " + std::to_string(seed) + ", step " + std::to_string(step));
      if (::testing::Test::HasFailure()) return;
    }
  }
  EXPECT_GT(largest, 200U) << "the test must have had several words of 64 points";
}

TEST(Ring, KeepsAConstantOnceAndAnyOtherValueInEightBytes) {
  Ring constant, other;
  for (int i = 0; i < 20'000; ++i) {
    if (i >= 3'600) constant.pop_front(), other.pop_front();
    constant.push({t0 + i * 1s, 1});
    other.push({t0 + i * 1s, static_cast<double>(i)});
  }
  const auto each = [](const Ring& ring) { return static_cast<double>(ring.bytes()) / static_cast<double>(ring.size()); };
  EXPECT_LT(each(constant), 8.25 * 1.25) << "with the room to grow";
  EXPECT_LT(each(other), 16.25 * 1.25);
  RecordProperty("constant", std::to_string(each(constant)));
  RecordProperty("other", std::to_string(each(other)));
}

TEST(Ring, KnowsValuesByTheirBits) {
  Ring ring;
  const double values[] = {0.0, -0.0, stale_nan(), std::numeric_limits<double>::quiet_NaN(), stale_nan()};
  for (int i = 0; i < 5; ++i) ring.push({t0 + i * 1s, values[i]});
  for (std::uint64_t i = 0; i < 5; ++i) EXPECT_TRUE(same(ring.numbered(i), {t0 + static_cast<int>(i) * 1s, values[i]})) << i;
}

}  // namespace
}  // namespace rollbackd::series
