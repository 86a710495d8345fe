// zlib's inflate behind a pull interface; used for what a scrape's target sends packed.
#include "io/gzip.hpp"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <new>

namespace rollbackd::io {

namespace {

constexpr int kGzip = 16 + MAX_WBITS;  ///< the gzip form alone, neither raw nor zlib's own

Bytef* bytes(const char* text) { return reinterpret_cast<Bytef*>(const_cast<char*>(text)); }  // zlib's input is not const, but only read.

}  // namespace

struct Gunzip::Impl {
  std::string packed;
  z_stream stream{};
  bool open = false;  ///< within a member
  bool ended = false;
  bool failed = false;
};

Gunzip::Gunzip(std::string packed) : impl_(std::make_unique<Impl>()) {
  impl_->packed = std::move(packed);
  impl_->stream.next_in = bytes(impl_->packed.data());
  if (::inflateInit2(&impl_->stream, kGzip) != Z_OK) throw std::bad_alloc();
  impl_->open = true;
}

Gunzip::~Gunzip() { ::inflateEnd(&impl_->stream); }

Result<std::string> Gunzip::next(std::size_t bytes_max) {
  Impl& z = *impl_;
  const auto wrong = [&](std::string why) {
    z.failed = true;
    return Error(Errc::corrupt, "the gzip data cannot be unpacked").because(std::move(why));
  };
  if (z.failed) return wrong("it was damaged before");
  std::string out(std::clamp<std::size_t>(bytes_max, 1, 1 << 30), '\0');
  std::size_t had = 0;
  while (had < out.size() && !z.ended) {
    const auto used = static_cast<std::size_t>(z.stream.next_in - bytes(z.packed.data()));
    const std::size_t left = z.packed.size() - used;
    if (!z.open) {  // Between members.
      if (left == 0) {
        z.ended = true;
        break;
      }
      ::inflateReset(&z.stream);
      z.open = true;
    }
    z.stream.avail_in = static_cast<uInt>(std::min<std::size_t>(left, std::numeric_limits<uInt>::max()));
    z.stream.next_out = bytes(out.data()) + had;
    z.stream.avail_out = static_cast<uInt>(out.size() - had);
    const int said = ::inflate(&z.stream, Z_NO_FLUSH);
    had = out.size() - z.stream.avail_out;
    if (said == Z_STREAM_END) {
      z.open = false;
    } else if (said == Z_BUF_ERROR || (said == Z_OK && z.stream.avail_in == 0 && z.stream.avail_out > 0)) {
      return wrong("it ends too early");
    } else if (said != Z_OK) {
      return wrong(z.stream.msg != nullptr ? z.stream.msg : "not gzip");
    }
  }
  out.resize(had);
  return out;
}

}  // namespace rollbackd::io
