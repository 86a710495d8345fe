// What a release and the deployment tools around it say: by the first byte, its release.json ('j'), its REVISION ('r'), Deployer's
// releases_log ('d'), or the value of the link that leads to it ('l').
#include <sys/stat.h>

#include <cstdint>

#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "drivers/layout.hpp"
#include "property.hpp"
#include "temporary.hpp"

using namespace rollbackd;

namespace {

constexpr const char* kRelease = "1.2.3";

/// DIR/current, DIR/releases/1.2.3 and a second name of the releases, DIR/other.
struct Place {
  Place() {
    log::set_level(log::Level::error);
    layout.place.directory = directory.path();
    layout.place.name = "current";
    layout.releases = directory.path() + "/releases";
    std::filesystem::create_directories(layout.release_path(kRelease));
    std::filesystem::create_directories(directory.path() + "/.dep");
    std::filesystem::create_directory_symlink("releases", directory.path() + "/other");
  }
  fuzz::TemporaryDirectory directory;
  drivers::Layout layout;
};

void check_said(const drivers::Layout& layout) {
  const drivers::Said said = drivers::describe_release(layout, kRelease);
  const Release& release = said.release;
  fuzz::property(release.id == kRelease && release.path == layout.release_path(kRelease), "a release is what its directory says",
                 release.id);
  fuzz::property(release.digest.empty(), "nobody says its digest", release.digest);
  fuzz::property(release.commit.size() <= 256 + 8 && release.created.size() <= 64 + 8 && release.artifacts.size() <= 256, "it is bounded");
  fuzz::property(release.min_compatible.empty() || is_release_id(release.min_compatible), "the least one is a release id",
                 release.min_compatible);
  fuzz::property(said.left_out.size() <= 64, "what is left out is bounded");
  for (const std::string& path : said.left_out) {
    const std::filesystem::path inner(path);
    fuzz::property(!path.empty() && inner.is_relative() && inner.lexically_normal() == inner && *inner.begin() != "..",
                   "what is left out lies in the release", path);
  }

  ServiceState state;
  state.service = {"shop", "prod"};
  state.ledger.push_back(LedgerEntry{});
  state.ledger.back().release = release;
  const ClockReading clock{Instant(5'000'000'000), {"boot", 5'000'000'000, 5'000'000'000}};
  const std::string written = state.to_json(clock).dump();
  const auto json = Json::parse(written);
  fuzz::property(json.has_value(), "a ledger with it is JSON", written);
  const auto again = ServiceState::from_json(*json, clock);
  fuzz::property(again.has_value(), "a ledger with it can be read", written + (again ? "" : again.error().text()));
  fuzz::property(again->ledger.size() == 1 && again->ledger.front().release == release, "a ledger keeps it as it is", written);
}

void check_link(const drivers::Layout& layout, const std::string& value) {
  const std::string release = layout.release_of(value);
  fuzz::property(release.empty() || is_release_id(release), "a link leads to a release id", value);
  if (!release.empty() && value.size() < 4000) {
    struct stat from_link {
    }, from_releases{};
    const std::string whole = value.starts_with('/') ? value : layout.place.directory + "/" + value;
    if (::stat(whole.c_str(), &from_link) == 0)  // "missing/../releases/1.2.3" means a release, and leads nowhere.
      fuzz::property(::stat(layout.release_path(release).c_str(), &from_releases) == 0 && from_link.st_ino == from_releases.st_ino,
                     "what the kernel follows is what was recognised", value);
  }
  drivers::LinkFacts now;
  now.link = World::Link::present;
  now.value = value;
  const std::string made = layout.value_for(now, kRelease);
  fuzz::property(layout.release_of(made) == kRelease, "a link made in the way of the old one leads to the release", value + "\n" + made);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 72 << 10) return 0;
  static const Place place;
  const drivers::Layout& layout = place.layout;
  const std::string text(data + 1, data + size);
  if (data[0] == 'l') {
    if (text.find('\0') == text.npos && !text.empty()) check_link(layout, text);
    return 0;
  }
  const std::string file = data[0] == 'j'   ? layout.release_path(kRelease) + "/release.json"
                           : data[0] == 'r' ? layout.release_path(kRelease) + "/REVISION"
                                            : layout.place.directory + "/.dep/releases_log";
  fuzz::write_file(file, text);
  check_said(layout);
  std::filesystem::remove(file);
  return 0;
}
