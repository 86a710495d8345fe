#include "base/ids.hpp"

#include <algorithm>
#include <cstdio>

namespace rollbackd {
namespace {

bool is_alphanumeric(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

bool is_word(std::string_view text, std::size_t length_max, std::string_view also) {
  if (text.empty() || text.size() > length_max || !is_alphanumeric(text[0])) return false;
  return std::all_of(text.begin(), text.end(), [&](char c) { return is_alphanumeric(c) || also.find(c) != also.npos; });
}

}  // namespace

std::string make_uuid_v7(Instant wall_time, const std::array<std::uint8_t, 10>& random) {
  std::array<std::uint8_t, 16> b{};
  const auto ms = static_cast<std::uint64_t>(wall_time.millis());
  for (int i = 0; i < 6; ++i) b[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(ms >> (40 - 8 * i));
  std::copy(random.begin(), random.end(), b.begin() + 6);
  b[6] = static_cast<std::uint8_t>((b[6] & 0x0f) | 0x70);
  b[8] = static_cast<std::uint8_t>((b[8] & 0x3f) | 0x80);
  std::string out;
  for (std::size_t i = 0; i < b.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    constexpr std::string_view kHex = "0123456789abcdef";
    out += kHex[b[i] >> 4];
    out += kHex[b[i] & 15];
  }
  return out;
}

bool is_release_id(std::string_view text) { return is_word(text, 128, "._+-") && text.find("..") == text.npos; }

bool is_name(std::string_view text) { return is_word(text, 64, "._-"); }

Result<> check_release_id(std::string_view text) {
  if (is_release_id(text)) return {};
  return Error(Errc::invalid_argument, "\"" + std::string(text.substr(0, 140)) + "\" is not a release id")
      .because("it must begin with a letter or digit, hold only letters, digits and . _ + -, no \"..\", and at most 128 characters");
}

}  // namespace rollbackd
