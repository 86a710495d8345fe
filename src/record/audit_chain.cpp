// The chain of the audit log: how an entry becomes a line, and how a whole log is checked. Pure.
#include "record/audit_chain.hpp"

#include <algorithm>
#include <charconv>

#include "base/digest.hpp"
#include "base/text.hpp"

namespace rollbackd::record {
namespace {

constexpr std::size_t kSentenceBytesMax = 4 << 10;
constexpr std::size_t kWordBytesMax = 256;
constexpr std::size_t kHashSize = 64;
constexpr std::string_view kSeqMember = "{\"seq\":", kPrevMember = ",\"prev\":\"", kHashMember = ",\"hash\":\"";
constexpr std::string_view kEnd = "\"}";
constexpr std::size_t kNotesMax = 100;

bool is_hash(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

/// The line that begins at `at`, without its newline; nothing at the end of the text, or when its newline is missing.
std::optional<std::string_view> line_at(std::string_view text, std::size_t at) {
  const std::size_t end = text.find('\n', at);
  if (end == text.npos) return std::nullopt;
  return text.substr(at, end - at);
}

/// Whether an entry with this number comes at or after `at`: then entries are out of order rather than gone.
bool comes_later(std::string_view text, std::size_t at, std::uint64_t seq) {
  for (auto line = line_at(text, at); line; at += line->size() + 1, line = line_at(text, at)) {
    if (!line->starts_with(std::string(kSeqMember) + std::to_string(seq) + ",")) continue;
    const auto link = chain_link_of(*line);
    if (link && link->seq == seq && link->whole) return true;
  }
  return false;
}

std::string entry_name(std::uint64_t seq) { return "entry " + std::to_string(seq); }

}  // namespace

std::string audit_line(const AuditEntry& entry, std::uint64_t seq, Instant at, std::string_view prev, std::string* hash) {
  const auto word = [](const std::string& text) { return printable(cut(text, kWordBytesMax)); };
  const auto sentence = [](const std::string& text) { return printable(cut(text, kSentenceBytesMax)); };
  Json json = Json::object();
  json.set("seq", seq).set("at", format_rfc3339(at));
  json.set("principal", word(entry.principal)).set("action", word(entry.action));
  json.set("service", word(entry.service.name)).set("environment", word(entry.service.environment));
  json.set("target", word(entry.target)).set("reason", sentence(entry.reason)).set("outcome", sentence(entry.outcome));
  json.set("operation", word(entry.operation)).set("from", word(entry.from)).set("prev", prev);
  std::string line = json.dump();
  std::string own = sha256_hex(line);
  line.pop_back();
  line.append(kHashMember).append(own).append(kEnd);
  if (hash != nullptr) *hash = std::move(own);
  return line;
}

std::optional<ChainLink> chain_link_of(std::string_view line) {
  constexpr std::size_t kTail = kHashMember.size() + kHashSize + kEnd.size();
  constexpr std::size_t kPrev = kPrevMember.size() + kHashSize + 1;
  if (line.size() < kSeqMember.size() + kPrev + kTail || !line.starts_with(kSeqMember) || !line.ends_with(kEnd)) return std::nullopt;
  const std::string_view body = line.substr(0, line.size() - kTail);
  const std::string_view hash = line.substr(body.size());
  const std::string_view prev = body.substr(body.size() - kPrev);
  if (!hash.starts_with(kHashMember) || !prev.starts_with(kPrevMember) || prev.back() != '"') return std::nullopt;
  ChainLink link;
  link.hash = std::string(hash.substr(kHashMember.size(), kHashSize));
  link.prev = std::string(prev.substr(kPrevMember.size(), kHashSize));
  const auto [end, failed] = std::from_chars(line.data() + kSeqMember.size(), body.data() + body.size(), link.seq);
  if (failed != std::errc() || *end != ',' || !is_hash(link.hash) || !is_hash(link.prev)) return std::nullopt;
  Sha256 digest;
  digest.update(body);
  digest.update("}");
  link.whole = digest.hex() == link.hash;
  return link;
}

AuditEntry recovery_entry(std::string_view torn) {
  AuditEntry entry;
  entry.principal = "rollbackd";
  entry.action = kRecoveredAction;
  entry.target = sha256_hex(torn);
  entry.reason = std::to_string(torn.size()) + " bytes before this entry are no entry: one was being written when a crash cut it off";
  entry.outcome = "closed";
  return entry;
}

AuditEntry anchor_entry(const AuditSegment& segment) {
  AuditEntry entry;
  entry.principal = "rollbackd";
  entry.action = kRetainedAction;
  entry.target = std::to_string(segment.seq) + ":" + segment.hash;
  entry.reason = "entries " + std::to_string(segment.first_seq) + " to " + std::to_string(segment.seq) + ", the last of " + segment.at +
                 ", are older than the log is kept for (history_for)";
  entry.outcome = "dropped";
  return entry;
}

ChainEnd chain_end_of(std::string_view text) {
  ChainEnd out;
  // From the end: in a log that is well it is the first line looked at.
  std::size_t end = text.size();
  while (end > 0) {
    const bool newline = text[end - 1] == '\n';
    const std::size_t content = newline ? end - 1 : end;
    const std::size_t before = content == 0 ? text.npos : text.rfind('\n', content - 1);
    const std::size_t begin = before == text.npos ? 0 : before + 1;
    const auto link = chain_link_of(text.substr(begin, content - begin));
    if (link && link->whole) {
      out.last = link;
      out.end = end;
      out.newline = newline;
      return out;
    }
    end = begin;
  }
  return out;
}

Json AuditVerdict::to_json() const {
  Json json;
  json.set("ok", ok).set("entries", entries).set("first_seq", first_seq).set("seq", seq).set("head", head);
  json.set("since", since);
  if (anchor_seq > 0) json.set("anchor_seq", anchor_seq);
  Json list = Json::array();
  for (const std::string& note : notes) list.push(note);
  json.set("notes", std::move(list));
  if (!ok) json.set("file", file).set("line", line).set("problem", problem);
  return json;
}

AuditVerifier::AuditVerifier(bool whole, std::string head) : whole_(whole), wanted_head_(std::move(head)) {}

void AuditVerifier::fail(const std::string& file, std::uint64_t line, std::string problem) {
  verdict_.file = file;
  verdict_.line = line;
  verdict_.problem = std::move(problem);
}

/// `at` is where a line begins that is no whole entry. That is well only if an entry further on, the next in the chain, closes exactly
/// these bytes; then `at` becomes its beginning.
void AuditVerifier::on_damage(const std::string& name, std::string_view text, std::size_t& at, std::uint64_t& line) {
  const std::size_t begin = at;
  const std::uint64_t first_line = line;
  for (auto next = line_at(text, at); next; at += next->size() + 1, ++line, next = line_at(text, at)) {
    if (next->find(kRecoveredAction) == next->npos) continue;
    const auto link = chain_link_of(*next);
    if (!link || !link->whole || link->seq != verdict_.seq + 1) continue;
    const auto entry = Json::parse(*next, 4);
    if (!entry || (*entry)["action"].string_or("") != kRecoveredAction) break;
    const std::string_view torn = text.substr(begin, at - begin);
    const std::string said = (*entry)["target"].string_or("");
    // The newline behind what was torn was written by whoever closed it, unless it had one.
    if (said == sha256_hex(torn) || said == sha256_hex(torn.substr(0, torn.size() - 1))) return;
    break;
  }
  const auto damaged = line_at(text, begin);
  const auto link = damaged ? chain_link_of(*damaged) : std::nullopt;
  fail(name, first_line,
       link       ? "edited: " + entry_name(link->seq) + " does not have the hash that it carries"
       : !damaged ? "cut off: the last line is not whole; after a crash the daemon closes it at its next start"
                  : "edited, or cut off in the middle: the line is no whole entry");
}

void AuditVerifier::add_file(const std::string& name, std::string_view text) {
  std::uint64_t line = 1;
  for (std::size_t at = 0; at < text.size() && verdict_.problem.empty(); ++line) {
    std::optional<std::string_view> entry = line_at(text, at);
    std::optional<ChainLink> link = entry ? chain_link_of(*entry) : std::nullopt;
    if (!link || !link->whole) {
      on_damage(name, text, at, line);
      if (!verdict_.problem.empty()) return;
      entry = line_at(text, at);
      link = chain_link_of(*entry);
    }
    const bool first = verdict_.entries == 0;
    // What is before a whole log's beginning may have been dropped by retention; whether it was is said further on, or the end tells.
    const bool may_be_dropped = first && whole_ && link->seq > 1 && !comes_later(text, at, 1);
    const std::uint64_t expected = (first && !whole_) || may_be_dropped ? link->seq : verdict_.seq + 1;
    if (link->seq > expected) {
      const bool later = comes_later(text, at, expected);
      const std::string gone = link->seq - expected == 1
                                   ? entry_name(expected) + " is"
                                   : "entries " + std::to_string(expected) + " to " + std::to_string(link->seq - 1) + " are";
      return fail(name, line,
                  later ? "reordered: " + entry_name(expected) + " comes after " + entry_name(link->seq)
                        : "removed: " + gone + " missing before " + entry_name(link->seq));
    }
    if (link->seq < expected)
      return fail(name, line, "inserted or repeated: " + entry_name(link->seq) + " stands where " + entry_name(expected) + " should");
    const std::string_view before = link->seq == 1 ? kAuditGenesis : std::string_view(verdict_.head);
    if ((!first || link->seq == 1) && link->prev != before)
      return fail(
          name, line,
          "edited: " + entry_name(link->seq) + " was not written after the entry before it; one of the two was replaced and hashed anew");
    if (first && link->seq != 1 && !whole_ && verdict_.notes.size() < kNotesMax)
      verdict_.notes.push_back("begins with " + entry_name(link->seq) + "; what is before it is in another file");
    if (may_be_dropped) {
      wanted_anchor_ = std::to_string(link->seq - 1) + ":" + link->prev;
      first_file_ = name;
    }
    if (first) verdict_.first_seq = link->seq;
    if (const auto parsed = first ? Json::parse(*entry, 4) : Result<Json>(Json()); parsed && parsed->is_object())
      verdict_.since = (*parsed)["at"].string_or("");
    ++verdict_.entries;
    verdict_.seq = link->seq;
    verdict_.head = link->hash;
    if (link->hash == wanted_head_) wanted_head_seq_ = link->seq;
    const bool of_the_log = entry->find("\"action\":\"audit.") != entry->npos;
    if (const auto parsed = of_the_log ? Json::parse(*entry, 4) : Result<Json>(Json()); parsed && parsed->is_object()) {
      if ((*parsed)["action"].string_or("") == kRetainedAction) {
        if (!wanted_anchor_.empty() && (*parsed)["target"].string_or("") == wanted_anchor_) anchor_seq_ = link->seq;
      } else if (verdict_.notes.size() < kNotesMax && (*parsed)["action"].string_or("").starts_with("audit.")) {
        verdict_.notes.push_back(name + ":" + std::to_string(line) + ": " + (*parsed)["at"].string_or("") + " " +
                                 (*parsed)["reason"].string_or(""));
      }
    }
    at += entry->size() + 1;
  }
}

AuditVerdict AuditVerifier::finish() {
  if (verdict_.problem.empty() && !wanted_anchor_.empty()) {
    const std::uint64_t gone = verdict_.first_seq - 1;
    const std::string which = gone == 1 ? entry_name(1) + " is" : "entries 1 to " + std::to_string(gone) + " are";
    if (anchor_seq_ == 0) {
      fail(first_file_, 1,
           "removed: " + which + " missing before " + entry_name(gone + 1) + ", and no entry says that retention dropped them");
    } else {
      verdict_.anchor_seq = anchor_seq_;
      verdict_.notes.insert(verdict_.notes.begin(), "begins with " + entry_name(gone + 1) + " of " + verdict_.since +
                                                        ": retention dropped what is before it, as " + entry_name(anchor_seq_) + " says");
    }
  }
  if (verdict_.problem.empty() && !wanted_head_.empty()) {
    if (wanted_head_seq_ == 0) {
      verdict_.problem = "the noted head is in none of the entries: the end was cut off, or the log was written anew";
    } else if (wanted_head_seq_ != verdict_.seq) {
      verdict_.notes.push_back("the noted head is " + entry_name(wanted_head_seq_) + "; " +
                               std::to_string(verdict_.seq - wanted_head_seq_) + " entries came after it");
    }
  }
  verdict_.ok = verdict_.problem.empty();
  return verdict_;
}

}  // namespace rollbackd::record
