// Two automata: `quick` looks for a line that any pattern matches, over a whole block; `set` then says which patterns match that line. Logs
// are mostly lines that match nothing, and those are only seen by the first.
#include "checks/patterns.hpp"

#include <re2/re2.h>
#include <re2/set.h>

#include "base/log.hpp"
#include "base/text.hpp"

namespace rollbackd::checks {
namespace {

constexpr std::int64_t kAutomatonBytesMax = 32 << 20;

re2::RE2::Options options_of(bool never_newline) {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_never_nl(never_newline);
  options.set_max_mem(kAutomatonBytesMax);
  return options;
}

/// Whether `pattern` means the same inside "(?m:(?:...))" over many lines as by itself over one. Doubtful ones are looked at line by line.
bool means_the_same_in_a_block(const std::string& pattern) {
  for (const char* different : {"\\A", "\\z", "\\C", "\\Q"})
    if (pattern.find(different) != pattern.npos) return false;
  static const re2::RE2 kTakesFlagsAway(R"(\(\?[a-zA-Z]*-)");
  return !re2::RE2::PartialMatch(pattern, kTakesFlagsAway);
}

}  // namespace

struct Patterns::Impl {
  std::vector<std::string> names;
  std::vector<std::unique_ptr<re2::RE2>> single;
  re2::RE2::Set set{options_of(false), re2::RE2::UNANCHORED};
  std::unique_ptr<re2::RE2> quick;
};

Patterns::Patterns(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Patterns::Patterns(Patterns&&) noexcept = default;
Patterns& Patterns::operator=(Patterns&&) noexcept = default;
Patterns::~Patterns() = default;
const std::vector<std::string>& Patterns::names() const { return impl_->names; }
bool Patterns::by_blocks() const { return impl_->quick != nullptr; }

Result<Patterns> Patterns::make(const std::map<std::string, std::string>& patterns) {
  auto impl = std::make_unique<Impl>();
  std::string all;
  bool in_blocks = !patterns.empty();
  for (const auto& [name, pattern] : patterns) {
    auto single = std::make_unique<re2::RE2>(pattern, options_of(false));
    if (!single->ok())
      return Error(Errc::invalid_config, "the pattern \"" + printable(name) + "\" is no regular expression").because(single->error());
    impl->set.Add(pattern, nullptr);
    impl->names.push_back(name);
    impl->single.push_back(std::move(single));
    all += (all.empty() ? "(?:" : "|(?:") + pattern + ")";
    in_blocks = in_blocks && means_the_same_in_a_block(pattern);
  }
  if (!impl->set.Compile())
    return Error(Errc::invalid_config, "the patterns are too large together").try_next("make them fewer or simpler");
  if (in_blocks) {
    impl->quick = std::make_unique<re2::RE2>("(?m:" + all + ")", options_of(true));
    if (!impl->quick->ok()) impl->quick.reset();  // Two that name the same group, say.
  }
  return Patterns(std::move(impl));
}

void Patterns::scan_line(std::string_view line, const OnLine& on_line) const {
  if (impl_->names.empty()) return;
  std::vector<int> matching;
  re2::RE2::Set::ErrorInfo info{};
  if (impl_->set.Match({line.data(), line.size()}, &matching, &info)) return on_line(line, matching);
  if (info.kind == re2::RE2::Set::kNoError) return;
  // The automaton ran out of memory: then each pattern by itself, which cannot fail.
  matching.clear();
  for (std::size_t i = 0; i < impl_->single.size(); ++i)
    if (re2::RE2::PartialMatch({line.data(), line.size()}, *impl_->single[i])) matching.push_back(static_cast<int>(i));
  if (!matching.empty()) on_line(line, matching);
}

void Patterns::scan(std::string_view lines, const OnLine& on_line) const {
  const re2::StringPiece text(lines.data(), lines.size());
  for (std::size_t at = 0; at < lines.size();) {
    std::size_t start = at;
    if (impl_->quick) {
      re2::StringPiece hit;
      if (!impl_->quick->Match(text, at, text.size(), re2::RE2::UNANCHORED, &hit, 1)) return;
      const auto where = static_cast<std::size_t>(hit.data() - lines.data());
      if (where >= lines.size()) return;  // An empty match behind the last newline is in no line.
      const std::size_t before = where == 0 ? lines.npos : lines.rfind('\n', where - 1);
      start = before == lines.npos ? 0 : before + 1;
    }
    const std::size_t end = std::min(lines.find('\n', start), lines.size());
    scan_line(lines.substr(start, end - start), on_line);
    at = end + 1;
  }
}

}  // namespace rollbackd::checks
