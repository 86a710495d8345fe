#include "record/whole_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "base/digest.hpp"
#include "base/text.hpp"
#include "io/process.hpp"

namespace rollbackd::record {
namespace {

using io::Fd;

std::string path_of(const WholeFile& file) { return file.directory + "/" + file.name; }

Error damaged(const WholeFile& file, std::string why) {
  return Error(Errc::corrupt, "cannot use " + path_of(file)).because(std::move(why)).try_next(file.next_step);
}

/// The JSON behind a head that fits it.
Result<Json> checked(const WholeFile& file, const std::string& text) {
  const std::size_t end = text.find('\n');
  const auto words = split(text.substr(0, end == std::string::npos ? 0 : end), ' ');
  if (words.size() != 4 || words[0] != file.magic) return damaged(file, "it does not begin with " + file.magic);
  if (words[1] != std::to_string(file.format)) return damaged(file, "its format is " + printable(cut(words[1], 16)));
  const std::string json = text.substr(end + 1);
  char sum[16];
  std::snprintf(sum, sizeof sum, "%08x", crc32c(json));
  if (words[2] != sum || words[3] != std::to_string(json.size())) return damaged(file, "its checksum or length is another");
  auto parsed = Json::parse(json);
  if (!parsed) return damaged(file, parsed.error().text());
  return parsed;
}

Result<std::string> read_text(const WholeFile& of) {
  const std::string path = path_of(of);
  const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.get() < 0) {
    if (errno == ENOENT) return Error(Errc::not_found, "there is no " + path);
    return Error::from_errno("cannot open " + path, errno);
  }
  struct stat facts {};
  if (::fstat(file.get(), &facts) != 0) return Error::from_errno("cannot look at " + path, errno);
  if (!S_ISREG(facts.st_mode)) return damaged(of, "it is not a regular file");
  if (static_cast<std::size_t>(facts.st_size) > kWholeFileBytesMax) return damaged(of, "it is larger than 4 MiB");
  std::string text(static_cast<std::size_t>(facts.st_size), '\0');
  std::size_t at = 0;
  while (at < text.size()) {
    const ssize_t n = ::read(file.get(), text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Error::from_errno("cannot read " + path, errno);
    if (n == 0) break;
    at += static_cast<std::size_t>(n);
  }
  text.resize(at);
  return text;
}

int write_synced(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return ::fsync(fd) != 0 ? errno : 0;
}

}  // namespace

Result<> write_whole(const WholeFile& of, const Json& content) {
  const std::string path = path_of(of), unfinished = path + ".new";
  const std::string json = content.dump();
  char numbers[48];
  std::snprintf(numbers, sizeof numbers, " %d %08x %zu\n", of.format, crc32c(json), json.size());
  if (json.size() + of.magic.size() + sizeof numbers > kWholeFileBytesMax)
    return Error(Errc::too_large, "cannot write " + path).because("it would be larger than 4 MiB");
  const Fd folder(::open(of.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return Error::from_errno("cannot open " + of.directory, errno);
  if (::unlink(unfinished.c_str()) != 0 && errno != ENOENT) return Error::from_errno("cannot replace " + unfinished, errno);
  int error = 0;
  {
    const Fd file(::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (file.get() < 0) return Error::from_errno("cannot make " + unfinished, errno);
    error = write_synced(file.get(), of.magic + numbers + json);
  }
  if (error == 0 && ::rename(unfinished.c_str(), path.c_str()) != 0) error = errno;
  if (error == 0 && ::fsync(folder.get()) != 0) error = errno;
  if (error == 0) return {};
  ::unlink(unfinished.c_str());
  return Error::from_errno("cannot write " + path, error);
}

Result<Json> read_whole(const WholeFile& of) {
  auto text = read_text(of);
  if (!text) return text.error();
  return checked(of, *text);
}

Result<> remove_whole(const WholeFile& of) {
  const std::string path = path_of(of);
  if (::unlink(path.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return Error::from_errno("cannot remove " + path, errno);
  }
  const Fd folder(::open(of.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0 || ::fsync(folder.get()) != 0) return Error::from_errno("cannot remove " + path, errno);
  return {};
}

}  // namespace rollbackd::record
