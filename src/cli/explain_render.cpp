// Chapters for a terminal and as Markdown. Pure.
#include "base/text.hpp"
#include "cli/explain.hpp"
#include "cli/render.hpp"

namespace rollbackd::cli {
namespace {

/// Text from outside inside Markdown: printable, one line, and without any character that Markdown or HTML would act on.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\\':
      case '`':
      case '*':
      case '_':
      case '[':
      case ']':
      case '|':
      case '#':
      case '~':
      case '!': out += '\\'; [[fallthrough]];
      default: out += c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
    }
  }
  return out;
}

void cells_into(std::string& out, const std::vector<std::string>& cells, std::size_t columns) {
  out += "|";
  for (std::size_t i = 0; i < columns; ++i) out += " " + escaped(i < cells.size() ? cells[i] : "") + " |";
  out += "\n";
}

/// A fence longer than any run of backquotes inside, so that the block cannot end itself.
std::string fence_for(const std::string& block) {
  std::size_t longest = 2, run = 0;
  for (const char c : block) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return std::string(longest + 1, '`');
}

/// Printable line by line: a block keeps its lines.
std::string printable_lines(const std::string& block) {
  std::string out;
  for (const std::string& line : split(block, '\n')) out += printable(line) + "\n";
  while (out.ends_with("\n\n")) out.pop_back();
  return out;
}

}  // namespace

std::string as_text(const std::vector<Chapter>& chapters) {
  std::string out;
  for (const Chapter& chapter : chapters) {
    out += (out.empty() ? "" : "\n") + printable(chapter.title) + "\n";
    for (const std::string& line : chapter.lines) out += "  " + printable(line) + "\n";
    if (!chapter.rows.empty()) {
      Table table(chapter.header);
      for (const auto& row : chapter.rows) table.row(row);
      out += table.text();
    }
    if (!chapter.block.empty()) out += printable_lines(chapter.block);
  }
  return out;
}

std::string as_markdown(const std::vector<Chapter>& chapters) {
  std::string out;
  for (const Chapter& chapter : chapters) {
    out += out.empty() ? "# " : "\n## ";
    out += escaped(chapter.title) + "\n\n";
    for (const std::string& line : chapter.lines) out += "- " + escaped(line) + "\n";
    if (!chapter.lines.empty()) out += "\n";
    if (!chapter.rows.empty()) {
      cells_into(out, chapter.header, chapter.header.size());
      out += "|";
      for (std::size_t i = 0; i < chapter.header.size(); ++i) out += " --- |";
      out += "\n";
      for (const auto& row : chapter.rows) cells_into(out, row, chapter.header.size());
      out += "\n";
    }
    if (!chapter.block.empty()) {
      const std::string fence = fence_for(chapter.block);
      out += fence + "promql\n" + printable_lines(chapter.block) + fence + "\n";
    }
  }
  while (out.ends_with("\n\n")) out.pop_back();
  return out;
}

}  // namespace rollbackd::cli
