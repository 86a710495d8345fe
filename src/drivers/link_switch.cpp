#include "drivers/link_switch.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/text.hpp"
#include "drivers/guarded_path.hpp"
#include "io/failpoint.hpp"
#include "io/process.hpp"

namespace rollbackd::drivers {
namespace {

using io::Fd;

constexpr int kPutBackTries = 8;  // Each try loses only to yet another deployment from outside, within microseconds.

Result<LinkFacts> facts_of(int directory, const std::string& name) {
  LinkFacts out;
  // Until both calls saw the same link: one may be replaced between them. The last answer stands.
  for (int i = 0; i < kPutBackTries; ++i) {
    struct stat before {
    }, after{};
    if (::fstatat(directory, name.c_str(), &before, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) return LinkFacts{};
      return Error::from_errno("cannot look at " + name, errno);
    }
    out = LinkFacts{World::Link::not_a_link, "", before.st_ino};
    if (!S_ISLNK(before.st_mode)) return out;
    std::array<char, 4096> buffer;
    const ssize_t n = ::readlinkat(directory, name.c_str(), buffer.data(), buffer.size());
    if (n < 0 && errno != ENOENT && errno != EINVAL) return Error::from_errno("cannot read " + name, errno);
    if (n < 0) continue;
    out.link = World::Link::present;
    out.value.assign(buffer.data(), static_cast<std::size_t>(n));
    if (::fstatat(directory, name.c_str(), &after, AT_SYMLINK_NOFOLLOW) == 0 && after.st_ino == before.st_ino) return out;
  }
  return out;
}

/// Makes the link `name`, whatever was there (a directory excepted), by way of a temporary name.
Result<> put_link(int directory, const std::string& name, const std::string& value) {
  const std::string temporary = name + ".new";
  if (::unlinkat(directory, temporary.c_str(), 0) != 0 && errno != ENOENT) return Error::from_errno("cannot remove " + temporary, errno);
  if (::symlinkat(value.c_str(), directory, temporary.c_str()) != 0) return Error::from_errno("cannot make the link " + temporary, errno);
  if (::renameat(directory, temporary.c_str(), directory, name.c_str()) != 0) {
    const int why = errno;
    ::unlinkat(directory, temporary.c_str(), 0);
    return Error::from_errno("cannot rename a link to " + name, why);
  }
  return {};
}

Result<> ensure_armed(int directory, const LinkPlace& place, const std::string& to_value) {
  auto armed = facts_of(directory, place.armed_name());
  if (armed.has_value() && armed.value().link == World::Link::present && armed.value().value == to_value) return {};
  return put_link(directory, place.armed_name(), to_value);
}

bool cannot_exchange(int error) { return error == EINVAL || error == ENOSYS || error == EOPNOTSUPP; }

std::string shown(const LinkFacts& facts) {
  switch (facts.link) {
    case World::Link::missing: return "missing";
    case World::Link::present: return "a link to " + printable(facts.value);
    case World::Link::not_a_link: return "not a link";
  }
  return "unknown";
}

Json json_of(const LinkFacts& now, const std::string& came_out, bool exchanged) {
  Json facts = Json::object();
  facts.set("link_value", now.value).set("link_inode", now.inode).set("came_out", came_out).set("exchange", exchanged);
  return facts;
}

Outcome conflict(const LinkPlace& place, const LinkFacts& found, const std::string& expected, Json facts) {
  return Outcome{
      Outcome::Status::conflict, std::move(facts),
      Error(Errc::conflict, "somebody else changed " + place.path())
          .because("it is " + shown(found) + ", the plan expected " + (expected.empty() ? "none" : "a link to " + printable(expected)))
          .try_next("see what was deployed; nothing of this plan is left in place")};
}

Outcome failed(Error error, Json facts = Json::object()) { return Outcome{Outcome::Status::failed, std::move(facts), std::move(error)}; }

/// The new link is in place; sees that it survives a power cut and says what is there.
Outcome settled(int directory, const LinkPlace& place, Outcome::Status status, const std::string& came_out, bool exchanged) {
  ROLLBACKD_FAILPOINT("switch.before_fsync");
  Outcome out{status, Json::object(), Error()};
  const bool durable = ::fsync(directory) == 0 || errno == EINVAL;
  if (!durable) {
    // The running system has switched all the same, and going on serves it better than stopping here.
    out.error = Error::from_errno("cannot make the new link of " + place.path() + " survive a power cut", errno);
  }
  auto now = facts_of(directory, place.name);
  out.facts = json_of(now.has_value() ? now.value() : LinkFacts{}, came_out, exchanged);
  out.facts.set("durable", durable);
  return out;
}

/// The link that came out is not the one to leave: puts it back, and whatever is deployed meanwhile after it, so that the last one wins.
/// On entry the armed name holds the foreign link and `current` ours.
Outcome put_back(int directory, const LinkPlace& place, const std::string& from_value, const std::string& to_value,
                 const LinkFacts& foreign, const Exchange& exchange) {
  std::string in_place = to_value;  // What `current` holds unless somebody else came again.
  std::string to_put = foreign.value;
  for (int i = 0; i < kPutBackTries; ++i) {
    if (exchange(directory, place.armed_name().c_str(), place.name.c_str()) != 0) break;
    auto out = facts_of(directory, place.armed_name());
    if (out.has_value() && out.value().link == World::Link::present && out.value().value == in_place) {
      ::fsync(directory);
      auto now = facts_of(directory, place.name);
      return conflict(place, foreign, from_value, json_of(now.has_value() ? now.value() : LinkFacts{}, foreign.value, true));
    }
    in_place = std::exchange(to_put, out.has_value() ? out.value().value : std::string());
  }
  auto now = facts_of(directory, place.name);
  return Outcome{Outcome::Status::unknown, json_of(now.has_value() ? now.value() : LinkFacts{}, foreign.value, true),
                 Error(Errc::outcome_unknown, "cannot put back what somebody else deployed to " + place.path())
                     .because(shown(foreign) + " came out of the exchange")
                     .try_next("compare " + place.path() + " with " + place.armed_path() + " and set the link by hand")};
}

/// Without exchange: a look, then a rename. What is deployed between the two is overwritten.
Outcome replace_link(int directory, const LinkPlace& place, const std::string& from_value, const std::string& to_value) {
  auto now = facts_of(directory, place.name);
  if (now.has_error()) return failed(now.error());
  if (now.value().link != World::Link::present || now.value().value != from_value)
    return conflict(place, now.value(), from_value, json_of(now.value(), "", false));
  if (auto put = put_link(directory, place.name, to_value); put.has_error()) return failed(put.error(), json_of(now.value(), "", false));
  ROLLBACKD_FAILPOINT("switch.after_exchange");
  return settled(directory, place, Outcome::Status::done, from_value, false);
}

}  // namespace

int exchange_names(int directory, const char* a, const char* b) {
  return ::renameat2(directory, a, directory, b, RENAME_EXCHANGE) == 0 ? 0 : errno;
}

Result<LinkFacts> look_at_link(const LinkPlace& place) {
  Fd directory(::open(place.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory && (errno == ENOENT || errno == ENOTDIR)) return LinkFacts{};
  if (!directory) return Error::from_errno("cannot open " + place.directory, errno);
  return facts_of(directory.get(), place.name);
}

Result<bool> arm_link(const LinkPlace& place, const std::string& to_value, const Exchange& exchange) {
  auto directory = open_directory(place.directory, place.guarded);
  if (directory.has_error()) return directory.error();
  const int fd = directory.value().get();
  if (auto armed = ensure_armed(fd, place, to_value); armed.has_error()) return armed.error();
  // Whether names can be exchanged here is tried on two links of our own that lead to the same place.
  const std::string probe = place.armed_name() + ".probe";
  // On a full disk there is no room for the second one; the link that counts is there, so it is armed, and the switch will tell.
  if (auto put = put_link(fd, probe, to_value); put.has_error()) return true;
  const int error = exchange(fd, probe.c_str(), place.armed_name().c_str());
  ::unlinkat(fd, probe.c_str(), 0);
  if (error != 0 && !cannot_exchange(error)) return Error::from_errno("cannot exchange two links in " + place.directory, error);
  if (::fsync(fd) != 0 && errno != EINVAL) return Error::from_errno("cannot write " + place.directory, errno);
  return error == 0;
}

Outcome switch_link(const LinkPlace& place, const std::string& from_value, const std::string& to_value, const Exchange& exchange,
                    const DirectoryCheck& check) {
  auto opened = open_directory(place.directory, place.guarded);
  if (opened.has_error()) return failed(opened.error());
  const int directory = opened.value().get();
  if (auto may = check ? check(directory) : Result<>(); may.has_error())
    return Outcome{Outcome::Status::refused, Json::object(), may.error()};
  auto before = facts_of(directory, place.name);
  if (before.has_error()) return failed(before.error());
  const LinkFacts& now = before.value();
  if (now.link == World::Link::not_a_link)
    return Outcome{Outcome::Status::refused, json_of(now, "", false),
                   Error(Errc::refused, place.path() + " is not a link").try_next("make it a link into the releases directory")};
  if (now.link == World::Link::present && now.value == to_value)  // Perhaps an earlier run ended before it could sync.
    return settled(directory, place, Outcome::Status::already_done, "", true);
  if (now.link == World::Link::missing && from_value.empty()) {
    if (::symlinkat(to_value.c_str(), directory, place.name.c_str()) == 0)
      return settled(directory, place, Outcome::Status::done, "", true);
    if (errno != EEXIST) return failed(Error::from_errno("cannot make the link " + place.path(), errno));
    before = facts_of(directory, place.name);
    return conflict(place, before.has_value() ? before.value() : LinkFacts{}, from_value, Json::object());
  }
  if (now.link == World::Link::missing || now.value != from_value) return conflict(place, now, from_value, json_of(now, "", false));

  if (auto armed = ensure_armed(directory, place, to_value); armed.has_error()) return failed(armed.error(), json_of(now, "", false));
  ROLLBACKD_FAILPOINT("switch.before_exchange");
  const int error = exchange(directory, place.armed_name().c_str(), place.name.c_str());
  if (cannot_exchange(error)) return replace_link(directory, place, from_value, to_value);
  if (error == ENOENT) return conflict(place, LinkFacts{}, from_value, Json::object());
  if (error != 0) return failed(Error::from_errno("cannot exchange the links in " + place.directory, error), json_of(now, "", false));
  ROLLBACKD_FAILPOINT("switch.after_exchange");

  auto came_out = facts_of(directory, place.armed_name());
  if (came_out.has_value() && came_out.value().link == World::Link::present && came_out.value().value == from_value)
    return settled(directory, place, Outcome::Status::done, from_value, true);
  return put_back(directory, place, from_value, to_value, came_out.has_value() ? came_out.value() : LinkFacts{}, exchange);
}

}  // namespace rollbackd::drivers
