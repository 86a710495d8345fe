// Small text helpers that every room needs.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rollbackd {

/// Splits at each `separator`; an empty text gives one empty piece.
std::vector<std::string> split(std::string_view text, char separator);
std::string join(std::span<const std::string> pieces, std::string_view separator);
std::string_view trim(std::string_view text);

/// `text` cut to `bytes_max` bytes, at a UTF-8 boundary, with "…" appended where something was cut off.
std::string cut(std::string_view text, std::size_t bytes_max);

/// `text` with control characters and invalid UTF-8 shown as \xNN: safe to log and to print on a terminal.
std::string printable(std::string_view text);

/// The candidate with the smallest edit distance to `word` if that is at most a third of its length (at least 1); else empty.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

}  // namespace rollbackd
